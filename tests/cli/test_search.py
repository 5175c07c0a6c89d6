import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import (
    BUDGET,
    TINY,
    contents,
    in_process,
    mistaken,
    refused,
    searching,
    write_images,
    write_npz,
)
from safetensors import safe_open
from toys import made_up_rows, write_run

from rexnet import NetSpec, families, runs
from rexnet.cli import main as cli
from rexnet.cli.arguments import config_of
from rexnet.cli.made import print_shapes
from rexnet.search import space as spaces
from rexnet.search.config import SearchConfig
from rexnet.shape_advice import notes

RECIPE = Path(__file__).parents[2] / "recipes" / "demo.yaml"

MISTAKES = {
    "option": (
        ["search", "--bugdet.params", "1M"],
        ["unknown option --bugdet.params", "did you mean --budget.params?"],
    ),
    "option with =": (["search", "--trails=9"], ["--trails", "did you mean --trials?"]),
    "no budget": (["search"], ["--budget.params and --budget.macs", "--preset"]),
    "a budget like nothing": (
        ["search", "--budget", "like:rexnet_0,6"],
        ["unknown model 'rexnet_0,6'", "did you mean rexnet_0.6?"],
    ),
    "a network that is not there": (
        ["search", *BUDGET, "--network", "mobilenet_v9"],
        ["'mobilenet_v9' (did you mean mobilenet_v"],
    ),
    "a network with blocks": (
        ["search", *BUDGET, "--network", "mobilenet_v2", "--blocks", "5"],
        ["--network has its own blocks"],
    ),
    "a network of few blocks": (
        ["search", *BUDGET, "--network", "factors_baseline"],
        ["factors_baseline has 2 blocks; a search needs at least 3"],
    ),
    "negative params": (
        ["search", "--budget.params", "-1", "--budget.macs", "1M"],
        ["--budget.params", "'-1' is no count", "such as 0.2M"],
    ),
    "negative MACs": (
        ["search", "--budget.params", "1M", "--budget.macs=-3M"],
        ["--budget.macs", "'-3M' is no count", "such as 0.2M"],
    ),
    "zero params": (["search", "--budget.params", "0"], ["'0' is no count"]),
    "unit": (["search", "--budget.params", "2X"], ["'2X' is no count"]),
    "word for params": (["search", "--budget.params", "few"], ["'few' is no count"]),
    "value left out": (["search", "--budget.params"], ["--budget.params"]),
    "preset": (["search", "--preset", "e"], ["--preset", "'e'", "'a', 'b', 'c', 'd'"]),
    "too few params": (
        ["search", *TINY, "--budget.params", "10", "--blocks", "5"],
        ["params 10 and MACs 300,000", "the nearest budget that can be filled is params"],
    ),
    "lopsided budget": (
        ["search", *BUDGET, "--budget.params", "90M"],
        ["params 90,000,000 and MACs 10,000,000", "the nearest budget"],
    ),
    "blocks": (["search", *BUDGET, "--blocks", "2"], ["blocks 2 must be from 3 to 64"]),
    "no blocks": (["search", *BUDGET, "--blocks", "0"], ["blocks 0 must be from 3 to 64"]),
    "trials": (["search", *BUDGET, "--trials", "0"], ["trials 0 must be at least 1"]),
    "epochs": (["search", *BUDGET, "--epochs", "0"], ["epochs 0 must be at least 1"]),
    "half an epoch": (
        ["search", *BUDGET, "--epochs", "1.5"],
        ["--epochs", "'1.5'", "whole number"],
    ),
    "workers": (["search", *BUDGET, "--workers", "0"], ["workers 0 must be from 1"]),
    "seed": (["search", *BUDGET, "--seed", "-1"], ["seed -1 must be at least 0"]),
    "lr": (["search", *BUDGET, "--lr", "-1"], ["lr -1", "from 0"]),
    "fill": (["search", *BUDGET, "--fill", "1.2"], ["fill 1.2 must be from 0.1 to 1"]),
    "no fill": (["search", *BUDGET, "--fill", "0"], ["fill 0.0 must be from 0.1 to 1"]),
    "vary": (
        ["search", *BUDGET, "--vary", "kernels"],
        ["--vary", "'kernels' is not one of 'widths', 'expansion', 'expansions'"],
    ),
    "nothing to vary": (
        ["search", *BUDGET, "--network", "mobilenet_v1", "--vary", "expansion"],
        ["--vary expansion finds nothing to vary", "search_mobilenet_v1 have the expansion 1"],
    ),
    "pruner": (
        ["search", "--pruner", "best"],
        ["'best' is not one of 'none', 'halving', 'median'"],
    ),
    "executor": (["search", "--executor", "slurm"], ["'slurm' is not one of 'local', 'ray'"]),
    "device": (["search", "--device", "tpu"], ["'tpu' is not one of 'cpu', 'cuda'"]),
    "GPUs": (
        ["search", *BUDGET, "--executor", "ray", "--gpus_per_trial", "-1"],
        ["gpus_per_trial -1.0 must be from 0"],
    ),
    "address": (
        ["search", *BUDGET, "--address", "ray://first:10001"],
        ["--address and --gpus_per_trial need --executor ray"],
    ),
    "word for lr": (["search", *BUDGET, "--lr", "high"], ["--lr", "'high'", "a number"]),
    "data": (["search", *BUDGET, "--data", "cats"], ["'cats'", "sample, cifar10, cifar100"]),
    "long name": (["search", *BUDGET, "--data", "x" * 300], ["xxx"]),
    "config": (["search", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
    "run folder": (["report", "nowhere"], ["nowhere is no run folder of a search"]),
    "folder to fit": (["fit", "."], [". is no run folder of a search"]),
    "no folder": (["report"], ["give a run folder"]),
}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


@pytest.mark.usefixtures("toy")
def test_a_device_that_is_missing_is_told_before_anything_is_written(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no GPU here" in refused(capsys, "search", *BUDGET, "--device", "cuda")
    assert list(tmp_path.iterdir()) == []


CONFIGS = {
    "unknown key": ("epoch: 3", ["epoch", "did you mean --epochs?"]),
    "unknown key below": ("budget: {parms: 1M}", ["budget.parms", "did you mean --budget.params?"]),
    "word for a number": ("trials: many", ["--trials", "'many'", "whole number"]),
    "unknown preset": ("preset: z", ["--preset", "'z' is not one of 'a', 'b', 'c', 'd'"]),
    "negative count": ("budget: {params: -3, macs: 3M}", ["--budget.params", "-3", "is no count"]),
    "number for a group": ("budget: 3", ["budget", "3"]),
    "nothing for out": ("preset: a\nout: null", ["out"]),
    "list": ("- 1", ["config"]),
    "no YAML": ("a: [1\nb: {", ["config"]),
    "nothing": ("", ["config"]),
    "no text": (b"\xff\xfe\x00", ["search.yaml"]),
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.usefixtures("toy")
def test_a_config_file_that_cannot_be_used_is_refused(kind, capsys, tmp_path):
    content, wanted = CONFIGS[kind]
    content = content if isinstance(content, bytes) else content.encode()
    Path("search.yaml").write_bytes(content)
    message = refused(capsys, "search", "--config", "search.yaml")
    for part in wanted:
        assert part in message
    assert list(contents(tmp_path)) == [Path("search.yaml")]


def no_classes(folder):
    folder.mkdir()
    return ["data has 0 class folders", "at least 2"]


def one_class(folder):
    write_images(folder, ["cat"])
    return ["data has 1 class folders", "at least 2"]


def an_empty_class(folder):
    write_images(folder, ["cat", "dog"])
    (folder / "bird").mkdir()
    return ["class 'bird' has 0 images", "at least 2"]


def a_corrupt_image(folder):
    write_images(folder, ["cat", "dog"])
    path = folder / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    return ["1 of 6 images are corrupt: data/dog/1.png (", "repair or remove them"]


@pytest.mark.parametrize("write", [no_classes, one_class, an_empty_class, a_corrupt_image])
def test_a_folder_of_images_that_cannot_be_used_is_refused(write, capsys, tmp_path):
    wanted = write(tmp_path / "data")
    before = contents(tmp_path)
    message = refused(capsys, *searching(data="data"))
    for part in wanted:
        assert part in message
    assert contents(tmp_path) == before
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        ({"images": None}, ["photos.npz has no array 'images' (it has: labels)"]),
        ({"labels": None}, ["photos.npz has no array 'labels' (it has: images)"]),
        ({"labels": np.arange(40) % 10 - 1}, ["label -1 of image 0 is out of range"]),
        (
            {"classes": np.array(["cat", "dog"])},
            ["label 2 of image 2 is out of range", "labels 0 to 1"],
        ),
        ({"images": np.zeros((40, 8, 8, 3))}, ["images are float64", "must be uint8"]),
        ({"images": np.zeros((40, 8, 9, 3), np.uint8)}, ["8 x 9 pixels", "must be square"]),
        ({"labels": np.zeros(40, int)}, ["1 classes", "at least 2"]),
        ({"labels": np.arange(40) // 39}, ["class '1' has 1 image", "at least 2"]),
    ],
)
def test_an_npz_that_cannot_be_used_is_refused(arrays, wanted, capsys, tmp_path):
    write_npz("photos.npz", **arrays)
    message = refused(capsys, *searching())
    for part in wanted:
        assert part in message
    assert not (tmp_path / "S").exists()


@pytest.mark.usefixtures("toy")
def test_a_search_ends_with_a_table_what_it_made_and_three_commands(capsys, tmp_path):
    write_npz("photos.npz")
    assert cli.main(searching(trials=10)) == 0
    out = capsys.readouterr().out
    for group in ("top 10 %", "middle 50-60 %", "bottom 10 %"):
        assert group in out
    made = re.findall(r"^  (\S+)$", out.split("Made:")[1].split("Next:")[0], re.MULTILINE)
    assert len(made) == 8
    assert all(Path(path).is_file() for path in made)
    assert {Path(path).parent for path in made} == {Path("S")}
    for name in ("spec.json", "best.json"):
        for note in notes(NetSpec.load(f"S/{name}")):
            assert f"note: {name}: {note}\n" in out
    commands = out.split("Next:")[1].strip().splitlines()
    assert len(commands) == 3
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "rexnet"
        cli.parse(arguments)
    assert cli.main(shlex.split(commands[0])[1:]) == 0
    assert NetSpec.load("S/spec.json").name in capsys.readouterr().out


@pytest.mark.usefixtures("toy")
def test_a_search_of_expansions_that_fills_less_is_told_by_its_options(capsys):
    write_npz("photos.npz")
    assert cli.main([*searching(), "--vary", "expansion", "--fill", "0.7"]) == 0
    space = runs.read_json(Path("S/search.json"))["space"]
    assert (space["vary"], space["fill"]) == ("expansion", 0.7)
    capsys.readouterr()
    assert cli.main(["search", "--config", "S/config.yaml"]) == 0
    assert "nothing was left to train" in capsys.readouterr().out


def test_a_late_jump_of_the_best_network_is_noted(capsys):
    late = [12, 12, 12, 12, 60]
    for name, widths in (("spec", [20, 30, 40, 50, 60]), ("best", late), ("recommended", late)):
        spec = families.search_network(widths, 10)
        Path(f"{name}.json").write_text(spec.to_json(), encoding="utf-8")
    print_shapes(Path())
    printed = capsys.readouterr().out
    assert printed.startswith("note: recommended.json: the last block makes 100 % of the rise")
    assert "\nnote: best.json: the last block" in printed
    assert printed.count("\n") == 2


@pytest.mark.usefixtures("toy", "finished")
def test_a_complete_search_says_so_and_changes_nothing(capsys, tmp_path):
    before = contents(tmp_path / "S")
    assert cli.main(searching()) == 0
    assert "nothing was left to train" in capsys.readouterr().out
    assert contents(tmp_path / "S") == before


@pytest.mark.usefixtures("toy", "finished")
def test_the_config_in_a_run_folder_is_that_of_the_run(capsys):
    assert cli.main(["search", "--config", "S/config.yaml"]) == 0
    assert "nothing was left to train" in capsys.readouterr().out


@pytest.mark.usefixtures("toy", "finished")
def test_report_and_fit_work_on_a_run_folder(capsys):
    assert cli.main(["report", "S"]) == 0
    assert capsys.readouterr().out.split() == [
        "S/report.html",
        "S/profile.png",
        "S/profile.svg",
    ]
    assert cli.main(["fit", "S"]) == 0
    out = capsys.readouterr().out
    assert "1 networks: slope " in out
    assert "written to S/spec.json" in out


@pytest.mark.usefixtures("toy", "finished")
@pytest.mark.parametrize(
    ("change", "named"),
    [(["--seed", "1"], "protocol.seed is 0, not 1"), (["--blocks", "6"], "space.num_blocks is 5")],
)
def test_a_run_folder_of_another_search_is_refused_and_not_harmed(change, named, capsys, tmp_path):
    before = contents(tmp_path)
    message = refused(capsys, *searching(), *change)
    assert "S holds a search of another configuration" in message
    assert named in message
    assert "another --out" in message
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("toy")
def test_a_folder_with_other_files_is_refused_and_not_harmed(capsys, tmp_path):
    write_npz("photos.npz")
    Path("S").mkdir()
    Path("S/thesis.tex").write_text("years of work", encoding="utf-8")
    assert "S has files but no search.json" in refused(capsys, *searching())
    assert list(contents(tmp_path / "S")) == [Path("thesis.tex")]


@pytest.mark.parametrize("verb", ["report", "fit"])
@pytest.mark.parametrize("name", ["trials.jsonl", "search.json", "result.json"])
def test_a_truncated_run_file_is_named_and_nothing_is_harmed(verb, name, capsys, tmp_path):
    path = write_run(Path("S"), made_up_rows(3)) / name
    path.write_bytes(path.read_bytes()[:-20])
    before = contents(tmp_path)
    assert f"S/{name} is damaged" in refused(capsys, verb, "S")
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("toy", "finished")
def test_a_search_with_a_damaged_study_is_refused_and_nothing_is_harmed(capsys, tmp_path):
    path = Path("S/study.db")
    path.write_bytes(path.read_bytes()[:9000])
    before = contents(tmp_path)
    message = refused(capsys, *searching())
    assert "study.db" in message
    assert "another --out" in message
    after = contents(tmp_path)
    assert after.pop(Path("S/environment.json")) == before.pop(Path("S/environment.json"))
    assert after == before


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("out", ["run [a]", "run [/a]", "5 $ a_b", ":smile:"])
def test_any_name_of_a_run_folder_is_printed_as_it_is(out, capsys):
    write_npz("photos.npz")
    assert cli.main(searching(out, trials=1)) == 0
    printed = capsys.readouterr().out
    assert f"{out}/report.html" in printed
    assert cli.main(searching(out, trials=1)) == 0
    assert f"The search in {out} is done" in " ".join(capsys.readouterr().out.split())


def test_a_real_search_on_the_smallest_images_runs_from_end_to_end():
    write_npz("photos.npz", side=8, num_classes=2)
    arguments = ["search", "--data", "photos.npz", *TINY, "--blocks", "3", "--trials", "2"]
    arguments += ["--strategy", "tpe"]
    arguments += ["--epochs", "1", "--repeats", "2", "--workers", "1", "--out", "S"]
    done = in_process(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = runs.read_jsonl(Path("S/trials.jsonl"))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert all(len(row["accuracies"]) == 2 for row in rows)
    with safe_open("S/best.safetensors", framework="np") as file:
        spec = NetSpec.from_json(file.metadata()["spec"])
        assert file.get_tensor("classifier.weight").shape[0] == 2
    assert spec == NetSpec.load("S/best.json")
    best = max(rows, key=lambda row: (row["accuracy"], -row["number"]))
    assert list(spec.widths) == best["widths"]
    page = Path("S/report.html").read_text(encoding="utf-8")
    assert "pooled over 2 networks, 2 repeats each" in " ".join(page.split())


def test_help_of_a_search_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["search", "--help"])
    out = capsys.readouterr().out
    for option in ("data", "preset", "budget.params", "budget.macs", "budget.count_classifier"):
        assert f"--{option}" in out
    for option in ("blocks", "trials", "epochs", "repeats", "workers", "seed", "out", "config"):
        assert f"--{option}" in out


def test_the_search_of_the_recipes_loads_and_opens_with_its_command_hardware_time_and_result():
    parsed = cli.parse(["search", "--config", str(RECIPE)])
    fields = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    config = config_of(SearchConfig, parsed.search).resolved()
    config.protocol()
    for name in {*fields} - {"budget"}:
        assert getattr(config, name) == fields[name]
    limits = config.limits()
    space = spaces.Space(num_blocks=config.blocks, num_classes=10, resolution=32, budget=limits)
    spaces.check_reachable(space)
    opening = RECIPE.read_text(encoding="utf-8").partition("\ndata:")[0]
    assert f"recipes/{RECIPE.name}" in opening
    for word in ("Command:", "Hardware:", "Time:", "Result:"):
        assert word in opening
