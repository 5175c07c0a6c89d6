import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
import toys
import yaml
from optuna.trial import TrialState
from toys import BUDGET, PICKY, SPACE, TINY, LateFirst, SameScore, Toy, score

from rexnet import NetSpec, UserError, count, runs
from rexnet.budget import Count
from rexnet.search import job
from rexnet.search import space as spaces
from rexnet.search import study as studies
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import BudgetConfig, SearchConfig

HELPERS = Path(__file__).parents[1] / "helpers"
FIELDS = {"number", "state", "widths", "params", "macs", "accuracy", "accuracies", "seed"}
FIELDS |= {"seconds", "total_params", "spec_id", "protocol_id", "reason", "latency_ms"}
STARTUP = 5
"""So few random proposals that most come from TPE."""

SEARCH = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from rexnet.search import study
study.SAMPLER["n_startup_trials"] = int(sys.argv[5])
def on_progress(progress):
    if int(progress.words.split("/")[0]) >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
kills = (int(sys.argv[3]),)
with toys.no_sync():
    toys.search(Path(sys.argv[2]), toys.Toy(kills_leader=kills), 99, on_progress=on_progress)
"""


@pytest.fixture(autouse=True, scope="module")
def no_sync():
    with toys.no_sync():
        yield


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let TPE begin early, and probe few shapes for the reach of a budget."""
    monkeypatch.setitem(studies.SAMPLER, "n_startup_trials", STARTUP)
    monkeypatch.setattr(spaces, "PROBES", 10)


@pytest.fixture
def inline(monkeypatch):
    """Evaluate in this process: most of what a search does needs no other."""
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Return the numbers of the first trials of the toy search that are trained, not rejected."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "LocalExecutor", toys.inline)
        patch.setitem(studies.SAMPLER, "n_startup_trials", STARTUP)
        toys.search(folder, Toy(), 10)
    return [row["number"] for row in read(folder)]


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory):
    """Return the run folder of a search of three trials that is complete."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "LocalExecutor", toys.inline)
        patch.setitem(studies.SAMPLER, "n_startup_trials", STARTUP)
        patch.setattr(spaces, "PROBES", 10)
        run(config_in(folder), patch)
    return folder / "S"


@pytest.fixture
def finished(three_trials, tmp_path):
    """Return a copy of a complete search: that of ``config_in(tmp_path)``."""
    return Path(shutil.copytree(three_trials, tmp_path / "S"))


def read(folder, timed=False):
    """Return the rows of ``trials.jsonl`` in order of number, without what a clock says."""
    rows = sorted(runs.read_jsonl(folder / "trials.jsonl"), key=lambda row: row["number"])
    return rows if timed else [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def result_of(folder):
    return runs.read_json(folder / "result.json")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def best_row(folder):
    done = [row for row in read(folder) if row["state"] == "complete"]
    return max(done, key=lambda row: (row["accuracy"], -row["number"]))


def assert_best_is_kept(folder):
    """Check that the weights and the spec are those of the best trial."""
    best = best_row(folder)
    spec = NetSpec.load(folder / "best.json")
    assert (folder / "best.safetensors").read_text(encoding="utf-8") == spec.spec_id
    assert spec.spec_id == best["spec_id"]
    assert list(spec.widths) == best["widths"]
    assert result_of(folder)["best_accuracy"] == best["accuracy"]


def write_images(folder, side=32, count=40):
    """Write images of ten classes as an .npz file and return its path."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    np.savez(folder / "photos.npz", images=images, labels=np.arange(count) % 10)
    return str(folder / "photos.npz")


def config_in(folder, **changes):
    """Return the config of a search on images in ``folder`` whose run folder is ``folder/S``."""
    settings = {
        "data": write_images(folder),
        "budget": BudgetConfig(
            params=Count(BUDGET.params), macs=Count(BUDGET.macs), count_classifier=False
        ),
        "trials": 3,
        "workers": 1,
        "out": str(folder / "S"),
    }
    return SearchConfig(**(settings | changes))


def run(config, monkeypatch, evaluate=None):
    """Run ``config`` with a toy in place of training; return what the toy was made of."""
    made = []

    def evaluator(**arguments):
        made.append(arguments)
        return evaluate or Toy(repeats=arguments["protocol"].repeats)

    monkeypatch.setattr(job, "Evaluator", evaluator)
    job.run(config, lambda progress: None)
    return made


@pytest.mark.usefixtures("inline")
def test_a_search_trains_as_many_networks_as_asked_all_inside_the_budget_and_none_twice(tmp_path):
    assert toys.search(tmp_path, Toy(), 9, seed=3) == 9
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
        assert row["accuracy"] == pytest.approx(toys.score(spec))
        assert row["accuracies"] == [row["accuracy"]]
        assert (row["seed"], row["reason"]) == (3, "")
        assert row["protocol_id"] == Protocol(seed=3).protocol_id
        assert row["seconds"] > 0
    assert_best_is_kept(tmp_path)
    assert result_of(tmp_path)["state"] == "complete"
    assert result_of(tmp_path)["num_complete"] == 9
    assert not (tmp_path / "candidates").exists()


@pytest.mark.usefixtures("inline")
def test_shapes_that_cannot_fill_the_budget_are_counted_and_not_trained(tmp_path):
    seen = []
    toys.search(tmp_path, Toy(), 5, space=PICKY, on_progress=seen.append)
    rows = read(tmp_path)
    assert len(rows) == 5
    for row in rows:
        assert 0.9 * PICKY.budget.params <= row["params"] <= PICKY.budget.params
        assert 0.9 * PICKY.budget.macs <= row["macs"] <= PICKY.budget.macs
    url = f"sqlite:///{tmp_path / 'study.db'}"
    trials = optuna.load_study(study_name="search", storage=url).trials
    rejected = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(trials) == 5 + len(rejected)
    assert len(rejected) == result_of(tmp_path)["num_rejected"] > 0
    assert f", {len(rejected)} rejected, " in seen[-1].words
    assert all(trial.constraints["budget"] > 0 for trial in rejected)


@pytest.mark.usefixtures("inline")
def test_progress_rises_to_the_end_and_says_the_best(tmp_path):
    seen = []
    toys.search(tmp_path, Toy(), 4, on_progress=seen.append)
    np.testing.assert_allclose([progress.share for progress in seen], [0.25, 0.5, 0.75, 1, 1])
    assert seen[-1].seconds_left == 0
    assert all(progress.seconds_left >= 0 for progress in seen)
    best = [row["accuracy"] for row in read(tmp_path)]
    for n, progress in enumerate(seen[:4]):
        told = f"{n + 1}/4 candidates trained, 0 rejected, best {100 * max(best[: n + 1]):.1f} %, "
        assert progress.words.startswith(told + "time left ")
    assert seen[-1].words.endswith("time left 0:00")


@pytest.mark.usefixtures("inline")
def test_a_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        toys.search(tmp_path / name, Toy(), 8, seed=seed)
    assert read(tmp_path / "one") == read(tmp_path / "same")
    first, other = ({row["spec_id"] for row in read(tmp_path / n)} for n in ("one", "other"))
    assert first != other


@pytest.mark.usefixtures("inline")
def test_tpe_finds_better_networks_than_its_random_start(tmp_path):
    toys.search(tmp_path, Toy(), 25)
    scores = [row["accuracy"] for row in read(tmp_path)]
    assert np.mean(scores[15:]) > np.mean(scores[:STARTUP]) + 0.02


def test_workers_side_by_side_train_each_network_once(tmp_path):
    assert toys.search(tmp_path, Toy(), 7, num_workers=2) == 7
    rows = read(tmp_path)
    assert len({tuple(row["widths"]) for row in rows}) == len(rows) == 7
    assert_best_is_kept(tmp_path)


def test_candidates_that_diverge_or_die_are_recorded_as_what_they_were_and_the_search_goes_on(
    tmp_path, numbers
):
    toy = Toy(diverges=numbers[:1], kills_itself=numbers[2:3], raises=numbers[3:4])
    toys.search(tmp_path, toy, 6)
    rows = read(tmp_path)
    states = [row["state"] for row in rows]
    assert states == ["diverged", "complete", "died", "died", "complete", "complete"]
    reasons = [row["reason"] for row in rows]
    assert reasons == [
        "loss nan at step 3 of 7",
        "",
        "exit code -9",
        "ZeroDivisionError: nothing to divide by",
        "",
        "",
    ]
    for row in rows:
        assert (row["accuracy"] is None) == (row["state"] != "complete")
        assert bool(row["accuracies"]) == (row["state"] == "complete")
    result = result_of(tmp_path)
    assert [result[f"num_{state}"] for state in ("complete", "diverged", "died")] == [3, 1, 2]
    assert_best_is_kept(tmp_path)


@pytest.mark.usefixtures("inline")
def test_a_search_gives_up_when_five_candidates_in_a_row_died_and_can_go_on(tmp_path, numbers):
    toy = Toy(raises=[number for number in range(99) if number != numbers[1]])
    with pytest.raises(UserError, match=r"^5 candidates in a row died, the last: ZeroDivision"):
        toys.search(tmp_path, toy, 9)
    assert [row["state"] for row in read(tmp_path)] == ["died", "complete", *5 * ["died"]]
    assert toys.search(tmp_path, Toy(), 9) == 2
    assert len(read(tmp_path)) == 9


@pytest.mark.usefixtures("inline")
def test_diverged_candidates_in_a_row_do_not_end_a_search(tmp_path, numbers):
    toy = Toy(diverges=[number for number in range(99) if number != numbers[0]])
    toys.search(tmp_path, toy, 7)
    assert result_of(tmp_path)["num_diverged"] == 6
    assert_best_is_kept(tmp_path)


@pytest.mark.usefixtures("inline")
def test_a_search_in_which_all_diverged_has_no_best(tmp_path):
    toys.search(tmp_path, Toy(diverges=range(99)), 2)
    assert result_of(tmp_path)["best_accuracy"] is None
    assert not (tmp_path / "best.safetensors").exists()


@pytest.mark.usefixtures("inline")
def test_an_error_of_the_users_in_a_worker_ends_the_search_which_then_goes_on_the_same(
    tmp_path, numbers
):
    toys.search(tmp_path / "whole", Toy(), 4)
    with pytest.raises(UserError, match="No space left"):
        toys.search(tmp_path / "cut", Toy(user_error=numbers[2:3]), 4)
    assert toys.search(tmp_path / "cut", Toy(), 4) == 2
    assert read(tmp_path / "cut") == read(tmp_path / "whole")


@pytest.mark.usefixtures("inline")
def test_repeats_are_averaged_and_all_kept(tmp_path):
    toys.search(tmp_path, Toy(repeats=3), 2)
    for row in read(tmp_path):
        wanted = toys.score(SPACE.template.with_widths(row["widths"]))
        np.testing.assert_allclose(row["accuracies"], [wanted - 0.01, wanted, wanted + 0.01])
        assert row["accuracy"] == pytest.approx(wanted)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("accuracy", [0.5, 0.0])
def test_of_equal_networks_the_first_is_the_best(tmp_path, accuracy):
    toys.search(tmp_path, SameScore(accuracy=accuracy), 3)
    assert_best_is_kept(tmp_path)


def test_of_equal_networks_that_end_in_another_order_the_first_by_number_is_the_best(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    toys.search(tmp_path / "S", LateFirst(fifo=tmp_path / "fifo"), 3, num_workers=2)
    order = [row["number"] for row in runs.read_jsonl(tmp_path / "S" / "trials.jsonl")]
    assert order.index(1) < order.index(0)
    assert_best_is_kept(tmp_path / "S")


def test_a_search_killed_again_and_again_equals_one_that_was_not(tmp_path, monkeypatch, numbers):
    def killed(in_candidate=-1, after=99):
        """Run a search that is killed inside a candidate, or after so many of them."""
        numbers = [str(in_candidate), str(after), str(STARTUP)]
        arguments = [sys.executable, "-c", SEARCH, str(HELPERS), str(tmp_path / "cut"), *numbers]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    killed(in_candidate=numbers[0])
    assert read(tmp_path / "cut") == []
    killed(after=3)
    killed(in_candidate=numbers[7])
    assert len(read(tmp_path / "cut")) == 7
    toys.search(tmp_path / "cut", Toy(), 10)
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)
    toys.search(tmp_path / "whole", Toy(), 10)
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

    def copy(what):
        if folder.exists():
            shutil.copytree(folder, copies / str(len(moments)))
            moments.append(what)

    def write_bytes(path, content, write=runs.write_bytes):
        copy(f"write {path.name}")
        write(path, content)

    def append_jsonl(path, row, append=runs.append_jsonl):
        copy(f"append to {path.name}")
        before = path.read_bytes()
        path.write_bytes(before + json.dumps(row)[:25].encode())
        copy(f"append the rest of the line to {path.name}")
        path.write_bytes(before)
        append(path, row)

    def replace(path, target, real=Path.replace):
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
        patch.setattr(runs, "write_bytes", write_bytes)
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


@pytest.mark.usefixtures("inline")
def test_a_search_may_be_killed_before_any_of_its_writes(tmp_path, monkeypatch):
    folder, copies = tmp_path / "S", tmp_path / "copies"
    # Of the first proposals of this seed the fourth and the sixth, a better one, are trained.
    task = {"space": PICKY, "seed": 11}
    toys.search(folder, Toy(), 1, **task)
    before = result_of(folder)["num_rejected"]
    with copied_before_every_write(folder, copies, monkeypatch) as moments:
        toys.search(folder, Toy(), 2, **task)
    assert result_of(folder)["num_rejected"] > before
    assert {"commit", "replace best.json", "append to trials.jsonl"} <= set(moments)
    for moment, what in enumerate(moments):
        toys.search(copies / str(moment), Toy(), 2, **task)
        assert told(copies / str(moment)) == told(folder), f"killed at {moment}: {what}"


@pytest.mark.usefixtures("inline")
def test_a_search_may_be_killed_before_any_write_of_its_beginning(tmp_path, monkeypatch):
    folder, copies = tmp_path / "S", tmp_path / "copies"
    with copied_before_every_write(folder, copies, monkeypatch) as moments:
        run(config_in(tmp_path, trials=1), monkeypatch)
    early = moments[: moments.index("replace best.safetensors")]
    assert {"write search.json", "replace environment.json", "commit"} <= set(early)
    for moment, what in enumerate(early):
        run(config_in(tmp_path, trials=1, out=str(copies / str(moment))), monkeypatch)
        assert told(copies / str(moment)) == told(folder), f"killed at {moment}: {what}"


@pytest.mark.usefixtures("inline")
def test_a_complete_search_trains_nothing_and_leaves_its_files_as_they_are(tmp_path, finished):
    before = contents(finished)
    assert job.run(config_in(tmp_path), lambda progress: None) == 0
    after = contents(finished)
    assert set(before) == set(after)
    changed = {name for name, content in after.items() if content != before[name]}
    assert changed <= {"config.yaml", "environment.json"}


@pytest.mark.usefixtures("inline")
def test_a_run_folder_says_what_was_searched_on_what_and_where(tmp_path, monkeypatch):
    config = config_in(tmp_path, repeats=2)
    (made,) = run(config, monkeypatch)
    folder = tmp_path / "S"
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "search.json",
        "config.yaml",
        "environment.json",
        "study.db",
        "trials.jsonl",
        "result.json",
        "best.json",
        "best.safetensors",
    }
    identity = runs.read_json(folder / "search.json")
    assert identity["data"]["name"] == "photos.npz"
    assert identity["data"]["fingerprint"] == made["images"].fingerprint()
    assert identity["data"]["num_train"] == 30
    assert identity["data"]["num_held_out"] == 10
    assert identity["protocol"] == dataclasses.asdict(config.protocol())
    assert identity["space"] == dataclasses.asdict(SPACE)
    assert identity["sampler"]["multivariate"] is True
    assert runs.read_json(folder / "environment.json")["packages"]["optuna"]
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    budget = settings.pop("budget") | {}
    assert (
        SearchConfig(
            **settings, budget=BudgetConfig(**budget | {"params": Count(budget["params"])})
        )
        .resolved()
        .limits()
        == BUDGET
    )


@pytest.mark.usefixtures("inline")
def test_the_search_sees_training_images_alone(tmp_path, monkeypatch):
    """A folder of training images is all there is, and what is held out comes from it."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{number}.png")
    config = config_in(tmp_path, data=str(tmp_path / "train"), trials=1)
    (made,) = run(config, monkeypatch)
    assert len(made["images"].images) == 20
    assert made["images"].held_out.sum() == 2


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "protocol.seed is 0, not 1"),
        ({"epochs": 7}, "protocol.epochs is 30, not 7"),
        ({"blocks": 6}, "space.num_blocks is 5, not 6"),
        ({"repeats": 2}, "protocol.repeats is 1, not 2"),
        (
            {"budget": BudgetConfig(params=Count(90_000), macs=Count(BUDGET.macs))},
            "space.budget.params is 80000, not 90000",
        ),
    ],
)
def test_a_folder_of_another_search_is_refused_and_stays_as_it_is(
    tmp_path, finished, monkeypatch, change, named
):
    before = contents(finished)
    with pytest.raises(UserError) as error:
        run(config_in(tmp_path, **change), monkeypatch)
    assert f"{finished} holds a search of another configuration: " in str(error.value)
    assert named in str(error.value)
    assert str(error.value).endswith("give another --out")
    assert "\n" not in str(error.value)
    assert contents(finished) == before


@pytest.mark.usefixtures("inline", "finished")
def test_a_folder_of_a_search_on_other_images_is_refused(tmp_path, monkeypatch):
    config = config_in(tmp_path)
    with np.load(config.data) as file:
        images, labels = file["images"], file["labels"]
    images[0, 0, 0, 0] ^= 1
    np.savez(config.data, images=images, labels=labels)
    with pytest.raises(UserError, match=r"data\.fingerprint is "):
        run(config, monkeypatch)


@pytest.mark.usefixtures("inline")
def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "S").mkdir()
    (tmp_path / "S" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"has files but no search\.json; give another --out"):
        run(config_in(tmp_path), monkeypatch)
    found = {path.name for path in (tmp_path / "S").iterdir()} - {".lock"}
    assert found == {"thesis.tex"}


def test_a_budget_out_of_reach_is_refused_before_there_is_a_folder(tmp_path, monkeypatch):
    budget = BudgetConfig(params=Count("1M"), macs=Count("1M"))
    with pytest.raises(UserError, match="nearest budget"):
        run(config_in(tmp_path, budget=budget), monkeypatch)
    assert not (tmp_path / "S").exists()


@pytest.mark.usefixtures("inline")
def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    with runs.locked(tmp_path / "S"), pytest.raises(UserError, match="in use by another process"):
        run(config_in(tmp_path), monkeypatch)


@pytest.mark.usefixtures("inline")
def test_trials_may_grow_and_the_longer_search_is_the_one_asked_for_at_once(
    tmp_path, finished, monkeypatch
):
    run(config_in(tmp_path, trials=8), monkeypatch)
    run(config_in(tmp_path, trials=8, out=str(tmp_path / "whole")), monkeypatch)
    assert read(finished) == read(tmp_path / "whole")
    assert result_of(finished)["num_trials"] == 8


@pytest.mark.usefixtures("inline")
def test_fewer_trials_than_there_are_take_nothing_away(tmp_path, finished):
    before = read(finished, timed=True)
    assert job.run(config_in(tmp_path, trials=2), lambda progress: None) == 0
    assert read(finished, timed=True) == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def lose_a_line(path):
    path.write_text("".join(path.read_text().splitlines(True)[1:]), encoding="utf-8")


def change_a_number(path):
    path.write_text(path.read_text().replace('"params": ', '"params": 1', 1), encoding="utf-8")


def say_nothing(path):
    path.write_text("{}\n" * 3, encoding="utf-8")


def number_nothing(path):
    path.write_text('{"number": null}\n' * 3, encoding="utf-8")


def empty(path):
    path.write_text("", encoding="utf-8")


def fill_with_noise(path):
    path.write_bytes(b"\xff\x00\xfe" * 9)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        cut,
        lose_a_line,
        change_a_number,
        empty,
        fill_with_noise,
        say_nothing,
        number_nothing,
    ],
)
def test_trials_that_are_lost_or_damaged_are_written_anew_from_the_study(finished, damage):
    before = contents(finished)
    damage(finished / "trials.jsonl")
    assert toys.search(finished, Toy(), 3) == 0
    assert contents(finished) == before


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("kept", [0, 50, 5000])
def test_a_study_cut_short_is_refused_and_the_trials_stay(finished, kept):
    path = finished / "study.db"
    path.write_bytes(path.read_bytes()[:kept])
    before = contents(finished)
    with pytest.raises(UserError, match=r"study\.db"):
        toys.search(finished, Toy(), 3)
    assert contents(finished) == before


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_search_json_is_refused_and_all_stays(tmp_path, finished, monkeypatch, content):
    (finished / "search.json").write_text(content, encoding="utf-8")
    before = contents(finished)
    with pytest.raises(UserError):
        run(config_in(tmp_path), monkeypatch)
    assert contents(finished) == before


@pytest.mark.usefixtures("inline")
def test_a_space_without_more_networks_stops_the_search_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(studies.SAMPLER, "tpe_draws", 4)
    num_new = toys.search(tmp_path, Toy(), 50, space=TINY)
    result = result_of(tmp_path)
    assert result["state"] == "stopped"
    assert result["reason"] == "no draw gave a network that is new"
    assert result["num_complete"] == num_new == len(read(tmp_path)) < 50
    before = contents(tmp_path)
    assert toys.search(tmp_path, Toy(), 50, space=TINY) == 0
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("inline")
def test_a_search_that_only_rejects_stops_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "MAX_ASKS", 2)
    budget = dataclasses.replace(BUDGET, params=10_000_000)
    space = dataclasses.replace(SPACE, budget=budget)
    assert toys.search(tmp_path, Toy(), 3, space=space) == 0
    result = result_of(tmp_path)
    assert (result["state"], result["num_rejected"]) == ("stopped", 6)
    assert "6 proposals were made" in result["reason"]


@pytest.mark.parametrize("pruner", ["halving", "median"])
def test_a_pruner_ends_trainings_that_fall_behind_and_never_the_best(tmp_path, monkeypatch, pruner):
    # At random some fall behind; what TPE proposes may not.
    monkeypatch.setitem(studies.SAMPLER, "n_startup_trials", 99)
    toys.search(tmp_path, toys.Learns(), 30, num_workers=2, pruner=pruner)
    rows = read(tmp_path)
    assert len(rows) == 30
    pruned = [row for row in rows if row["state"] == "pruned"]
    complete = [row for row in rows if row["state"] == "complete"]
    assert len(pruned) + len(complete) == 30
    assert 1 <= len(pruned) < 30
    for row in pruned:
        assert row["accuracy"] is None
        assert row["accuracies"] == []
        match = re.fullmatch(r"pruned after epoch ([123]) at (0\.\d{4})", row["reason"])
        spec = SPACE.template.with_widths(row["widths"])
        assert float(match[2]) == pytest.approx(score(spec) * int(match[1]) / 4, abs=1e-4)
    # What Learns tells on the way ranks as the end does.
    scores = {row["spec_id"]: score(SPACE.template.with_widths(row["widths"])) for row in rows}
    assert max(scores, key=scores.get) in {row["spec_id"] for row in complete}
    assert result_of(tmp_path)["num_pruned"] == len(pruned)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for trial in optuna.load_study(study_name="search", storage=url).trials:
        told = trial.intermediate_values
        if trial.state == TrialState.COMPLETE:
            assert list(told) == [1, 2, 3]
            assert told[2] == pytest.approx(trial.value / 2)


def test_without_a_pruner_nothing_is_pruned(tmp_path):
    toys.search(tmp_path, toys.Learns(), 12)
    assert {row["state"] for row in read(tmp_path)} == {"complete"}
