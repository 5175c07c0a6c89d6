import pytest
import torch

from rexnet import UserError
from rexnet.train import checkpoint


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
