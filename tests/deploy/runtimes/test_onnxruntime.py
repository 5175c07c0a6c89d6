from rexnet import create_model
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.nn.fast.padded import SplitShortcut


def test_projections_are_cut_in_two_for_shortcuts():
    kinds = {type(part) for part in ONNXRUNTIME.form(create_model("rexnet_0.6").eval()).modules()}
    assert SplitShortcut in kinds


def test_a_file_in_onnx_is_its_own(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"all of it")
    ONNXRUNTIME.from_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", {})
    assert (tmp_path / "b.onnx").read_bytes() == b"all of it"
