"""What tests of the command line share."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from searches import inline
from toys import Toy

from rexnet import runs
from rexnet.cli import main as cli
from rexnet.data import in_memory
from rexnet.report import figures
from rexnet.search import job

BUDGET = ["--budget.params", "0.08M", "--budget.macs", "10M", "--budget.count_classifier", "false"]


TINY = ["--budget.params", "20k", "--budget.macs", "300k", "--budget.count_classifier", "false"]


def play(monkeypatch, **options):
    """Let a search train toys in this process, and draw no figures, which takes longest."""
    monkeypatch.setattr(
        job, "run", partial(job.run, evaluate=Toy(), make_executor=inline, **options)
    )
    monkeypatch.setattr(figures, "render", lambda figure, kind: b"<svg></svg>")


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


def write_photos(folder):
    """Write the bundled images of three classes as class folders, and return some paths."""
    sample = in_memory.load("sample")
    for label in range(3):
        place = folder / sample.classes[label]
        place.mkdir(parents=True)
        for index in np.flatnonzero(sample.labels == label)[:12]:
            Image.fromarray(sample.images[index]).save(place / f"{index}.png")
    return sorted(str(path) for path in folder.rglob("*.png"))


def searching(out="S", trials=3, data="photos.npz"):
    """Return the arguments of a toy search."""
    arguments = ["search", "--data", data, *BUDGET, "--trials", str(trials), "--strategy", "tpe"]
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


def mistaken(capsys, arguments, wanted):
    """Check that a mistake is told in one line that has all that is wanted; nothing is written."""
    before = contents(Path())
    message = refused(capsys, *arguments)
    for part in wanted:
        assert part in message
    assert contents(Path()) == before
