import json

import pytest
from toys import failed, made_up_rows, write_run

from rexnet import UserError
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.results import read_search


def test_a_folder_without_a_search_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"no run folder of a search: it has no search\.json"):
            read_search(folder)


def test_a_search_without_a_trained_network_is_refused(tmp_path):
    write_run(tmp_path / "none", [])
    write_run(tmp_path / "failed", [failed(row, "died", "") for row in made_up_rows(2)])
    for name in ("none", "failed"):
        with pytest.raises(UserError, match="no network that was trained to the end"):
            read_search(tmp_path / name)


def refusal(folder):
    """Return the one line with which a folder is refused; nothing in it changes."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as error:
        read_search(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("line", ['{"number": 1, "sta', "", "7", "null"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = write_run(tmp_path, made_up_rows(3)) / "trials.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert f"{path} is damaged at line 2 of 3" in refusal(tmp_path)


@pytest.mark.parametrize(
    "field",
    ["number", "state", "widths", "params", "macs", "total_params", "accuracy", "accuracies"],
)
def test_a_line_without_a_field_is_named(tmp_path, field):
    rows = made_up_rows(3)
    del rows[2][field]
    message = refusal(with_rows(tmp_path, rows))
    assert str(tmp_path / "trials.jsonl") in message
    assert "line 3" in message
    assert field in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy", None),
        ("accuracy", "good"),
        ("widths", "8-10-12"),
        ("widths", []),
        ("widths", [8, 10]),
        ("params", "many"),
        ("accuracies", None),
        ("seconds", None),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_by_name(tmp_path, field, value):
    rows = made_up_rows(3)
    rows[2][field] = value
    message = refusal(with_rows(tmp_path, rows))
    assert str(tmp_path / "trials.jsonl") in message
    assert field in message


def with_rows(folder, rows):
    """Write a good run folder, then ``rows`` in place of its trials."""
    write_run(folder, made_up_rows(3))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "trials.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_a_space_of_other_types_is_refused_by_name(tmp_path):
    path = write_run(tmp_path, made_up_rows(3)) / "search.json"
    identity = json.loads(path.read_text(encoding="utf-8"))
    identity["space"]["budget"]["params"] = "many"
    path.write_text(json.dumps(identity), encoding="utf-8")
    assert refusal(tmp_path).startswith(f'{path}: space: budget: params: "many" is no int')


def test_a_search_from_before_a_setting_had_its_default(tmp_path):
    path = write_run(tmp_path, made_up_rows(3)) / "search.json"
    identity = json.loads(path.read_text(encoding="utf-8"))
    identity["protocol"].pop("label_smoothing", None)
    path.write_text(json.dumps(identity | {"later": 1}), encoding="utf-8")
    found = read_search(tmp_path).identity
    assert found["protocol"] == Protocol(**identity["protocol"])
    assert found["later"] == 1


@pytest.mark.parametrize("name", ["search.json", "result.json", "environment.json"])
@pytest.mark.parametrize("content", ["", '{"space": {', "{}", "[]", "null"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = write_run(tmp_path, made_up_rows(3)) / name
    path.write_text(content, encoding="utf-8")
    assert str(path) in refusal(tmp_path)


@pytest.mark.parametrize("name", ["trials.jsonl", "result.json", "environment.json"])
def test_a_missing_file_is_named(tmp_path, name):
    path = write_run(tmp_path, made_up_rows(3)) / name
    path.unlink()
    assert f"cannot read {path}: No such file" in refusal(tmp_path)
