"""The table of runtimes: every one of them does what the others do."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from small_models import network, read_plainly
from torch import nn

from rexnet.budget import RUNTIMES as LATENCY_RUNTIMES
from rexnet.deploy import parity, runtimes
from rexnet.deploy.runtimes import RUNTIMES
from rexnet.deploy.runtimes.torch import module_run

ROOT = Path(__file__).parents[3]
FORMATS = runtimes.by_format(RUNTIMES)
SIZE = (3, 32, 32)
WORDS = {"name": 'a "small" one', "classes": '["é", "b"]'}


class Tripled(nn.Module):
    """Gives three times the sums of its input, and their opposite."""

    def forward(self, x):
        y = 3 * x.sum((2, 3))
        return y, -y


def opened(runtime, module, folder):
    """Return a module in a runtime, by way of a file where there are files."""
    if runtime.write is None:
        return runtimes.run(runtime, module, 1)
    path = folder / f"model{runtime.suffix}"
    runtimes.write(runtime, runtime.form(module), path, size=SIZE)
    return runtimes.run(runtime, path, 1)


def test_the_names_of_the_command_line_are_those_of_the_table():
    assert set(LATENCY_RUNTIMES) <= {runtime.name for runtime in FORMATS.values()}
    assert all(name == runtime.name for name, runtime in RUNTIMES.items())


@pytest.mark.parametrize("name", RUNTIMES)
def test_what_a_runtime_needs_is_an_extra_of_the_package(name):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project, runtime = tomllib.loads(text)["project"], RUNTIMES[name]
    wanted = project["optional-dependencies"].get(runtime.extra, project["dependencies"])
    installed = {re.split(r"[^\w-]", line)[0] for line in wanted}
    assert {*runtime.libraries} <= installed
    assert (runtime.extra is None) == name.startswith("torch")


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_stands_in_the_documents(name):
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    table = text[text.index("| runtime | what |") :].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()]
    assert any(f"`{name}`" in cell for cell in cells)


def test_the_table_loads_no_library_before_a_runtime_writes_or_runs():
    code = "import rexnet.deploy.runtimes, sys; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    libraries = {name for runtime in RUNTIMES.values() for name in runtime.libraries}
    assert not {"torch", *libraries} & {*output.stdout.split()}


# torch.compile makes code for the processor that is there, whatever torch itself is held to.
NUMERIC = [
    pytest.param(name, marks=() if name == "torch-compile" else pytest.mark.numeric)
    for name in RUNTIMES
]


@pytest.mark.parametrize("name", NUMERIC)
def test_a_runtime_gives_what_the_model_gives(name, tmp_path):
    model = network()
    run = opened(RUNTIMES[name], model, tmp_path)
    images = parity.batches(SIZE)
    with RUNTIMES[name].session():
        found = parity.compare(module_run(model), run, images)
        assert found.difference < 1e-4
        assert not found.is_faint
        # What a call gave stays when the next one is made.
        (kept,) = run(images[1])
        before = kept.copy()
        run(images[1] + 1)
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("name", FORMATS)
def test_a_plain_runtime_reads_the_words_of_a_file_and_computes_any_batch(name, tmp_path):
    runtime = FORMATS[name]
    path = tmp_path / f"model{runtime.suffix}"
    size, outputs = (3, 8, 8), ("sums", "opposite")
    runtimes.write(runtime, Tripled().eval(), path, size=size, outputs=outputs, metadata=WORDS)
    batches = parity.batches(size)
    words, found = read_plainly(name, path, batches, WORDS, tmp_path / "arrays.npz")
    assert WORDS.items() <= words.items()
    for images, (sums, opposite) in zip(batches, found, strict=True):
        np.testing.assert_allclose(sums, 3 * images.sum((2, 3)), rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(opposite, -sums)
    # Here, too, outputs come in their order.
    sums, opposite = runtimes.run(runtime, path, 1)(batches[1])
    np.testing.assert_allclose(sums, 3 * batches[1].sum((2, 3)), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(opposite, -sums)


def test_a_table_may_have_another_runtime():
    mine = dataclasses.replace(RUNTIMES["torch"], name="mine")
    assert tuple(runtimes.table(*RUNTIMES.values(), mine)) == (*RUNTIMES, "mine")
    assert "mine" not in RUNTIMES
