import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from rexnet import UserError, runs

HOLD = """
import pathlib, sys
from rexnet.runs import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
TRY = """
import pathlib, sys
from rexnet import UserError
from rexnet.runs import locked
try:
    with locked(pathlib.Path(sys.argv[1])):
        print("held")
except UserError as error:
    print(error)
"""


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@contextmanager
def holder(folder):
    """Let another process hold ``folder`` for the block."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_folder_held_by_another_process_is_refused_until_it_lets_go(tmp_path):
    folder = tmp_path / "new"
    refusal = f"{folder} is in use by another process"
    with holder(folder) as process:
        with pytest.raises(UserError, match=refusal), runs.locked(folder):
            pass
        process.stdin.close()
        process.wait()
        with runs.locked(folder):
            pass


def test_a_folder_held_here_is_refused_to_another_process(tmp_path):
    def tried():
        arguments = [sys.executable, "-c", TRY, str(tmp_path)]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    with runs.locked(tmp_path):
        assert tried().startswith(f"{tmp_path} is in use by another process; wait for it")
    assert tried() == "held\n"


def test_a_killed_process_leaves_its_folder_free(tmp_path):
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with runs.locked(tmp_path):
            pass


def test_a_folder_is_free_after_the_block_raised(tmp_path):
    def fail():
        with runs.locked(tmp_path):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    # Nobody can make it, the superuser neither: its parent is a file.
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "T"
    with pytest.raises(UserError, match=rf"cannot write to {folder}: "), runs.locked(folder):
        pass


IDENTITY = {"data": {"name": "a", "fingerprint": "1f"}, "recipe": {"lr": 0.1, "scale": (1, 2)}}


def opened(folder, mark="train.json", identity=IDENTITY, **options):
    with runs.opened(folder, mark, identity, **options):
        pass


def test_a_folder_is_opened_new_and_again_for_the_same(tmp_path):
    folder = tmp_path / "T"
    opened(folder)
    assert runs.read_json(folder / "train.json")["recipe"] == {"lr": 0.1, "scale": [1, 2]}
    opened(folder)
    # Where the data lie does not count.
    moved = {**IDENTITY, "data": {"name": "b", "fingerprint": "1f"}}
    opened(folder, identity=moved)
    assert runs.read_json(folder / "train.json")["data"]["name"] == "b"


@pytest.mark.parametrize(
    ("mark", "change", "wanted"),
    [
        (
            "train.json",
            {"recipe": {"lr": 0.2, "scale": [1, 2]}},
            "training of .*lr is 0.1, not 0.2",
        ),
        ("train.json", {"seed": 1}, "holds a training of another .*: seed is None, not 1; give an"),
        (
            "train.json",
            {"data": {"name": "b", "fingerprint": "2f"}},
            "data.name is a, not b, data.fingerprint is 1f, not 2f; give another --out",
        ),
        ("search.json", {}, "T holds a training, not a search; give another --out"),
        ("study.json", {}, "T holds a training, not a rank study; give another --out"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_not_changed(mark, change, wanted, tmp_path):
    folder = tmp_path / "T"
    opened(folder)
    (folder / ".lock").unlink()
    before = contents(folder)
    with pytest.raises(UserError, match=wanted):
        opened(folder, mark, {**IDENTITY, **change})
    assert contents(folder) == before


def test_files_without_a_mark_are_refused_unless_they_are_known(tmp_path):
    (tmp_path / "notes").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"has files but no train\.json; give another"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    opened(tmp_path, is_known=True)
    assert runs.read_json(tmp_path / "train.json")["data"]["name"] == "a"
    with pytest.raises(UserError, match="holds a training, not a search"):
        opened(tmp_path, "search.json", is_known=True)


def test_many_and_long_differences_are_told_in_short(tmp_path):
    runs.write_json(tmp_path / "train.json", {f"f{number}": "x" * 999 for number in range(9)})
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    assert len(str(error.value)) < 1000
    assert "and 5 more; give another --out" in str(error.value)


def test_a_mark_that_is_no_object_is_damaged(tmp_path):
    runs.write_json(tmp_path / "train.json", [1])
    with pytest.raises(UserError, match=r"train\.json is damaged: it holds no JSON object"):
        opened(tmp_path)


def test_options_and_environment_are_written_where_they_are_given(tmp_path):
    opened(tmp_path / "bare")
    assert set(contents(tmp_path / "bare")) == {".lock", "train.json"}
    config = {"data": "a", "set": ["epochs=1"], "weights": None}
    opened(tmp_path / "T", config=config, packages=("numpy",))
    found = contents(tmp_path / "T")
    assert set(found) == {".lock", "train.json", "config.yaml", "environment.json"}
    assert found["config.yaml"] == "data: a\nset:\n- epochs=1\nweights: null\n"
    environment = runs.read_json(tmp_path / "T" / "environment.json")
    assert list(environment) == ["python", "system", "processor", "num_cores", "packages"]
    assert list(environment["packages"]) == ["rexnet", "numpy"]


def test_another_job_changes_neither_options_nor_environment(tmp_path):
    opened(tmp_path / "T", config={"seed": 0}, packages=("numpy",))
    before = contents(tmp_path / "T")
    with pytest.raises(UserError, match="seed is None, not 1"):
        opened(tmp_path / "T", identity={**IDENTITY, "seed": 1}, config={"seed": 1})
    assert contents(tmp_path / "T") == before


def test_where_nothing_can_be_written_is_told_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for name in ("new", "folder", "folder/new/er", "n" * 255):
        runs.check_writable(tmp_path / name)
    runs.check_writable(tmp_path / "file", is_file=True)
    runs.check_writable(tmp_path / "folder/new.json", is_file=True)
    refused = {
        "file": "Not a directory",
        "file/S": "Not a directory",
        "link/S": "Not a directory",
        "n" * 256: "File name too long",
        "new/" + "é" * 128: "File name too long",
    }
    for name, reason in refused.items():
        with pytest.raises(UserError, match=rf"^cannot write to {tmp_path / name}: {reason}"):
            runs.check_writable(tmp_path / name)
    with pytest.raises(UserError, match=r"^cannot write .*folder: Is a directory"):
        runs.check_writable(tmp_path / "folder", is_file=True)
    # Whoever one is, there is no making a file here.
    with pytest.raises(UserError, match=r"^cannot write to /proc/self/S: "):
        runs.check_writable(Path("/proc/self/S"))
    assert sorted(tmp_path.rglob("*")) == before
