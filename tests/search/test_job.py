import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
import torch
from clocks import ToyClock, made_up
from searches import (
    MIDDLE,
    assert_best_is_kept,
    config_in,
    contents,
    inline,
    read,
    result_of_search,
    run,
    search,
    timed,
)
from toys import BUDGET, PICKY, SPACE, Toy, score

from rexnet import NetSpec, UserError, count, runs
from rexnet.budget import Count, LatencyBudget
from rexnet.nn.hub import save_pretrained
from rexnet.nn.network import Network
from rexnet.search import job
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import BudgetConfig
from rexnet.search.fit import fit

HELPERS = Path(__file__).parents[1] / "helpers"
FIELDS = {"number", "state", "widths", "params", "macs", "accuracy", "accuracies", "seed"}
FIELDS |= {"seconds", "total_params", "spec_id", "protocol_id", "reason", "latency_ms"}

SEARCH = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from searches import search
def on_progress(progress):
    if int(progress.words.split("/")[0]) >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
toy = toys.Toy(kills_leader=(int(sys.argv[3]),))
with toys.no_sync():
    search(Path(sys.argv[2]), toy, 99, num_processes=1, on_progress=on_progress)
"""


def test_a_search_trains_as_many_networks_as_asked_all_inside_the_budget_and_none_twice(tmp_path):
    assert search(tmp_path, Toy(), 9, seed=3) == 9
    rows = read(tmp_path, timed=True)
    assert len(rows) == 9
    assert len({tuple(row["widths"]) for row in rows}) == 9
    for row in rows:
        assert set(row) == FIELDS
        spec = SPACE.template.with_widths(row["widths"])
        total = count(spec)
        assert row["spec_id"] == spec.spec_id
        assert row["state"] == "complete"
        assert row["widths"] == sorted(row["widths"])
        assert (row["macs"], row["total_params"]) == (total.macs, total.params)
        assert row["params"] == BUDGET.counted(total.params, spec, row["widths"][-1])
        assert 0.9 * BUDGET.params <= row["params"] <= BUDGET.params
        assert 0.9 * BUDGET.macs <= row["macs"] <= BUDGET.macs
        assert row["accuracy"] == pytest.approx(score(spec))
        assert row["accuracies"] == [row["accuracy"]]
        assert (row["seed"], row["reason"]) == (3, "")
        assert row["protocol_id"] == Protocol(seed=3).protocol_id
        assert row["seconds"] > 0
    assert_best_is_kept(tmp_path)
    assert result_of_search(tmp_path)["state"] == "complete"
    assert result_of_search(tmp_path)["num_complete"] == 9
    assert not (tmp_path / "candidates").exists()


def test_progress_rises_to_the_end_and_says_the_best(tmp_path):
    seen = []
    search(tmp_path, Toy(), 4, on_progress=seen.append)
    np.testing.assert_allclose([progress.share for progress in seen], [0.25, 0.5, 0.75, 1, 1])
    assert seen[-1].seconds_left == 0
    assert all(progress.seconds_left >= 0 for progress in seen)
    best = [row["accuracy"] for row in read(tmp_path)]
    for n, progress in enumerate(seen[:4]):
        told = f"{n + 1}/4 candidates trained, 0 rejected, best {100 * max(best[: n + 1]):.1f} %, "
        assert progress.words.startswith(told + "time left ")
    assert seen[-1].words.endswith("time left 0:00")


def test_a_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        search(tmp_path / name, Toy(), 8, seed=seed)
    assert read(tmp_path / "one") == read(tmp_path / "same")
    first, other = ({row["spec_id"] for row in read(tmp_path / n)} for n in ("one", "other"))
    assert first != other


def test_a_search_killed_again_and_again_equals_one_that_was_not(tmp_path, numbers):
    def killed(in_candidate=-1, after=99):
        """Run a search that is killed inside a candidate, or after so many of them."""
        numbers = [str(in_candidate), str(after)]
        arguments = [sys.executable, "-c", SEARCH, str(HELPERS), str(tmp_path / "cut"), *numbers]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    killed(in_candidate=numbers[0])
    assert read(tmp_path / "cut") == []
    killed(after=3)
    killed(in_candidate=numbers[7])
    assert len(read(tmp_path / "cut")) == 7
    search(tmp_path / "cut", Toy(), 10)
    search(tmp_path / "whole", Toy(), 10)
    assert read(tmp_path / "cut") == read(tmp_path / "whole")
    for folder in (tmp_path / "cut", tmp_path / "whole"):
        assert_best_is_kept(folder)


@contextmanager
def copied_before_every_write(folder, copies, monkeypatch):
    """Copy ``folder`` before each write of the block, be it of a file or a commit.

    A copy is what a process killed at that moment leaves on the disk. Yields the list of what was
    about to be written; the copies lie under their indices in it.
    """
    moments = []

    def copy(what, *without):
        if folder.exists():
            left_out = shutil.ignore_patterns(*without)
            shutil.copytree(folder, copies / str(len(moments)), ignore=left_out)
            moments.append(what)

    def append_jsonl(path, row, append=runs.append_jsonl):
        copy(f"append to {path.name}")
        before = path.read_bytes()
        path.write_bytes(before + json.dumps(row)[:25].encode())
        copy(f"append the rest of the line to {path.name}")
        path.write_bytes(before)
        append(path, row)

    def replace(path, target, real=Path.replace):
        if path.parent == Path(target).parent:
            # As it was before the file was written that now takes a place.
            copy(f"write {Path(target).name}", path.name)
        copy(f"replace {Path(target).name}")
        return real(path, target)

    def unlink(path, missing_ok=False, real=Path.unlink):
        copy(f"unlink {path.name}")
        real(path, missing_ok=missing_ok)

    def commit(_):
        copy("commit")

    engine = sqlalchemy.engine.Engine
    sqlalchemy.event.listen(engine, "commit", commit)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "append_jsonl", append_jsonl)
        patch.setattr(Path, "replace", replace)
        patch.setattr(Path, "unlink", unlink)
        yield moments
    sqlalchemy.event.remove(engine, "commit", commit)


def told(folder):
    """Return the files that must be the same however often a search was killed."""
    return {
        name: content
        for name, content in contents(folder).items()
        if name[0] != "." and name not in ("study.db", "config.yaml")
    }


def test_a_search_may_be_killed_before_any_of_its_writes(tmp_path, monkeypatch):
    folder, copies = tmp_path / "S", tmp_path / "copies"
    # Of the first proposals of this seed the fourth and the sixth, a better one, are trained.
    task = {"space": PICKY, "seed": 11}
    search(folder, Toy(), 1, **task)
    before = result_of_search(folder)["num_rejected"]
    with copied_before_every_write(folder, copies, monkeypatch) as moments:
        search(folder, Toy(), 2, **task)
    assert result_of_search(folder)["num_rejected"] > before
    assert {"commit", "replace best.json", "append to trials.jsonl"} <= set(moments)
    for moment, what in enumerate(moments):
        search(copies / str(moment), Toy(), 2, **task)
        assert told(copies / str(moment)) == told(folder), f"killed at {moment}: {what}"


def test_a_search_may_be_killed_before_any_write_of_its_beginning(tmp_path, monkeypatch):
    folder, copies = tmp_path / "S", tmp_path / "copies"
    with copied_before_every_write(folder, copies, monkeypatch) as moments:
        run(config_in(tmp_path, trials=1))
    early = moments[: moments.index("replace best.safetensors")]
    assert {"write search.json", "replace environment.json", "commit"} <= set(early)
    for moment, what in enumerate(early):
        run(config_in(tmp_path, trials=1, out=str(copies / str(moment))))
        assert told(copies / str(moment)) == told(folder), f"killed at {moment}: {what}"


def test_a_complete_search_trains_nothing_and_leaves_its_files_as_they_are(tmp_path, finished):
    before = contents(finished)
    assert run(config_in(tmp_path)) == 0
    after = contents(finished)
    assert set(before) == set(after)
    changed = {name for name, content in after.items() if content != before[name]}
    assert changed <= {"config.yaml", "environment.json"}


def test_a_budget_out_of_reach_is_refused_before_there_is_a_folder(tmp_path):
    budget = BudgetConfig(params=Count("1M"), macs=Count("1M"))
    with pytest.raises(UserError, match="nearest budget"):
        run(config_in(tmp_path, budget=budget))
    assert not (tmp_path / "S").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    with runs.locked(tmp_path / "S"), pytest.raises(UserError, match="in use by another process"):
        run(config_in(tmp_path))


def test_trials_may_grow_and_the_longer_search_is_the_one_asked_for_at_once(tmp_path, finished):
    run(config_in(tmp_path, trials=8))
    run(config_in(tmp_path, trials=8, out=str(tmp_path / "whole")))
    assert read(finished) == read(tmp_path / "whole")
    assert result_of_search(finished)["num_trials"] == 8


def test_fewer_trials_than_there_are_take_nothing_away(tmp_path, finished):
    before = read(finished, timed=True)
    assert run(config_in(tmp_path, trials=2)) == 0
    assert read(finished, timed=True) == before


def test_no_network_is_trained_that_is_predicted_to_pass_the_time(tmp_path):
    clock = ToyClock()
    assert run(timed(tmp_path), clock) == 8
    folder = tmp_path / "S"
    limit = LatencyBudget(f"{MIDDLE:.6f}ms@openvino").milliseconds
    rows = runs.read_jsonl(folder / "trials.jsonl")
    for row in rows:
        assert row["latency_ms"] <= limit
        spec = SPACE.template.with_widths(row["widths"])
        assert made_up(spec) == pytest.approx(row["latency_ms"], rel=0.03)
    # About half of the shapes are too slow, and SPACE rejects none of them for its budget.
    assert runs.read_json(folder / "result.json")["num_rejected"] >= 1
    assert runs.read_json(folder / "search.json")["latency"]["budget"] == f"{limit:g}ms@openvino"
    assert not (folder / "candidates").exists()


def test_a_resumed_search_rejects_the_same_networks_with_the_predictor_it_has(tmp_path):
    (tmp_path / "whole").mkdir()
    run(timed(tmp_path, out=str(tmp_path / "whole")), ToyClock())
    clock = ToyClock()
    run(timed(tmp_path, trials=3), clock)
    before = (tmp_path / "S" / "latency.json").read_bytes()
    assert run(timed(tmp_path, trials=8), clock) == 5
    assert clock.num_calibrated == 1
    assert (tmp_path / "S" / "latency.json").read_bytes() == before
    whole, resumed = (runs.read_jsonl(tmp_path / name / "trials.jsonl") for name in ("whole", "S"))
    assert [(row["number"], row["spec_id"]) for row in whole] == [
        (row["number"], row["spec_id"]) for row in resumed
    ]
    whole, resumed = (
        runs.read_json(tmp_path / name / "short_list.json") for name in ("whole", "S")
    )
    assert whole == resumed
    assert len(clock.measured) == 2
    # What is done is not measured again.
    assert run(timed(tmp_path), clock) == 0
    assert len(clock.measured) == 2


def alone(folder, **changes):
    """Return the config of a search under a budget of time and no other."""
    config = timed(folder, **changes)
    return dataclasses.replace(config, budget=BudgetConfig(latency=config.budget.latency))


def test_a_time_alone_is_used_up_by_every_network_and_resumed(tmp_path):
    clock = ToyClock()
    run(alone(tmp_path, trials=3), clock)
    (tmp_path / "S" / "latency.json").unlink()
    # Killed before the predictor was written, it is made as it was.
    assert run(alone(tmp_path, trials=8), clock) == 5
    rows = runs.read_jsonl(tmp_path / "S" / "trials.jsonl")
    assert all(0.9 * MIDDLE <= row["latency_ms"] <= MIDDLE for row in rows)
    assert len({row["macs"] for row in rows}) == 8
    identity = runs.read_json(tmp_path / "S" / "search.json")
    assert identity["space"]["budget"] == {"params": None, "macs": None, "count_classifier": True}
    assert fit(tmp_path / "S").proposal.spec.name == "search_5b_line"
    assert 0.85 * MIDDLE <= runs.read_json(tmp_path / "S" / "fit.json")["latency_ms"] <= MIDDLE


def test_the_widths_of_any_network_are_searched_under_one_limit(tmp_path):
    config = config_in(
        tmp_path,
        network="mobilenet_v2",
        scale_ends=True,
        budget=BudgetConfig(macs=Count("3M")),
    )
    assert run(config) == 3
    assert run(config) == 0
    rows = read(tmp_path / "S")
    assert all(2_700_000 <= row["macs"] <= 3_000_000 for row in rows)
    assert_best_is_kept(tmp_path / "S")
    best = NetSpec.load(tmp_path / "S" / "best.json")
    assert best.name == "search_mobilenet_v2"
    assert (best.num_classes, best.resolution, len(best.blocks)) == (10, 32, 17)
    assert best.penultimate_width < 1280
    line = fit(tmp_path / "S").proposal.spec
    assert line.name == "search_mobilenet_v2_line"
    assert line.penultimate_width < 1280
    with pytest.raises(UserError, match=r"space\.network\.name is mobilenet_v2, not mobilenet_v1"):
        run(dataclasses.replace(config, network="mobilenet_v1"))


def test_networks_inherit_and_the_weights_are_part_of_the_search(tmp_path):
    torch.manual_seed(0)
    save_pretrained(Network(SPACE.of([8, 8, 8, 10, 12])), tmp_path / "model")
    config = config_in(tmp_path, init=str(tmp_path / "model"), trials=1, epochs=1)
    quiet = {"on_progress": lambda progress: None, "make_executor": inline}
    assert job.run(config, **quiet) == 1
    folder = tmp_path / "S"
    identity = runs.read_json(folder / "search.json")
    assert len(identity["protocol"]["init"]) == 16
    assert identity["protocol"]["lr"] == 0.02
    assert identity["data"]["mean"] == [0.485, 0.456, 0.406]
    assert read(folder)[0]["protocol_id"] != Protocol(epochs=1, lr=0.02).protocol_id
    assert job.run(config, **quiet) == 0
    save_pretrained(Network(SPACE.of([8, 8, 8, 10, 12])), tmp_path / "model")
    with pytest.raises(UserError, match=r"protocol\.init is \w{16}, not \w{16}"):
        job.run(config, **quiet)


def test_a_search_killed_before_its_predictor_was_written_makes_the_same_one(tmp_path):
    clock = ToyClock()
    run(timed(tmp_path, trials=3), clock)
    path = tmp_path / "S" / "latency.json"
    before = path.read_bytes()
    path.unlink()
    assert run(timed(tmp_path, trials=4), clock) == 1
    assert clock.num_calibrated == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"milliseconds": 1.01 * MIDDLE}, "latency.budget is .*ms@openvino, not .*ms@openvino"),
        ({"seed": 1}, "protocol.seed is 0, not 1"),
    ],
)
def test_another_search_is_refused_before_anything_is_measured(changes, reason, tmp_path):
    run(timed(tmp_path, trials=2), ToyClock())
    (tmp_path / "S" / "latency.json").unlink()
    clock = ToyClock()
    before = {path: path.read_bytes() for path in (tmp_path / "S").iterdir() if path.is_file()}
    with pytest.raises(UserError, match=reason):
        run(timed(tmp_path, **changes), clock)
    assert clock.num_calibrated == 0
    assert {p: p.read_bytes() for p in (tmp_path / "S").iterdir() if p.is_file()} == before


def test_a_search_with_and_one_without_a_time_are_not_the_same(tmp_path):
    config = timed(tmp_path)
    run(dataclasses.replace(config, trials=2), ToyClock())
    plain = dataclasses.replace(config, budget=dataclasses.replace(config.budget, latency=None))
    with pytest.raises(UserError, match=r"latency is .*, not None"):
        run(plain, None)
    plain = dataclasses.replace(plain, out=str(tmp_path / "plain"))
    run(dataclasses.replace(plain, trials=2))
    assert "latency" not in runs.read_json(tmp_path / "plain" / "search.json")
    (row, _) = runs.read_jsonl(tmp_path / "plain" / "trials.jsonl")
    assert row["latency_ms"] is None
    with pytest.raises(UserError, match=r"latency is None, not {.budget.: .*ms@openvino.}; give"):
        run(dataclasses.replace(config, out=str(tmp_path / "plain")), ToyClock())


def test_another_device_is_refused(tmp_path):
    run(timed(tmp_path, trials=2), ToyClock())
    other = ToyClock(device={"processor": "toy", "threads": 2})
    with pytest.raises(UserError, match=r"latency\.json are of another device: threads is 1, not"):
        run(timed(tmp_path), other)


def test_a_time_that_no_network_keeps_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UserError, match=r"the fastest of .* takes .* ms; raise --budget\.latency"):
        run(timed(tmp_path, 0.01), ToyClock())
    assert not (tmp_path / "S" / "search.json").exists()
