import importlib.util
import logging
import warnings

import numpy as np
import pytest
from small_models import read_plainly
from torch import nn

from rexnet import UserError
from rexnet.deploy import formats, parity

WORDS = {"name": 'a "small" one', "classes": '["é", "b"]'}


class Tripled(nn.Module):
    """Gives three times the sums of its input, and their opposite."""

    def forward(self, x):
        y = 3 * x.sum((2, 3))
        return y, -y


@pytest.mark.parametrize("kind", formats.SUFFIXES)
def test_a_plain_runtime_reads_the_words_of_a_file_and_computes_any_batch(kind, tmp_path):
    path = tmp_path / f"model{formats.SUFFIXES[kind]}"
    size, outputs = (3, 8, 8), ("sums", "opposite")
    formats.write(kind, Tripled().eval(), path, size=size, outputs=outputs, metadata=WORDS)
    batches = parity.batches(size)
    words, found = read_plainly(kind, path, batches, WORDS, tmp_path / "arrays.npz")
    assert WORDS.items() <= words.items()
    for images, (sums, opposite) in zip(batches, found, strict=True):
        np.testing.assert_allclose(sums, 3 * images.sum((2, 3)), rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(opposite, -sums)


@pytest.mark.parametrize(
    ("kind", "library", "extra"),
    [
        ("onnx", "onnxscript", "export"),
        ("openvino", "openvino", "openvino"),
        ("executorch", "executorch", "executorch"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    kind, library, extra, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == library else find(name)
    )
    with pytest.raises(UserError, match=rf"{library} is not installed.*rexnet\[{extra}\]'"):
        formats.write(kind, nn.Identity(), tmp_path / "model", size=(3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_notices_of_exporters_are_kept_away_for_a_while():
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with formats.quiet():
        warnings.warn("a notice", stacklevel=1)
        assert logger.level == logging.ERROR
    assert logger.level == before
    with pytest.warns(UserWarning, match="a notice"):
        warnings.warn("a notice", stacklevel=1)


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        formats.write("onnx", nn.Flatten().eval(), tmp_path / "file" / "model.onnx", size=(3, 8, 8))


def test_a_model_that_a_format_has_no_place_for_is_told_in_one_line(tmp_path):
    class Counting(nn.Module):
        def forward(self, x):
            return x * len([row for row in x if row.sum() > 0])

    with pytest.raises(UserError, match=r"cannot be written as onnx: [^\n]*; try another format$"):
        formats.write("onnx", Counting(), tmp_path / "model.onnx", size=(3, 8, 8))
    assert not list(tmp_path.iterdir())
