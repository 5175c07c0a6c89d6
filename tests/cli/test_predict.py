import io
import json
import sys
from pathlib import Path

import pytest
from commands import refused, write_photos

from rexnet import create_model, families, save_pretrained
from rexnet.cli import main as cli


@pytest.fixture
def model(here):
    """Write an untrained network to the folder M and return its name."""
    Path("spec.json").write_text(families.search_network([6, 8, 10], 3).to_json(), "utf-8")
    save_pretrained(create_model("spec.json"), Path("M"))
    return "M"


def predicted(capsys, *arguments):
    """Return exit code, lines of the standard output, and those of the standard error."""
    code = cli.main(["predict", *arguments])
    out, error = capsys.readouterr()
    return code, out.splitlines(), error.splitlines()


def test_a_bad_image_among_many_is_told_and_counted(model, capsys):
    paths = write_photos(Path("mine"))
    Path(paths[3]).write_bytes(b"no picture")
    code, out, error = predicted(capsys, model, "mine", "nowhere.png", "--top", "1")
    assert code == 1
    assert [line.partition(": ")[0] for line in out] == paths[:3] + paths[4:]
    assert error == [
        f"cannot read {paths[3]}: cannot identify image file",
        "cannot read nowhere.png: no such file",
        "35 of 37 images read, 2 failed",
    ]
    code, out, _ = predicted(capsys, model, *paths[2:5], "--json", "--top", "2")
    rows = [json.loads(line) for line in out]
    assert code == 1
    assert rows[1] == {"image": paths[3], "error": "cannot identify image file"}
    assert [row["image"] for row in rows] == paths[2:5]
    assert [len(row["classes"]) for row in rows if "classes" in row] == [2, 2]


def test_images_are_named_by_lists(model, capsys, monkeypatch):
    paths = write_photos(Path("mine"))
    Path("names.txt").write_text(f"{paths[5]}\r\n\n{paths[2]}\n", "utf-8")
    wanted = [paths[0], paths[5], paths[2]]
    # Images stand before options, behind them or nowhere.
    for arguments in ([paths[0], "--list", "names.txt"], ["--list", "names.txt", paths[0]]):
        code, out, error = predicted(capsys, model, *arguments, "--top", "1")
        assert (code, error) == (0, ["3 of 3 images read, 0 failed"])
        assert [line.partition(": ")[0] for line in out] == wanted
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("names.txt").read_bytes())))
    code, out, _ = predicted(capsys, model, "--list", "-", "--json")
    assert code == 0
    assert [json.loads(line)["image"] for line in out] == wanted[1:]


def test_nothing_that_can_be_read_is_a_mistake(model, capsys):
    Path("bad.png").write_bytes(b"no picture")
    Path("empty.txt").write_bytes(b"\n")
    Path("empty").mkdir()
    for arguments, wanted in (
        (["bad.png"], "cannot read bad.png: cannot identify image file"),
        (["empty"], "cannot read empty: a folder without images"),
        (["--list", "empty.txt"], "empty.txt names no image"),
        (["--list", "nowhere.txt"], "cannot read nowhere.txt: No such file"),
        ([], "give images: files, folders, or --list"),
    ):
        assert wanted in refused(capsys, "predict", model, *arguments)
    code, out, error = predicted(capsys, model, "bad.png", "nowhere.png")
    assert (code, out) == (2, [])
    assert error[-1] == "rexnet: error: none of 2 images can be read"
