"""The blocks of docs/extending.md, each run and put to use: a new thing of every kind."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import toys
from jsonargparse import ArgumentParser
from runs_of_toys import write_toys
from scenes import SETTINGS, write_scenes
from scenes import config as detect_config
from searches import config_in

from rexnet import create_model, families, inherit, runs
from rexnet.cli.main import main as rexnet
from rexnet.cli.studies import command
from rexnet.data import in_memory, sources
from rexnet.deploy import benchmark
from rexnet.deploy.config import BenchmarkConfig
from rexnet.deploy.runtimes import RUNTIMES, table
from rexnet.detect import job as detect
from rexnet.detect.hub import load_detector
from rexnet.nn.fast.kernels import FORMULAS
from rexnet.nn.fast.norms import ACTIVATIONS
from rexnet.nn.inherit import importance, make
from rexnet.nn.layers import activation
from rexnet.search import job as search
from rexnet.spec import Activation
from rexnet.studies.rank.layers import FUNCTIONS

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"

ROWS = """
from rexnet.deploy import runtimes
from rexnet.detect import heads
from rexnet.runs.lazy import Lazy
from rexnet.search import executors

executors.EXECUTORS = Lazy({"local": "", "here": "here:Here"})
heads.HEADS = Lazy({"ssdlite": "", "one_box": "one_box:OneBox"})
double = runtimes.Runtime(name="double", run=None, format="doubled")
runtimes.RUNTIMES = runtimes.table(*runtimes.RUNTIMES.values(), double)

from rexnet.cli.main import main

main(["search", "--executor", "her"])
main(["summary", "--detector", "one_bo"])
main(["benchmark", "rexnet_1.0", "--runtimes", "doubl"])
main(["export", "rexnet_1.0", "--format", "double"])
"""
"""Makes a row in each table that has an option, and a mistake in each option."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with toys.quick():
        yield tmp_path


def block(title):
    """Return the names that the block of a section defines."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    names = {"__name__": "extending"}
    exec(compile(code, title, "exec"), names)
    return names


def searched(here, **options):
    """Return the rows of a search of three networks."""
    options.setdefault("evaluate", block("An evaluator of candidates")["evaluate"])
    options.setdefault("make_executor", block("An executor")["Here"])
    search.run(config_in(here), lambda progress: None, **options)
    return runs.read_jsonl(here / "S" / "trials.jsonl")


def test_a_network_family(monkeypatch, capsys):
    monkeypatch.setitem(families.FAMILIES, "half", block("A network family")["HALF"])
    assert families.get("half_2.0").widths == families.get("rexnet_1.0").widths
    assert create_model("half_1.5", num_classes=3).spec.num_classes == 3
    assert rexnet(["list"]) == 0
    assert "half_1.0" in capsys.readouterr().out


def test_a_data_source(monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "stripes", block("A data source")["open_stripes"])
    train, val = sources.open_images("stripes")
    assert (len(train), len(val)) == (36, 4)
    assert in_memory.load("stripes").classes == ("plain", "striped")


def test_a_runtime(here):
    write_toys(here)
    config = BenchmarkConfig(models=("toy.json",), runtimes=("torch", "double"), rounds=1)
    available = table(*RUNTIMES.values(), block("A runtime")["DOUBLE"])
    result = benchmark.run(config, lambda progress: None, available)
    assert [row["runtime"] for row in result.rows] == ["torch", "double"]
    assert 0 < result.rows[1]["difference"] < 1e-4


def test_a_detector_head(here):
    write_scenes(here)
    heads = {"one_box": block("A detector head")["OneBox"]}
    config = detect_config(set=(*SETTINGS, "epochs=1", "head=one_box"))
    assert detect.run(config, lambda progress: None, heads=heads)["epochs"] == 1
    assert load_detector(here / "D", heads).architecture == "one_box"


def test_an_option_takes_the_names_of_its_table():
    done = subprocess.run([sys.executable, "-c", ROWS], check=True, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    words = ("'local', 'here'", "'ssdlite', 'one_box'", "'executorch', 'double'", "'doubled'")
    assert len(lines) == len(words)
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * len(words)


def test_an_evaluator_and_an_executor(here):
    rows = searched(here)
    assert [row["accuracy"] for row in rows] == [1 - 1 / row["widths"][-1] for row in rows]


def test_a_sampler(here):
    assert len(searched(here, sampler=block("A sampler")["Random"]())) == 3
    assert runs.read_json(here / "S" / "search.json")["sampler"] == {"name": "random"}


def test_an_importance(monkeypatch):
    rows = {**importance.IMPORTANCES, "read": block("An importance")["READ"]}
    monkeypatch.setattr(make, "IMPORTANCES", rows)
    model = create_model("rexnet_0.3", num_classes=3)
    narrow = dataclasses.replace(model.spec, penultimate_width=50)
    made = inherit(model, narrow, importance="read")
    kept = model.classifier.weight.square().sum(0).argsort()[-50:].sort().values
    assert torch.equal(made.classifier.weight, model.classifier.weight[:, kept])


def test_a_study(capsys):
    echo = command("echo", block("A study of trainings")["STUDY"])
    parser = ArgumentParser()
    echo.add(parser)
    echo.run(parser.parse_args(["--words", "good day"]))
    assert "good day" in capsys.readouterr().out


@pytest.mark.parametrize("name", get_args(Activation))
def test_an_activation_is_the_same_in_all_four_tables(name):
    x = np.linspace(-5, 8, 27, dtype=np.float32)
    by_torch = activation(name)(torch.from_numpy(x)).numpy()
    by_numpy = FUNCTIONS["linear" if name == "identity" else name](x)
    value, slope = FORMULAS[type(ACTIVATIONS[name])]
    assert callable(value)
    assert callable(slope)
    np.testing.assert_allclose(by_numpy, by_torch, rtol=1e-5, atol=1e-5)
    assert len(ACTIVATIONS) == len(FUNCTIONS) == len(get_args(Activation))


def test_every_section_is_tried():
    titles = set(re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    tried = set(re.findall(r'block\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert titles == tried
