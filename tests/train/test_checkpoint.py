import pytest
import torch
from torch import nn

from rexnet import UserError
from rexnet.train import checkpoint
from rexnet.train.checkpoint import State
from rexnet.train.recipe import LoopRecipe

CPU = torch.device("cpu")


def state(**changes):
    torch.manual_seed(0)
    recipe = LoopRecipe(**{"epochs": 2, "warmup_epochs": 1, "ema": 0.5} | changes)
    return State(nn.Linear(2, 2), recipe, steps_per_epoch=3, seed=5, device=CPU)


def step(state):
    """Take one step of a training."""
    state.scheduler.step_update(state.step)
    state.model(torch.ones(4, 2)).square().sum().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    if state.ema:
        state.ema.update(state.model, step=state.step)


@pytest.mark.numeric
def test_what_is_saved_goes_on_as_if_it_had_not_been(tmp_path):
    one = state()
    step(one)
    step(one)
    one.losses, one.seconds, one.history = [0.5, 0.25], 7.5, [{"epoch": 1, "top1": 0.5}]
    one.save(tmp_path / "last.pt")
    other = state()
    with torch.no_grad():
        other.model.weight.fill_(9)
    other.load(tmp_path / "last.pt")
    assert (other.step, other.losses, other.seconds) == (2, [0.5, 0.25], 7.5)
    assert other.history == one.history
    for found in (one, other):
        step(found)
    assert other.lr == one.lr
    assert torch.equal(other.model.weight, one.model.weight)
    assert torch.equal(other.kept.weight, one.kept.weight)


def test_the_moving_average_is_kept_if_there_is_one():
    with_average, without = state(), state(ema=0.0)
    assert with_average.kept is not with_average.model
    assert without.kept is without.model


def test_what_is_saved_is_loaded(tmp_path):
    state = {"step": 3, "model": {"w": torch.arange(4.0)}, "history": [{"top1": 0.5}], "ema": None}
    checkpoint.save(tmp_path / "T" / "last.pt", state)
    loaded = checkpoint.load(tmp_path / "T" / "last.pt")
    assert torch.equal(loaded["model"]["w"], state["model"]["w"])
    assert {name: loaded[name] for name in ("step", "history", "ema")} == {
        name: state[name] for name in ("step", "history", "ema")
    }
    assert [path.name for path in (tmp_path / "T").iterdir()] == ["last.pt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"format": checkpoint.FORMAT, "model": Code()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"cannot read the checkpoint .*last\.pt"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short", 900, 1400])
def test_a_damaged_checkpoint_is_told_in_one_line(content, tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": {"w": torch.arange(4.0)}})
    path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(
        UserError, match=r"checkpoint .*last\.pt: it is damaged; remove it"
    ) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"nowhere\.pt: No such file"):
        checkpoint.load(tmp_path / "nowhere.pt")


def test_another_file_of_torch_is_no_checkpoint(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="no checkpoint of this version"):
        checkpoint.load(tmp_path / "last.pt")
