import json
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates cannot be written as UTF-8, and line separators of Unicode must survive.
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), max_size=5)


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


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def below_a_file(folder):
    """Return a path that nobody can write, the superuser neither: its parent is a file."""
    (folder / "file").write_text("", encoding="utf-8")
    return folder / "file" / "result.json"


def test_a_text_is_written_into_a_new_folder_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "result.txt"
    runs.write_text(path, "new")
    assert contents(path.parent) == {"result.txt": "new"}


def test_the_old_file_stays_when_a_value_is_no_json(tmp_path):
    path = tmp_path / "result.json"
    runs.write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_json(path, {"accuracy": float("nan")})
    assert list(contents(tmp_path)) == ["result.json"]
    assert runs.read_json(path) == {"accuracy": 0.5}


def test_a_replaced_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "other.txt").write_text("", encoding="utf-8")
    runs.write_text(tmp_path / "result.txt", "")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda path: runs.write_text(path, "new"),
        lambda path: runs.write_json(path, 1),
        lambda path: runs.write_jsonl(path, [{}]),
        lambda path: runs.append_jsonl(path, {}),
    ],
    ids=("write_text", "write_json", "write_jsonl", "append_jsonl"),
)
def test_what_cannot_be_written_is_named(tmp_path, write):
    path = below_a_file(tmp_path)
    with pytest.raises(UserError, match=rf"cannot write {path}: "):
        write(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UserError, match=rf"cannot write {folder}: "):
        write(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@settings(deadline=None, max_examples=50)
@given(value=VALUES)
def test_json_reads_back_as_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    runs.write_json(path, value)
    assert runs.read_json(path) == value


@settings(deadline=None, max_examples=50)
@given(rows=ROWS, more=ROWS)
def test_jsonl_reads_back_as_written_and_appended(tmp_path_factory, rows, more):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    runs.write_jsonl(path, rows)
    for row in more:
        runs.append_jsonl(path, row)
    assert runs.read_jsonl(path) == rows + more


def test_append_jsonl_begins_a_file_that_is_not_there(tmp_path):
    runs.append_jsonl(tmp_path / "metrics.jsonl", {"epoch": 1})
    assert contents(tmp_path) == {"metrics.jsonl": '{"epoch": 1}\n'}


@pytest.mark.parametrize("damage", ['{"trial": 2, "accu', "7", "", "[1]", "null"])
def test_a_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "trials.jsonl"
    good = json.dumps({"trial": 1})
    path.write_text("\n".join([good, damage, good]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{path} is damaged at line 2 of 3"):
        runs.read_jsonl(path)


def test_a_last_line_cut_short_is_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    runs.write_jsonl(path, [{"trial": 1}, {"trial": 2}])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="damaged at line 2 of 2"):
        runs.read_jsonl(path)


@pytest.mark.parametrize("read", [runs.read_json, runs.read_jsonl])
def test_what_cannot_be_read_is_named(tmp_path, read):
    missing, binary = tmp_path / "missing.json", tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=rf"cannot read {missing}: No such file"):
        read(missing)
    with pytest.raises(UserError, match=rf"cannot read {tmp_path}: "):
        read(tmp_path)
    with pytest.raises(UserError, match=rf"{binary} is damaged"):
        read(binary)


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"accuracy": 0.', encoding="utf-8")
    with pytest.raises(UserError, match=rf"{path} is damaged"):
        runs.read_json(path)


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
    folder = below_a_file(tmp_path)
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
