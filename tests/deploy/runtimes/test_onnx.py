import os
import site

from torch import nn

from rexnet import create_model
from rexnet.deploy.runtimes import onnx


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
