import json
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexnet import UserError, runs

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
