"""A budget of time on the command line."""

import dataclasses

import numpy as np
import pytest
from clocks import QUIET, made_up, rounds_of
from commands import play

from rexnet import NetSpec, families, runs
from rexnet.cli import main as cli
from rexnet.deploy import latency_design, machine, stopwatch
from rexnet.deploy.stopwatch import Stopwatch

DEVICE = {
    "processor": "A toy",
    "threads": 2,
    "runtime": "openvino",
    "precision": "float32",
    "versions": {"openvino": "1.0"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def make_up(folder, monkeypatch, on=QUIET, others=None):
    """Make up all times, on a machine with such other work."""

    def measure(specs, on_progress):
        for done in range(1, 2 * len(specs) + 1):
            on_progress(done, 2 * len(specs))
        found = [rounds_of(made_up(spec)) for spec in specs]
        return [dataclasses.replace(one, others=others) for one in found]

    monkeypatch.setattr(machine, "examine", lambda: on)
    monkeypatch.setattr(
        stopwatch,
        "clock",
        lambda runtime, on_progress: Stopwatch(
            device=DEVICE, folder=folder / "cache", measured=measure, on_progress=on_progress
        ),
    )


@pytest.fixture
def toy_clock(folder, monkeypatch):
    """Make up all times, on a quiet machine."""
    make_up(folder, monkeypatch)


def refused(capsys, *arguments):
    assert cli.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("rexnet: error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.usefixtures("toy_clock")
def test_a_design_states_the_measured_and_the_predicted_time(capsys):
    limit = made_up(families.rexnet(1.0))
    assert cli.main(["design", "--latency", f"{limit:.4f}ms@openvino"]) == 0
    output = capsys.readouterr().out
    spec = NetSpec.load("spec.json")
    assert spec == families.get(spec.name)
    assert f"{spec.name} takes {made_up(spec):.3g} ms in its fastest round (median " in output
    assert "measured on A toy with openvino 1.0, 2 threads, float32" in output
    assert "% (median of 3 held-out networks)." in output
    assert "networks measured, time left" in output
    assert "written to spec.json" in output
    assert "busy" not in output
    assert len(list((stopwatch.cache_folder().parents[1]).glob("openvino-*.jsonl"))) == 1


@pytest.mark.usefixtures("toy_clock")
def test_a_design_keeps_all_three_limits():
    arguments = ["design", "--params", "4.8M", "--macs", "400M"]
    assert cli.main([*arguments, "--out", "line.json"]) == 0
    limit = 0.7 * made_up(NetSpec.load("line.json"))
    assert cli.main([*arguments, "--latency", f"{limit:.4f}ms@openvino"]) == 0
    assert 0.9 * limit <= made_up(NetSpec.load("spec.json")) <= limit


@pytest.mark.usefixtures("toy_clock")
def test_a_time_too_short_is_refused_with_the_fastest_and_nothing_is_written(capsys, folder):
    error = refused(capsys, "design", "--latency", "0.01ms@openvino", "--blocks", "6")
    assert "keeps 0.01ms@openvino: the fastest, rexnet_0.1, takes " in error
    assert not (folder / "spec.json").exists()


def test_a_busy_machine_is_told_before_anything_is_measured_and_in_the_answer(
    capsys, folder, monkeypatch
):
    busy = (machine.Process(pid=7, name="make", cores=1.9),)
    make_up(folder, monkeypatch, dataclasses.replace(QUIET, busy=busy), others=0.9)
    assert cli.main(["design", "--latency", "9ms@openvino"]) == 0
    first, *_, told, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("The machine is busy: make (process 7) keeps 1.9 cores busy. Times ")
    assert told == (
        "The machine was busy: other work took 90 % of the cores' time. When it is quiet, a larger "
        "network may keep 9ms@openvino."
    )
    error = refused(capsys, "design", "--latency", "0.01ms@openvino", "--blocks", "6")
    assert "the machine was busy, so 0.01ms@openvino was not decided" in error


@pytest.mark.usefixtures("toy_clock")
def test_a_file_of_another_network_is_kept(capsys, folder):
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    before = (folder / "spec.json").read_bytes()
    error = refused(capsys, "design", "--latency", "50ms@openvino")
    assert "spec.json holds another network than rexnet_" in error
    (folder / "spec.json").write_text("{", encoding="utf-8")
    assert "spec.json is not JSON" in refused(capsys, "design", "--latency", "50ms@openvino")
    (folder / "spec.json").write_bytes(before)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give --params, --macs, --latency, several of them, or --budget like:NAME"),
        (
            ["--latency", "3ms@openvino", "--macs", "3M"],
            "no network fits MACs 3,000,000: the small",
        ),
        (["--latency", "3@openvino"], "--latency: '3@openvino' is no latency"),
        (["--latency", "3ms@onnx"], "unknown runtime 'onnx' of '3ms@onnx' (did you mean onnxr"),
        (["--latency", "0ms@openvino"], "must be from 0.01 to 10,000 ms"),
        (["--latency", "3ms@openvino", "--blocks", "2"], "2 blocks"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, reason, capsys):
    assert reason in refused(capsys, "design", *arguments)


def test_a_search_under_a_time_in_onnx_runtime_ends_with_measured_times(
    capsys, folder, monkeypatch
):
    pytest.importorskip("onnxruntime")
    play(monkeypatch, num_measured=2)
    monkeypatch.setattr(stopwatch, "ROUNDS", 3)
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "photos.npz", images=images, labels=np.arange(40) % 10)
    arguments = ["search", "--data", "photos.npz", "--blocks", "3", "--budget.params", "36k"]
    arguments += ["--budget.macs", "4M", "--trials", "2", "--strategy", "tpe", "--out", "S"]
    assert cli.main([*arguments, "--budget.latency", "1000ms@onnxruntime"]) == 0
    output = capsys.readouterr().out
    assert "the fastest has to keep 1000ms@onnxruntime" in output
    assert "best.json is trial " in output
    found = runs.read_json(folder / "S" / "short_list.json")
    assert [row["keeps"] for row in found["networks"]] == [True, True]
    assert found["device"]["runtime"] == "onnxruntime"
    assert "latency: 1000ms@onnxruntime" in (folder / "S" / "config.yaml").read_text("utf-8")
    # The settings in the folder are those of the same search.
    assert cli.main(["search", "--config", "S/config.yaml"]) == 0
    assert "nothing was left to train" in capsys.readouterr().out


def test_the_widest_of_a_design_is_a_known_name():
    family, multiples = latency_design.rexnets(16, 1000, 224)
    assert family(multiples[-1]) == families.get("rexnet_5.0")
