import dataclasses

import pytest
from clocks import made_up, rounds_of
from toys import SPACE

from rexnet import UserError, families, runs
from rexnet.deploy.stopwatch import Stopwatch, cache_folder, clock, device, measured
from rexnet.search.space import sample

DEVICE = {"processor": "toy", "threads": 2, "runtime": "openvino", "versions": {"rexnet": "0"}}


def a_stopwatch(folder, calls=None, fails_at=None):
    """Return a stopwatch that notes the networks it measures, and may fail at a call."""
    calls = [] if calls is None else calls

    def measure(specs, on_progress):
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        calls.append([spec.spec_id for spec in specs])
        on_progress(2 * len(specs), 2 * len(specs))
        return [rounds_of(made_up(spec)) for spec in specs]

    return Stopwatch(device=DEVICE, folder=folder, measured=measure)


def test_times_are_kept_in_a_file_that_names_the_device(tmp_path):
    specs, calls = sample(SPACE, 5), []
    watch = a_stopwatch(tmp_path, calls)
    expected = [made_up(spec) for spec in specs]
    assert [its.fastest for its in watch.times(specs)] == expected
    assert watch.times([*specs, specs[0]]) == [rounds_of(its) for its in (*expected, expected[0])]
    assert calls == [[spec.spec_id for spec in specs]]
    first, *rows = runs.read_jsonl(watch.path)
    assert first == DEVICE
    assert [row["spec_id"] for row in rows] == calls[0]
    assert rows[0]["widths"] == list(specs[0].widths)
    other = dataclasses.replace(watch, device=DEVICE | {"threads": 1})
    assert other.path != watch.path


def test_times_of_a_busy_machine_are_not_kept(tmp_path):
    specs, calls = sample(SPACE, 2), []
    watch = a_stopwatch(tmp_path, calls)

    def disturbed(specs, on_progress):
        found = watch.measured(specs, on_progress)
        return [dataclasses.replace(found[0], others=0.9), *found[1:]]

    busy = dataclasses.replace(watch, measured=disturbed)
    assert busy.calibrate(specs).busy == "other work took 90 % of the cores' time"
    watch.times(specs)
    assert calls == [[spec.spec_id for spec in specs], [specs[0].spec_id]]
    assert watch.calibrate(specs).busy == ""


def test_lines_that_do_not_tell_of_other_work_are_measured_anew(tmp_path):
    specs, calls = sample(SPACE, 2), []
    watch = a_stopwatch(tmp_path, calls)
    watch.times(specs)
    first, *rows = runs.read_jsonl(watch.path)
    del rows[0]["others"]
    runs.write_jsonl(watch.path, [first, *rows])
    watch.times(specs)
    assert calls[1:] == [[specs[0].spec_id]]
    assert len(runs.read_jsonl(watch.path)) == 3


def test_what_a_stop_left_is_not_measured_again(tmp_path):
    specs, calls = sample(SPACE, 5), []
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(a_stopwatch(tmp_path, calls, fails_at=1), together=2).times(specs)
    assert len(calls) == 1
    steps = []
    watch = dataclasses.replace(a_stopwatch(tmp_path, calls), on_progress=steps.append, together=2)
    watch.times(specs)
    assert calls == [[spec.spec_id for spec in part] for part in (specs[:2], specs[2:4], specs[4:])]
    assert [step.words.split(",")[0] for step in steps] == [
        "2/3 networks measured",
        "3/3 networks measured",
    ]
    assert [step.share for step in steps] == [4 / 6, 1]


def test_a_predictor_is_judged_by_networks_it_was_not_fitted_to(tmp_path):
    specs = sample(SPACE, 33)
    watch = a_stopwatch(tmp_path)
    found = watch.calibrate(specs)
    assert (found.num_measured, found.num_held_out) == (len(specs) - 9, 9)
    assert found.device == DEVICE
    assert found.error is not None
    assert found.error < 0.02
    notes = [row for row in runs.read_jsonl(watch.path)[1:] if "held_out" in row]
    errors = sorted(abs(row["predicted"] / row["measured"] - 1) for row in notes)
    assert len(errors) == 9
    assert errors[4] == pytest.approx(found.error, abs=1e-5)
    # The same networks again: the same predictor, and no note twice.
    before = watch.path.read_bytes()
    assert watch.calibrate(specs) == found
    assert watch.path.read_bytes() == before


def test_two_networks_leave_none_to_hold_out(tmp_path):
    found = a_stopwatch(tmp_path).calibrate(sample(SPACE, 2))
    assert (found.num_held_out, found.error) == (0, None)
    assert found.told() == "no network was left to tell the error of the prediction"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "",
        lambda text: text.replace('"threads": 2', '"threads": 3'),
        lambda text: text.replace('"fastest"', '"slowest"'),
        lambda text: text.replace('"fastest": ', '"fastest": -'),
        lambda text: text.replace('"quartiles": [', '"quartiles": [1.0, '),
    ],
)
def test_a_damaged_file_of_times_is_named_and_stays(damage, tmp_path):
    watch = a_stopwatch(tmp_path)
    specs = sample(SPACE, 2)
    watch.times(specs)
    text = damage(watch.path.read_text(encoding="utf-8"))
    watch.path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="delete it, and what it held is measured again") as refusal:
        watch.times(specs)
    assert str(watch.path) in str(refusal.value)
    assert watch.path.read_text(encoding="utf-8") == text


def test_times_are_kept_in_the_folder_of_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rexnet" / "latency"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "rexnet" / "latency"


def test_a_runtime_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; install it with pip install 'rexnet\["):
        device("openvino", 1)


def test_networks_are_measured_in_onnx_runtime(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    steps = []
    watch = clock("onnxruntime", steps.append, threads=1)
    assert watch.device["threads"] == 1
    assert watch.device["versions"]["onnxruntime"]
    specs = [families.search_network(widths, 10, 32) for widths in ((8, 8, 16), (8, 16, 24))]
    found = watch.measure(specs)
    assert len(found) == 2
    for one in found:
        assert 0 < one.fastest <= one.quartiles[0] <= one.median <= one.quartiles[1]
        assert one.others is None or 0 <= one.others <= 1
    assert [step.share for step in steps[:3]] == [0.25, 0.5, 0.5]
    assert (steps[-1].share, steps[-1].words) == (1, "2/2 networks measured, time left 0:00")


def test_networks_are_measured_in_openvino():
    pytest.importorskip("openvino")
    spec = families.search_network((8, 8, 16), 10, 32)
    (found,) = measured([spec], "openvino", 1, rounds=2)
    assert found.fastest > 0
