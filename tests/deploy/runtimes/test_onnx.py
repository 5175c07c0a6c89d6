import dataclasses
import os
import site

import numpy as np
import pytest
import torch
from small_models import read_plainly, write_network
from torch import nn

from rexnet import UserError, create_model, save_pretrained
from rexnet.deploy import export, parity, runtimes, timing
from rexnet.deploy.config import OPSETS, ExportConfig
from rexnet.deploy.runtimes import forms, onnx
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.deploy.runtimes.torch import module_run
from rexnet.nn.layers import ConvNorm

IMAGES = parity.batches((3, 8, 8))

COMMON = {"model": "M", "format": "onnx", "threads": 1, "out": "E"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a test in an empty folder, with few timed calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "ROUNDS", 2)
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(timing, "WARM_SECONDS", 0)
    return tmp_path


def test_a_file_names_its_input_and_outputs_and_says_what_it_is_told(tmp_path):
    import onnx as library

    path = tmp_path / "model.onnx"
    onnx.write(nn.Flatten().eval(), path, (3, 8, 8), ("flat",), {"name": "x"})
    model = library.load(path)
    assert [value.name for value in model.graph.input] == [onnx.INPUT]
    assert [value.name for value in model.graph.output] == ["flat"]
    assert {entry.key: entry.value for entry in model.metadata_props}["name"] == "x"
    batch, *sides = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert [side.dim_value for side in sides] == [3, 8, 8]


def test_a_file_says_nothing_of_the_machine_that_wrote_it(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.write(create_model("rexnet_cifar_a").eval(), path, (3, 32, 32))
    content = path.read_bytes()
    for place in (*site.getsitepackages(), os.path.dirname(onnx.__file__)):
        assert os.fsencode(place) not in content
    assert b"stack_trace" not in content


@pytest.mark.parametrize("opset", [*range(OPSETS[0], OPSETS[1] + 1)])
def test_every_version_of_the_operators_that_is_offered_is_written_and_read(opset, tmp_path):
    import onnx as library

    path, module = tmp_path / "model.onnx", nn.Sequential(ConvNorm(3, 4), nn.SiLU()).eval()
    onnx.Writer(opset=opset)(module, path, (3, 8, 8))
    assert [found.version for found in library.load(path).opset_import if not found.domain] == [
        opset
    ]
    assert parity.compare(module_run(module), ONNXRUNTIME.run(path, 1, ""), IMAGES).holds


def test_weights_in_half_are_half_as_large_between_inputs_and_outputs_in_single(tmp_path):
    import onnx as library

    module = create_model("rexnet_0.3", num_classes=5).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, half in (("whole", False), ("half", True)):
        onnx.Writer(half=half)(forms.padded(module), tmp_path / name, (3, 32, 32))
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    graph = library.load(tmp_path / "half").graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == library.TensorProto.FLOAT
    assert {t.data_type for t in graph.initializer if len(t.dims) == 4} == {
        library.TensorProto.FLOAT16
    }
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("dynamic", "half"), [(("height", "width"), False), (("width",), False), ((), True)]
)
def test_options_of_onnx_are_verified_and_recorded(dynamic, half, here):
    model = parity.settled(write_network(here / "M"), parity.batches((3, 32, 32))[-1])
    save_pretrained(model, here / "M")
    options = {"opset": 21, "dynamic": dynamic, "half": half}
    result = export.run(ExportConfig(**COMMON, **options))
    assert {name: result[name] for name in options} == options | {"dynamic": list(dynamic)}
    assert result["parity"]["limit"] == (0.2 if half else 0.001)
    assert result["parity"]["difference"] < (0.05 if half else 1e-4)
    assert ("sizes" in result["parity"]) == bool(dynamic)
    sides = {"height": 47, "width": 90}
    size = [sides[axis] if axis in dynamic else 32 for axis in sides]
    batches = [np.random.default_rng(0).standard_normal((3, 3, *size)).astype(np.float32)]
    _, outputs = read_plainly("onnx", here / "E" / "model.onnx", batches, (), here / "a.npz")
    with torch.no_grad():
        wanted = model(torch.from_numpy(batches[0])).numpy()
    assert outputs[0][0].dtype == np.float32
    assert np.abs(outputs[0][0] - wanted).max() < (0.05 if half else 1e-4) * np.abs(wanted).max()
    with pytest.raises(UserError, match="E holds an export of another configuration: opset is 21"):
        export.run(ExportConfig(**COMMON))


def test_a_file_that_is_wrong_at_another_size_alone_is_not_kept(here):
    write_network(here / "M")

    def a_constant_size(module):
        made = ONNXRUNTIME.form(module)
        made.stem_act = nn.Sequential(made.stem_act, OfSide(16))
        return made

    table = runtimes.table(dataclasses.replace(ONNXRUNTIME, form=a_constant_size))
    with pytest.raises(UserError, match=r"outputs for \d+ x \d+ pixels differ by"):
        export.run(ExportConfig(**COMMON, dynamic=("height",)), available=table)
    assert [path.name for path in (here / "E").iterdir()] == [".lock"]


class OfSide(nn.Module):
    """Changes maps that have another height than this."""

    def __init__(self, side):
        super().__init__()
        self.side = side

    def forward(self, x):
        return x * (x.shape[2] / self.side)
