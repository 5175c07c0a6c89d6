import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
import yaml
from PIL import Image
from safetensors import safe_open
from scenes import SETTINGS, write_scenes
from toys import Toy, made_up_rows, write_run

from rexnet import NetSpec, families, runs
from rexnet.cli import deploy, verbs
from rexnet.cli import main as cli
from rexnet.cost import count
from rexnet.data import in_memory
from rexnet.report import figures
from rexnet.runs import processes
from rexnet.search import job
from rexnet.search import space as spaces

HELPERS = Path(__file__).parents[1] / "helpers"
SEARCHES = [HELPERS.parents[1] / "recipes" / "demo.yaml"]
BUDGET = ["--budget.params", "0.08M", "--budget.macs", "10M", "--budget.count_classifier", "false"]
TINY = ["--budget.params", "20k", "--budget.macs", "300k", "--budget.count_classifier", "false"]

TRAIN = ["--model", "rexnet_1.0", "--data", "sample", "--recipe", "cifar"]

SEARCH = """
import sys
sys.path.insert(0, sys.argv[1])
import toys
from rexnet.cli import main as cli
from rexnet.search import job, space
space.PROBES = 10
interrupts = [int(sys.argv[2])]
job.Evaluator = lambda **_: toys.Toy(interrupts=interrupts)
with toys.no_sync():
    sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.fixture(autouse=True, scope="module")
def no_sync():
    with toys.no_sync():
        yield


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy(monkeypatch):
    """Let a search train toys in this process, and draw no figures, which takes longest."""
    play(monkeypatch)


def play(monkeypatch):
    monkeypatch.setattr(job, "Evaluator", lambda **_: Toy())
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)
    monkeypatch.setattr(spaces, "PROBES", 10)
    monkeypatch.setattr(figures, "search_figure", lambda groups, rows, title: None)
    monkeypatch.setattr(figures, "render", lambda figure, kind: b"<svg></svg>")


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory):
    """Return a folder with images and the run folder ``S`` of a complete search on them."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        play(patch)
        patch.chdir(folder)
        write_npz("photos.npz")
        assert cli.main(searching()) == 0
    return folder


@pytest.fixture
def finished(three_trials, here, capsys):
    """Put a complete search into the working folder."""
    shutil.copytree(three_trials, here, dirs_exist_ok=True)
    capsys.readouterr()


def write_npz(path, side=32, num_classes=10, count=40, **arrays):
    generator = np.random.default_rng(0)
    good = {"images": generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)}
    good |= {"labels": np.arange(count) % num_classes}
    np.savez(path, **{k: v for k, v in (good | arrays).items() if v is not None})


def write_images(folder, classes):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name / f"{number}.png")


def searching(out="S", trials=3, data="photos.npz"):
    """Return the arguments of a toy search."""
    arguments = ["search", "--data", data, *BUDGET, "--trials", str(trials)]
    return [*arguments, "--workers", "1", "--out", out]


def refused(capsys, *arguments):
    """Return what is printed when the arguments are refused with one line and exit code 2."""
    assert cli.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("rexnet: error: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    return error.removeprefix("rexnet: error: ").rstrip()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def trials_of(folder):
    return [row | {"seconds": 0} for row in runs.read_jsonl(Path(folder) / "trials.jsonl")]


def in_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "rexnet.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


MISTAKES = {
    "no command": ([], ["no command", "search, report, fit, design, redesign, train, validate"]),
    "nothing to train": (["train"], ["give --model and --data and --recipe"]),
    "no data to train on": (["train", *TRAIN, "--data", "nowhere"], ["no images at 'nowhere'"]),
    "recipe": (["train", *TRAIN, "--recipe", "imagnet"], ["did you mean imagenet?"]),
    "field of a recipe": (
        ["train", *TRAIN, "--set", "epoch=5"],
        ["recipe cifar: unknown option epoch (did you mean epochs?)"],
    ),
    "value in a recipe": (
        ["train", *TRAIN, "--set", "epochs=5", "lr=fast"],
        ["recipe cifar: lr: 'fast' must be a number"],
    ),
    "option of train": (
        ["train", *TRAIN, "--epochs", "5"],
        ["unknown option --epochs", "belongs to the recipe", "--set epochs=..."],
    ),
    "option of search to train": (["train", *TRAIN, "--weigths", "timm"], ["--weights?"]),
    "weights to start from": (["train", *TRAIN, "--recipe", "finetune"], ["give --weights timm"]),
    "device to train on": (["train", *TRAIN, "--device", "tpu"], ["'auto', 'cpu', 'cuda'"]),
    "nothing to validate": (["validate"], ["give a run folder or another trained model"]),
    "model to validate": (["validate", "rexnet_1.0"], ["needs --weights timm, official:PATH"]),
    "part": (["validate", "T", "--part", "some"], ["'some'", "'val', 'train', 'all'"]),
    "nothing to predict": (["predict", "T"], ["give images"]),
    "model to predict": (["predict", "nowhere", "a.png"], ["nowhere is no run folder"]),
    "no study": (["study"], ["give one of: activations, detection, factors"]),
    "no job of detect": (["detect"], ["give one of: train, validate, predict"]),
    "job of detect": (["detect", "predcit"], ["unknown detect 'predcit' (did you mean predict?)"]),
    "backbone": (["detect", "train", "--data", "sample"], ["give --backbone"]),
    "data to detect on": (
        ["detect", "train", "--backbone", "rexnet_1.0", "--set", "epochs=2"],
        ["give --data FOLDER, or --annotations"],
    ),
    "detector": (["detect", "validate", "nowhere"], ["nowhere holds no detector"]),
    "score": (["detect", "predict", "D", "a.png", "--score", "2"], ["score 2.0 must be from 0"]),
    "summary of nothing": (["summary"], ["give a name or the path of a spec"]),
    "backbone of nothing": (
        ["summary", "rexnet_1.0", "--backbone", "rexnet_1.0"],
        ["--backbone goes with --detector ssdlite"],
    ),
    "detector on nothing": (["summary", "--detector", "ssdlite"], ["give --backbone"]),
    "study": (["study", "activation"], ["did you mean activations?"]),
    "option of a study": (
        ["study", "activations", "--seed", "3"],
        ["unknown option --seed", "did you mean --seeds?"],
    ),
    "activation": (
        ["study", "activations", "--activations", "swish"],
        ["activation 'swish'", "relu6"],
    ),
    "command": (["serch"], ["unknown command 'serch'", "did you mean search?"]),
    "option": (
        ["search", "--bugdet.params", "1M"],
        ["unknown option --bugdet.params", "did you mean --budget.params?"],
    ),
    "option with =": (["search", "--trails=9"], ["--trails", "did you mean --trials?"]),
    "option of list": (["list", "--json"], ["unknown option --json", "rexnet list --help"]),
    "argument": (["list", "all"], ["unexpected argument 'all'"]),
    "model": (["summary", "rexnet_1.O"], ["unknown model 'rexnet_1.O'", "did you mean rexnet_1."]),
    "other model": (["summary", "mobilenet_v3"], ["did you mean mobilenet_v2?"]),
    "width": (["summary", "rexnet_0"], ["rexnet_0"]),
    "no model": (["summary"], ["give a name or the path of a spec"]),
    "no spec": (["summary", "nowhere.json"], ["cannot read the spec nowhere.json"]),
    "resolution": (["summary", "rexnet_1.0", "--resolution", "0"], ["resolution 0", "8 to 4096"]),
    "word for a size": (
        ["summary", "rexnet_1.0", "--resolution", "big"],
        ["'big'", "whole number"],
    ),
    "no budget": (["search"], ["--budget.params and --budget.macs", "--preset"]),
    "half a budget": (["search", "--budget.params", "1M"], ["--budget.macs"]),
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
    "design": (["design", "--params", "4.8M"], ["give --macs"]),
    "design unit": (["design", "--params", "4.8X", "--macs", "1M"], ["--params", "'4.8X'"]),
    "design too small": (
        ["design", "--params", "1k", "--macs", "1k"],
        ["no network fits params 1,000 and MACs 1,000", "raise the budget"],
    ),
    "design blocks": (["design", "--params", "4M", "--macs", "1G", "--blocks", "0"], ["0 blocks"]),
    "design classes": (
        ["design", "--params", "4M", "--macs", "1G", "--classes", "0"],
        ["num_classes 0"],
    ),
    "redesign": (["redesign"], ["give a name or the path of a spec"]),
    "redesign name": (["redesign", "mobilenet_v9"], ["'mobilenet_v9' (did you mean mobilenet_v"]),
    "redesign budget": (
        ["redesign", "mobilenet_v1", "--budget", "half"],
        ["--budget", "'half' is not one of 'same'"],
    ),
    "redesign out": (["redesign", "mobilenet_v1", "--out", "."], ["cannot read the spec ."]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("toy")
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys, tmp_path):
    arguments, wanted = MISTAKES[mistake]
    message = refused(capsys, *arguments)
    for part in wanted:
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("toy")
def test_a_device_that_is_missing_is_told_before_anything_is_written(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no GPU here" in refused(capsys, "search", *BUDGET, "--device", "cuda")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("widths", "wanted"),
    [
        ((16, 8, 24), "width 8 of block 2 falls below the 16 of block 1"),
        ((16, 16, 0), "block 3: width 0 must be from 1"),
        ((-4, 16, 16), "block 1: width -4 must be from 1"),
    ],
)
def test_a_spec_whose_widths_fall_or_are_zero_is_refused(widths, wanted, capsys):
    fields = json.loads(families.search_network([8, 8, 8], 10).to_json())
    for block, width in zip(fields["blocks"], widths, strict=True):
        block["width"] = width
    Path("spec.json").write_text(json.dumps(fields), encoding="utf-8")
    message = refused(capsys, "summary", "spec.json")
    assert message.startswith("spec.json: ")
    assert wanted in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"nmae": "x"}'])
def test_a_damaged_spec_is_refused_by_name(text, capsys):
    Path("spec.json").write_text(text, encoding="utf-8")
    assert "spec.json" in refused(capsys, "summary", "spec.json")


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
    return ["corrupt image data/dog/1.png", "repair or remove it"]


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
        ({"labels": np.arange(40) // 39}, ["class '1' has 1 images", "at least 2"]),
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
    commands = out.split("Next:")[1].strip().splitlines()
    assert len(commands) == 3
    parser, _ = cli._parsers()
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "rexnet"
        parser.parse_args(arguments)
    assert cli.main(shlex.split(commands[0])[1:]) == 0
    assert NetSpec.load("S/spec.json").name in capsys.readouterr().out


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
def test_a_run_folder_that_cannot_be_made_is_named(capsys, tmp_path):
    write_npz("photos.npz")
    Path("file").write_text("", encoding="utf-8")
    assert "cannot write to file/S: Not a directory" in refused(capsys, *searching("file/S"))
    assert "cannot write" in refused(capsys, *searching("file"))
    design = ["design", "--params", "4.8M", "--macs", "400M", "--out", "file/spec.json"]
    assert "cannot write file/spec.json: " in refused(capsys, *design)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos.npz"]


@pytest.mark.usefixtures("toy")
@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_write_permission_is_named(capsys):
    write_npz("photos.npz")
    Path("closed").mkdir(mode=0o500)
    assert "cannot write to closed/S: Permission denied" in refused(capsys, *searching("closed/S"))


@contextmanager
def largest_file(num_bytes):
    """Let no file grow beyond ``num_bytes``, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("toy")
def test_a_full_disk_is_told_in_one_line_and_the_search_goes_on_when_there_is_room(
    capsys, monkeypatch
):
    write_npz("photos.npz")
    assert cli.main(searching("whole", trials=6)) == 0
    size = Path("whole/study.db").stat().st_size
    capsys.readouterr()
    # Optuna waits between its attempts to write.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    # Room for nothing, for some of an empty study, for all but the last trials of a full one.
    for room in (100, size // 4, size - 4096):
        with largest_file(room):
            assert refused(capsys, *searching("S", trials=6))
    assert 0 < len(trials_of("S")) < 6
    assert cli.main(searching("S", trials=6)) == 0
    assert trials_of("S") == trials_of("whole")


def test_a_design_on_a_full_disk_is_told_in_one_line_and_the_old_file_stays(capsys, tmp_path):
    design = ["design", "--params", "4.8M", "--macs", "400M"]
    with largest_file(100):
        assert "cannot write spec.json: File too large" in refused(capsys, *design)
    assert list(tmp_path.iterdir()) == []


def test_a_report_on_a_full_disk_is_told_in_one_line_and_the_old_one_stays(capsys, tmp_path):
    write_run(Path("S"), made_up_rows(3))
    assert cli.main(["report", "S"]) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    with largest_file(10_000):
        assert "cannot write S/profile.png: File too large" in refused(capsys, "report", "S")
    assert contents(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["list", "summary rexnet_1.0 --json"])
def test_output_to_a_full_disk_is_told_in_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rexnet.cli.main", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("rexnet: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "summary rexnet_1.0"])
def test_a_reader_who_has_had_enough_is_no_error_to_tell(command):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "rexnet.cli.main", *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


def test_ctrl_c_ends_a_search_with_the_command_to_go_on_with(monkeypatch, capsys):
    write_npz("photos.npz")
    arguments = searching("my run", trials=4)
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(HELPERS), "2", *arguments],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 130
    stopped, command = done.stderr.strip().split("To go on: ")
    assert stopped.strip() == "Stopped."
    assert shlex.split(command) == ["rexnet", *arguments]
    assert "Traceback" not in done.stdout
    assert len(trials_of("my run")) == 2

    monkeypatch.setattr(job, "Evaluator", lambda **_: Toy())
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)
    assert cli.main(shlex.split(command)[1:]) == 0
    assert cli.main(searching("whole", trials=4)) == 0
    assert trials_of("my run") == trials_of("whole")


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("out", ["run [a]", "run [/a]", "5 $ a_b", ":smile:"])
def test_any_name_of_a_run_folder_is_printed_as_it_is(out, capsys):
    write_npz("photos.npz")
    assert cli.main(searching(out, trials=1)) == 0
    printed = capsys.readouterr().out
    assert f"{out}/report.html" in printed
    assert cli.main(searching(out, trials=1)) == 0
    assert f"The search in {out} is done" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["[bold]", "[/x]"])
def test_any_name_of_a_spec_is_printed_as_it_is(name, capsys):
    spec = families.search_network([8, 8, 8], 10).with_widths([8, 8, 8], name=name)
    Path("spec.json").write_text(spec.to_json(), encoding="utf-8")
    assert cli.main(["summary", "spec.json"]) == 0
    assert f"{name} at 32 x 32" in capsys.readouterr().out


def test_a_real_search_on_the_smallest_images_runs_from_end_to_end():
    write_npz("photos.npz", side=8, num_classes=2)
    arguments = ["search", "--data", "photos.npz", *TINY, "--blocks", "3", "--trials", "2"]
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


def test_help_names_every_command_and_every_command_has_help():
    done = in_process("--help")
    assert done.returncode == 0
    for verb in cli.RUN:
        assert verb in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("verb", cli.RUN)
def test_every_command_has_help_of_its_own(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    assert f"rexnet [options] {verb}" in " ".join(capsys.readouterr().out.split())


def test_help_of_a_search_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["search", "--help"])
    out = capsys.readouterr().out
    for option in ("data", "preset", "budget.params", "budget.macs", "budget.count_classifier"):
        assert f"--{option}" in out
    for option in ("blocks", "trials", "epochs", "repeats", "workers", "seed", "out", "config"):
        assert f"--{option}" in out


def test_list_summary_and_design_run_as_processes():
    done = in_process("list")
    assert (done.returncode, done.stderr) == (0, "")
    for name in families.names():
        assert name in done.stdout
    done = in_process("summary", "rexnet_1.0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["name"] == "rexnet_1.0"
    assert (summary["params"], summary["macs"]) == (4_796_873, 398_370_392)
    assert summary["resolution"] == 224
    assert summary["widths"][:3] == [16, 27, 38]
    assert summary["activations"] > 0
    done = in_process("design", "--params", "4.8M", "--macs", "400M")
    assert (done.returncode, done.stderr) == (0, "")
    assert "written to spec.json" in done.stdout
    assert NetSpec.load("spec.json").name == "rexnet_line_16b"


@pytest.mark.parametrize("resolution", [32, 320])
def test_a_summary_at_another_resolution_counts_there(resolution, capsys):
    arguments = ["summary", "rexnet_lite_1.0", "--json", "--resolution", str(resolution)]
    assert cli.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["macs"] == count(families.get("rexnet_lite_1.0"), resolution).macs
    assert summary["resolution"] == resolution


def test_a_layer_table_ends_with_the_totals(capsys):
    assert cli.main(["summary", "rexnet_1.0"]) == 0
    out = capsys.readouterr().out
    assert "4,796,873" in out
    assert "398,370,392" in out
    assert "rexnet_1.0 at 224 x 224" in out


def test_a_design_keeps_its_budget_and_its_file(capsys):
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    printed = capsys.readouterr().out
    spec = NetSpec.load("spec.json")
    total = count(spec)
    assert f"{total.params:,} params, {total.macs:,} MACs, written to spec.json" in printed
    assert 0.9 * 4_800_000 < total.params <= 4_800_000
    assert 0.9 * 400_000_000 < total.macs <= 400_000_000
    before = Path("spec.json").read_bytes()
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    assert "spec.json holds another network" in refused(
        capsys, "design", "--params", "5M", "--macs", "400M"
    )
    assert Path("spec.json").read_bytes() == before


@pytest.fixture
def untimed(monkeypatch):
    """Let a redesign time nothing, which takes longest."""
    monkeypatch.setattr(deploy, "_benchmark_redesign", lambda backbone, line: None)


def test_a_redesign_shows_both_networks_and_keeps_a_file_of_another(untimed, capsys):
    assert cli.main(["redesign", "mobilenet_v2"]) == 0
    printed = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    assert "3,504,872" in printed
    assert "uses 95.9 % of the params and 99.8 % of the MACs of mobilenet_v2." in printed
    assert "padded" in printed
    assert cli.main(["redesign", "mobilenet_v1", "--out", "spec.json"]) == 0
    printed = capsys.readouterr().out
    spec, total = NetSpec.load("spec.json"), count(families.get("mobilenet_v1"))
    assert f"{count(spec).params:,}" in printed
    assert f"{total.params:,}" in printed
    assert "padded" not in printed
    before = Path("spec.json").read_bytes()
    assert cli.main(["redesign", "mobilenet_v1", "--out", "spec.json"]) == 0
    message = refused(capsys, "redesign", "mobilenet_v2", "--out", "spec.json")
    assert "spec.json holds another network; give another --out" in message
    assert Path("spec.json").read_bytes() == before


def test_a_redesign_takes_a_run_folder_and_says_what_a_line_cannot_use(untimed, capsys):
    Path("run").mkdir()
    # Most params are in the last width, of which a line has less.
    spec = families.search_network((8, 8, 8, 8, 8, 8, 400), 10)
    runs.write_text(Path("run/spec.json"), spec.to_json())
    assert cli.main(["redesign", "run"]) == 0
    assert "cannot use up both" in capsys.readouterr().out


def test_the_command_line_is_loaded_without_the_heavy_libraries():
    code = "import rexnet.cli.main, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "torchvision", "optuna", "matplotlib", "PIL", "jinja2", "sqlalchemy"}
    assert not set(done.stdout.split()) & heavy


@pytest.mark.parametrize("recipe", SEARCHES, ids=lambda path: path.name)
def test_a_search_of_the_recipes_loads_and_opens_with_its_command_hardware_time_and_result(recipe):
    parser, _ = cli._parsers()
    parsed = parser.parse_args(["search", "--config", str(recipe)])["search"]
    fields = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    config = verbs.search_config(parsed).resolved()
    config.protocol()
    for name in {*fields} - {"budget"}:
        assert getattr(config, name) == fields[name]
    limits = config.limits()
    space = spaces.Space(num_blocks=config.blocks, num_classes=10, resolution=32, budget=limits)
    assert spaces.check_reachable(space) > 0.5
    opening = recipe.read_text(encoding="utf-8").partition("\ndata:")[0]
    assert f"recipes/{recipe.name}" in opening
    for word in ("Command:", "Hardware:", "Time:", "Result:"):
        assert word in opening


def write_photos(folder):
    """Write the bundled images of three classes as class folders, and return some paths."""
    sample = in_memory.load("sample")
    for label in range(3):
        place = folder / sample.classes[label]
        place.mkdir(parents=True)
        for index in np.flatnonzero(sample.labels == label)[:12]:
            Image.fromarray(sample.images[index]).save(place / f"{index}.png")
    return sorted(str(path) for path in folder.rglob("*.png"))


def test_a_network_goes_from_a_search_to_training_validation_and_prediction(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    paths = write_photos(here / "mine")
    recipe = ["--recipe", "cifar", "--set", "epochs=2", "batch_size=8", "resolution=16"]
    train = ["train", "--model", "spec.json", "--data", "mine", *recipe, "--out", "T"]
    assert cli.main([*train, "--set", "lr=0.01", "--checkpoint-seconds", "0"]) == 0
    out = capsys.readouterr().out
    assert "Ctrl-C stops the training" in out
    assert "after epoch 2: train loss" in out
    assert "rexnet validate T" in out
    for name in ("curves.png", "validation/confusion.png", "model/config.json"):
        assert (here / "T" / name).exists()
        assert name.partition("/")[0] in out
    assert cli.main(["validate", "T", "--part", "train", "--out", "V"]) == 0
    out = capsys.readouterr().out
    assert "mine (train): top-1" in out
    assert "33 images" in out
    assert (here / "V" / "confusion.png").exists()
    assert cli.main(["predict", "T", *paths[:2], "--json", "--top", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["image"] for row in rows] == paths[:2]
    assert all(len(row["classes"]) == 2 for row in rows)
    assert cli.main(["predict", "T", paths[0], "--top", "1"]) == 0
    best = rows[0]["classes"][0]
    wanted = f"{paths[0]}: {best['class']} {100 * best['probability']:.1f} %\n"
    assert capsys.readouterr().out == wanted
    assert "epochs" in refused(capsys, *train, "--set", "epochs=3")


def test_corrupt_files_are_left_out_when_asked(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    paths = write_photos(here / "mine")
    Path(paths[3]).write_bytes(b"no picture")
    recipe = ["--recipe", "cifar", "--set", "epochs=1", "batch_size=8", "resolution=16"]
    train = ["train", "--model", "spec.json", "--data", "mine", *recipe, "--out", "T"]
    message = refused(capsys, *train)
    assert "1 of " in message
    assert f"{Path(paths[3]).name} " in message
    assert "--skip-corrupt" in message
    assert cli.main([*train, "--skip-corrupt"]) == 0
    assert f"Left out as corrupt: {Path(paths[3]).relative_to(here)}" in capsys.readouterr().out


def test_a_study_prints_table_a2_and_its_verdict(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    write_photos(here / "mine")
    recipe = ["--recipe", "cifar", "--set", "epochs=1", "batch_size=8", "resolution=16"]
    study = ["study", "activations", "--model", "spec.json", "--data", "mine", *recipe]
    choice = ["--activations", "relu6", "silu", "--seeds", "1", "--out", "S", "--device", "cpu"]
    assert cli.main([*study, *choice]) == 0
    out = capsys.readouterr().out
    for words in ("relu6", "77.3", "silu", "77.9", "Of 1 pairs that differ in Table A2"):
        assert words in out
    assert runs.read_json(here / "S" / "table.json")["pairs"] == 1


def test_a_detector_goes_from_training_to_validation_and_prediction(here, capsys):
    write_scenes(here)
    recipe = ["--set", *SETTINGS, "epochs=2"]
    train = ["detect", "train", "--backbone", "toy.json", "--data", "scenes", "--out", "D", *recipe]
    assert cli.main([*train, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    for words in (
        "after epoch 2: train loss",
        "AP50",
        "3 categories, with their ids: car 3, cat 7, ship 90",
        "rexnet detect validate D",
    ):
        assert words in out
    for name in ("curves.png", "validation/report.html", "model/config.json"):
        assert (here / "D" / name).exists()
    assert cli.main(["detect", "validate", "D", "--workers", "0", "--out", "V"]) == 0
    out = capsys.readouterr().out
    assert "scenes/val/instances.json: AP " in out
    assert (here / "V" / "report.html").exists()
    images = ["scenes/val/images/00.png", "scenes/val/images/01.png"]
    predict = ["detect", "predict", "D", *images, "--score", "0.01"]
    assert cli.main([*predict, "--json", "--out", "P"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["image"] for row in rows] == images
    assert [row["picture"] for row in rows] == ["P/00.png", "P/01.png"]
    assert {path.name for path in (here / "P").iterdir()} == {"00.png", "01.png"}
    assert cli.main([*predict[:-1], "1"]) == 0
    assert f"{images[0]}: nothing found" in capsys.readouterr().out
    assert "epochs" in refused(capsys, *train, "epochs=3")


def test_a_study_prints_the_table_of_detectors(here, capsys, monkeypatch):
    monkeypatch.setattr(processes, "start", toys.start_here)
    write_scenes(here)
    study = ["study", "detection", "--data", "scenes", "--backbones", "toy.json", "--out", "S"]
    assert cli.main([*study, "--device", "cpu", "--set", *SETTINGS, "epochs=1"]) == 0
    assert "toy.json" in capsys.readouterr().out
    assert runs.read_json(here / "S" / "table.json")["table"][0]["seeds"] == 1


def test_the_cost_of_a_detector_is_printed(capsys):
    command = ["summary", "--detector", "ssdlite", "--backbone", "rexnet_1.0", "--resolution"]
    assert cli.main([*command, "320", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["params"], found["macs"]) == (5_688_598, 1_007_918_560)
    assert cli.main(["summary", "--detector", "ssdlite", "rexnet_1.0", "--resolution", "128"]) == 0
    assert "5,688,598" in capsys.readouterr().out


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "rexnet", "list"]
    assert (
        "rexnet_1.0" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
