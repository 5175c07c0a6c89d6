import dataclasses
import logging
import warnings

import pytest
from torch import nn

from rexnet import UserError
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.deploy.runtimes.runtime import check, quiet, run, write

SIZE = (3, 8, 8)


@pytest.mark.parametrize(
    ("extra", "words"), [("mine", r"'rexnet\[mine\]'"), (None, "no_such_library")]
)
def test_a_library_that_is_missing_is_named_with_what_installs_it(extra, words, tmp_path):
    libraries = ("onnx", "no_such_library")
    missing = dataclasses.replace(ONNXRUNTIME, libraries=libraries, extra=extra)
    message = rf"no_such_library is not installed; install it with pip install {words}$"
    for call in (
        lambda: check(missing),
        lambda: write(missing, nn.Identity(), tmp_path / "model", size=SIZE),
        lambda: run(missing, tmp_path / "model", 1),
    ):
        with pytest.raises(UserError, match=message):
            call()
    assert not list(tmp_path.iterdir())


def test_notices_of_exporters_are_kept_away_for_a_while():
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with quiet():
        warnings.warn("a notice", stacklevel=1)
        assert logger.level == logging.ERROR
    assert logger.level == before
    with pytest.warns(UserWarning, match="a notice"):
        warnings.warn("a notice", stacklevel=1)


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        write(ONNXRUNTIME, nn.Flatten().eval(), tmp_path / "file" / "model.onnx", size=SIZE)


def test_a_model_that_a_format_has_no_place_for_is_told_in_one_line(tmp_path):
    class Counting(nn.Module):
        def forward(self, x):
            return x * len([row for row in x if row.sum() > 0])

    with pytest.raises(UserError, match=r"cannot be written as onnx: [^\n]*; try another format$"):
        write(ONNXRUNTIME, Counting(), tmp_path / "model.onnx", size=SIZE)
    assert not list(tmp_path.iterdir())
