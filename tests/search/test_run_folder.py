import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from searches import (
    assert_best_is_kept,
    config_in,
    contents,
    read,
    result_of_search,
    run,
    search,
)
from toys import BUDGET, SPACE, LateFirst, SameScore, Toy, score

from rexnet import UserError, runs
from rexnet.budget import Count
from rexnet.data import in_memory
from rexnet.search.candidates.protocol import LATER
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.search.run_folder import prepare
from rexnet.search.study import Study


def test_a_run_folder_says_what_was_searched_on_what_and_where(tmp_path):
    config = config_in(tmp_path, repeats=2)
    run(config)
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
    assert identity["data"]["fingerprint"] == in_memory.load(config.data).fingerprint()
    assert identity["data"]["num_train"] == 30
    assert identity["data"]["num_held_out"] == 10
    settings = dataclasses.asdict(config.protocol())
    assert identity["protocol"] == {key: settings[key] for key in settings if key not in LATER}
    # As it has always been: folders of earlier searches are gone on with.
    limits = {"params": 80_000, "macs": 10_000_000, "count_classifier": False}
    sizes = {"num_blocks": 5, "num_classes": 10, "resolution": 32}
    assert identity["space"] == SPACE.identity == {**sizes, "budget": limits}
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


def test_the_search_sees_training_images_alone(tmp_path):
    """A folder of training images is all there is, and what is held out comes from it."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{number}.png")
    config = config_in(tmp_path, data=str(tmp_path / "train"), trials=1)
    run(config)
    data = runs.read_json(tmp_path / "S" / "search.json")["data"]
    assert (data["num_train"], data["num_held_out"]) == (18, 2)


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
    tmp_path, finished, change, named
):
    before = contents(finished)
    with pytest.raises(UserError) as error:
        run(config_in(tmp_path, **change))
    assert f"{finished} holds a search of another configuration: " in str(error.value)
    assert named in str(error.value)
    assert str(error.value).endswith("give another --out")
    assert "\n" not in str(error.value)
    assert contents(finished) == before


@pytest.mark.usefixtures("finished")
def test_a_folder_of_a_search_on_other_images_is_refused(tmp_path):
    config = config_in(tmp_path)
    with np.load(config.data) as file:
        images, labels = file["images"], file["labels"]
    images[0, 0, 0, 0] ^= 1
    np.savez(config.data, images=images, labels=labels)
    with pytest.raises(UserError, match=r"data\.fingerprint is "):
        run(config)


def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "S").mkdir()
    (tmp_path / "S" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"has files but no search\.json; give another --out"):
        run(config_in(tmp_path))
    found = {path.name for path in (tmp_path / "S").iterdir()} - {".lock"}
    assert found == {"thesis.tex"}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_search_json_is_refused_and_all_stays(tmp_path, finished, content):
    (finished / "search.json").write_text(content, encoding="utf-8")
    before = contents(finished)
    with pytest.raises(UserError):
        run(config_in(tmp_path))
    assert contents(finished) == before


def test_a_search_in_which_all_diverged_has_no_best(tmp_path):
    search(tmp_path, Toy(diverges=range(99)), 2)
    assert result_of_search(tmp_path)["best_accuracy"] is None
    assert not (tmp_path / "best.safetensors").exists()


def test_repeats_are_averaged_and_all_kept(tmp_path):
    search(tmp_path, Toy(repeats=3), 2)
    for row in read(tmp_path):
        wanted = score(SPACE.template.with_widths(row["widths"]))
        np.testing.assert_allclose(row["accuracies"], [wanted - 0.01, wanted, wanted + 0.01])
        assert row["accuracy"] == pytest.approx(wanted)


@pytest.mark.parametrize("accuracy", [0.5, 0.0])
def test_of_equal_networks_the_first_is_the_best(tmp_path, accuracy):
    search(tmp_path, SameScore(accuracy=accuracy), 3)
    assert_best_is_kept(tmp_path)


def test_of_equal_networks_that_end_in_another_order_the_first_by_number_is_the_best(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    search(tmp_path / "S", LateFirst(fifo=tmp_path / "fifo"), 3, num_processes=2)
    order = [row["number"] for row in runs.read_jsonl(tmp_path / "S" / "trials.jsonl")]
    assert order.index(1) < order.index(0)
    assert_best_is_kept(tmp_path / "S")


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
    assert search(finished, Toy(), 3) == 0
    assert contents(finished) == before


@pytest.mark.parametrize("kept", [0, 50, 5000])
def test_a_study_cut_short_is_refused_and_the_trials_stay(finished, kept):
    path = finished / "study.db"
    path.write_bytes(path.read_bytes()[:kept])
    before = contents(finished)
    with pytest.raises(UserError, match=r"study\.db"):
        search(finished, Toy(), 3)
    assert contents(finished) == before


def prepared(folder, storage):
    config = SearchConfig(
        budget=BudgetConfig(params=Count("0.2M"), macs=Count("30M")),
        storage=storage,
        out=str(folder),
    ).resolved()
    return prepare(folder, config, {"data": "toys", "seed": 0})


def test_folders_of_the_same_search_share_a_study_under_names_of_their_own(tmp_path):
    one, other = (prepared(tmp_path / name, "sqlite:///x.db") for name in "ab")
    assert one.study == other.study
    assert one.owner != other.owner
    assert prepared(tmp_path / "a", "sqlite:///x.db") == one


def test_a_folder_keeps_to_the_kind_of_study_it_began_with(tmp_path):
    assert prepared(tmp_path / "own", None) is None
    with pytest.raises(UserError, match="its own study"):
        prepared(tmp_path / "own", "sqlite:///x.db")
    prepared(tmp_path / "shared", "sqlite:///x.db")
    with pytest.raises(UserError, match="a shared study; give its --storage"):
        prepared(tmp_path / "shared", None)


def test_a_password_is_neither_written_nor_shown(tmp_path):
    url = "postgresql://me:hunter2@127.0.0.1:1/nowhere"
    prepared(tmp_path / "S", url)
    for path in (tmp_path / "S").iterdir():
        assert "hunter2" not in path.read_text()
    with pytest.raises(UserError, match=r"me:\*\*\*@127\.0\.0\.1") as error:
        Study(url, SPACE, 0, name="shared", owner="me")
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a?b=1", "h#a%20", "caf\udce9", "new\nline", "S:a@b"])
def test_a_study_stands_in_its_folder_whatever_that_is_called(name, tmp_path):
    search(tmp_path / name, Toy(), 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "study.db").stat().st_size > 0
    assert search(tmp_path / name, Toy(), 3) == 1
