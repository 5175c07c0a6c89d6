import copy
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from rexnet import UserError, runs
from rexnet.train import checkpoint
from rexnet.train.distributed import World
from rexnet.train.loop import Loop, Task
from rexnet.train.recipe import Recipe

pytestmark = pytest.mark.numeric

HERE = World(rank=0, size=1, device=torch.device("cpu"))
STEPS = 5


class Numbers:
    """Batches that depend on the epoch and the step alone, ``accumulate`` a step."""

    steps_per_epoch = STEPS

    def __init__(self, accumulate=1):
        self._accumulate = accumulate

    def epoch(self, number, start_step=0):
        for step in range(start_step, STEPS):
            generator = np.random.default_rng((number, step))
            x = generator.normal(size=(8, 6)).astype(np.float32)
            y = (x[:, 0] > 0).astype(np.int64)
            for part in np.array_split(np.arange(8), self._accumulate):
                yield torch.from_numpy(x[part]), torch.from_numpy(y[part])


class Stopped(Exception):
    pass


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))


def loss(forward, batch):
    return nn.functional.cross_entropy(forward(batch[0]), batch[1])


def score(model):
    model.eval()
    with torch.inference_mode():
        return {"top1": float(torch.sigmoid(model(torch.ones(1, 6)))[0, 0])}


def loop(folder, *, accumulate=1, seconds=1e9, on_progress=lambda progress: None, **changes):
    settings = {"epochs": 4, "warmup_epochs": 1, "batch_size": 8, "lr": 0.1, "lr_batch_size": 8}
    model = changes.pop("model", None) or net()
    return Loop(
        model,
        model,
        Numbers(accumulate),
        changes.pop("task", Task(loss=loss, evaluate=score, metric="top1")),
        recipe=Recipe(**settings | {"accumulate": accumulate} | changes),
        world=HERE,
        folder=folder,
        seed=7,
        checkpoint_seconds=seconds,
        on_progress=on_progress,
    )


def weights(trained):
    return {name: tensor.clone() for name, tensor in trained.kept.state_dict().items()}


def stop_at(share):
    def stop(progress):
        if progress.share >= share:
            raise Stopped

    return stop


def lines(folder):
    """Return the lines of metrics without the wall time."""
    rows = runs.read_jsonl(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"clip_grad": 0.5, "optimizer": "adamw"}])
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize("share", [0.05, 0.45, 0.5, 0.99])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(share, seconds, changes, tmp_path):
    whole = loop(tmp_path / "whole", **changes)
    history = whole.run()
    folder = tmp_path / "stopped"
    with pytest.raises(Stopped):
        loop(folder, seconds=seconds, on_progress=stop_at(share), **changes).run()
    resumed = loop(folder, **changes)
    assert len(resumed.run()) == len(history) == 4
    assert lines(folder) == lines(tmp_path / "whole")
    assert weights(resumed).keys() == weights(whole).keys()
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(resumed)[name], tensor), name


def test_resuming_goes_on_from_the_last_checkpoint(tmp_path):
    with pytest.raises(Stopped):
        loop(tmp_path, seconds=0, on_progress=stop_at(0.6)).run()
    shares = []
    loop(tmp_path, on_progress=lambda progress: shares.append(progress.share)).run()
    assert shares[0] == pytest.approx(0.65)


def test_micro_batches_give_the_gradient_of_the_batch(tmp_path):
    ends = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        # Without batch norms, which see the parts of a batch apart.
        model, folder = nn.Linear(6, 2), tmp_path / str(accumulate)
        task = Task(loss=loss, evaluate=lambda model: {"top1": 0.0}, metric="top1")
        loop(folder, accumulate=accumulate, model=model, task=task, epochs=1).run()
        ends.append(model.weight.detach().clone())
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0], rtol=1e-5, atol=1e-6)


def test_the_best_and_the_last_checkpoint_hold_everything(tmp_path):
    scores = iter([0.3, 0.8, 0.5, 0.7])
    task = Task(loss=loss, evaluate=lambda model: {"top1": next(scores)}, metric="top1")
    loop(tmp_path, task=task, ema=0.5).run()
    last, best = (checkpoint.load(tmp_path / f"{name}.pt") for name in ("last", "best"))
    assert (last["step"], best["step"]) == (4 * STEPS, 2 * STEPS)
    assert [row["top1"] for row in last["history"]] == [0.3, 0.8, 0.5, 0.7]
    assert set(last) >= {"model", "ema", "optimizer", "schedule", "scaler", "seed", "step"}
    assert last["ema"]["0.weight"].ne(last["model"]["0.weight"]).any()


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_loss_that_is_not_finite_ends_with_step_rate_and_checkpoint(seconds, tmp_path):
    calls = []

    def exploding(forward, batch):
        calls.append(1)
        value = loss(forward, batch)
        return value * math.nan if len(calls) == 8 else value

    task = Task(loss=exploding, evaluate=score, metric="top1")
    with pytest.raises(UserError) as error:
        loop(tmp_path, seconds=seconds, task=task).run()
    message = str(error.value)
    assert message.startswith("the loss is nan at step 8 of 20 (epoch 2), at learning rate 0.09")
    good = 7 if seconds == 0 else STEPS
    assert f"last good checkpoint is {tmp_path / 'last.pt'} (step {good})" in message
    assert "\n" not in message
    state = checkpoint.load(tmp_path / "last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


@pytest.mark.parametrize("at_step", [8, STEPS], ids=["checkpoint", "evaluation"])
def test_weights_that_a_last_step_spoilt_are_not_saved(at_step, tmp_path):
    def spoil(progress):
        if progress.share == at_step / (4 * STEPS):
            with torch.no_grad():
                trained.kept[0].weight.fill_(math.nan)

    task = Task(loss=loss, evaluate=lambda model: {"top1": 0.5}, metric="top1")
    trained = loop(tmp_path, seconds=0, task=task, on_progress=spoil)
    with pytest.raises(UserError, match=r"^(a weight|the loss) is nan at step .* \(step \d+\)"):
        trained.run()
    state = checkpoint.load(tmp_path / "last.pt")
    assert state["step"] <= at_step
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_an_evaluation_that_is_not_finite_ends_the_training(tmp_path):
    results = iter([0.5, 0.6, math.nan])
    task = Task(
        loss=loss,
        evaluate=lambda model: {"top1": 0.5, "val_loss": next(results)},
        metric="top1",
    )
    with pytest.raises(
        UserError, match=rf"^val_loss is nan at step {3 * STEPS} of .*step {2 * STEPS}"
    ):
        loop(tmp_path, task=task).run()
    assert len(runs.read_jsonl(tmp_path / "metrics.jsonl")) == 2


def test_a_loss_that_explodes_at_once_says_that_there_is_no_checkpoint(tmp_path):
    task = Task(loss=lambda f, b: loss(f, b) * math.inf, evaluate=score, metric="top1")
    with pytest.raises(UserError, match=r"the loss is inf at step 1 .* there is no checkpoint yet"):
        loop(tmp_path, task=task).run()


def test_progress_tells_the_loss_the_epoch_and_the_time_left(tmp_path):
    seen = []
    loop(tmp_path, on_progress=seen.append).run()
    assert [p.line for p in seen] == ([None] * STEPS + [True]) * 4
    assert re.fullmatch(r"epoch 1/4, loss \S+, time left \S+", seen[0].words)
    assert seen[-1].share == 1
    assert seen[-1].seconds_left == 0
    last = lines(tmp_path)[-1]
    assert seen[-1].words == (
        f"epoch 4/4, after epoch 4: train loss {last['train_loss']:.4g}, "
        f"top-1 {100 * last['top1']:.1f} %, time left 0:00"
    )
    assert all(p.seconds_left >= 0 for p in seen)


def test_a_moving_average_is_what_is_evaluated_and_kept(tmp_path):
    seen = []
    task = Task(loss=loss, evaluate=lambda m: seen.append(m) or {"top1": 0.0}, metric="top1")
    model = net()
    trained = loop(tmp_path, model=model, task=task, ema=0.9)
    trained.run()
    assert {id(model) for model in seen} == {id(trained.kept)}
    assert trained.kept is not model


def test_bfloat16_trains_to_nearly_the_same_loss(tmp_path):
    exact = loop(tmp_path / "a").run()[-1]["train_loss"]
    assert loop(tmp_path / "b", precision="bfloat16").run()[-1]["train_loss"] == pytest.approx(
        exact, abs=0.05
    )


def test_half_precision_is_for_gpus(tmp_path):
    with pytest.raises(UserError, match="float16 is for GPUs"):
        loop(tmp_path, precision="float16")


def test_the_state_outside_is_not_needed(tmp_path):
    torch.manual_seed(1)
    first = weights_after(tmp_path / "a")
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    second = weights_after(tmp_path / "b")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])


def weights_after(folder):
    trained = loop(folder)
    trained.run()
    return copy.deepcopy(weights(trained))
