import numpy as np
import pytest
import torch
from small_models import SPEC
from torch import nn

from rexnet import UserError, create_model
from rexnet.deploy import quantise, runtimes
from rexnet.deploy.runtimes import onnx
from rexnet.deploy.runtimes.openvino import OPENVINO
from rexnet.preprocessing import Preprocessing

pytestmark = pytest.mark.numeric

SIZE = (16, 8, 8)


@pytest.fixture(scope="module")
def extreme(tmp_path_factory):
    """Write a convolution whose sums of two products are as large as they can be, and its file.

    Returns:
        The module, images with which it is, and the folder of ``int8.onnx`` and ``int8.xml``.
    """
    folder = tmp_path_factory.mktemp("extreme")
    module = nn.Conv2d(16, 16, 3, bias=False).eval()
    ends = torch.linspace(0.5, 1, 16) * torch.tensor([1.0, -1.0]).repeat(8)
    with torch.no_grad():
        module.weight.copy_(ends[:, None, None, None].expand_as(module.weight))
    images = np.random.default_rng(0).uniform(0.9, 1, (4, *SIZE)).astype(np.float32)
    onnx.write(module, folder / "float.onnx", SIZE)
    quantise.quantise(folder / "float.onnx", folder / "int8.onnx", [images])
    OPENVINO.from_onnx(folder / "int8.onnx", folder / "int8.xml", {})
    return module, images, folder


def onnx_weights(path):
    import onnx

    arrays = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    return [array for array in arrays if array.dtype == np.int8 and array.ndim == 4]


def openvino_weights(path):
    from openvino import Core

    constants = [op for op in Core().read_model(path).get_ops() if op.get_type_name() == "Constant"]
    arrays = [op.data for op in constants]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim == 4]


@pytest.mark.parametrize(
    ("kind", "weights_of"), [("onnx", onnx_weights), ("openvino", openvino_weights)]
)
def test_sums_of_two_products_fit_16_bits_in_the_file(kind, weights_of, extreme):
    module, images, folder = extreme
    runtime = runtimes.by_format(runtimes.RUNTIMES)[kind]
    path = folder / f"int8{runtime.suffix}"
    (weights,) = weights_of(path)
    assert weights.shape == module.weight.shape
    # Every channel uses all of its range, whatever its own scale, and none more.
    assert (np.abs(weights.astype(int)).max((1, 2, 3)) == 64).all()
    assert 2 * 255 * 64 < 2**15
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    given = runtimes.run(runtime, path, 1)(images)[0]
    # Half a step of the outputs in 8 bits, and as much for the images; sums cut off are 47 % away.
    assert np.abs(given - wanted).max() < 0.01 * np.abs(wanted).max()


def test_the_images_that_set_the_ranges_are_drawn_alike():
    images, _ = quantise.open_parts("sample", create_model(SPEC))
    told = []
    batches = list(
        quantise.chosen(images, Preprocessing(resolution=32), 40, lambda *p: told.append(p))
    )
    assert [len(batch) for batch in batches] == [32, 8]
    assert told == [(32, 40), (40, 40)]
    again = quantise.chosen(images, Preprocessing(resolution=32), 40, lambda *p: None)
    np.testing.assert_array_equal(next(again), batches[0])


def test_a_fall_of_the_limit_is_accepted_and_one_image_more_is_told():
    counts = {"num_images": 10_000, "top1_float": 0.7711}
    quantise.check_fall("f", 1, **counts, top1=0.7611)
    quantise.check_fall("f", 0.29, **counts, top1=0.7682)
    quantise.check_fall("f", 0, **counts, top1=0.78)
    with pytest.raises(
        UserError, match=r"f classifies 76\.10 % of 10,000 images right, .* 77\.11 %"
    ):
        quantise.check_fall("f", 1, **counts, top1=0.7610)
    with pytest.raises(
        UserError, match=r"a fall of 0\.01 points, above --accept 0; nothing was kept"
    ):
        quantise.check_fall("f", 0, **counts, top1=0.7710)
