import json

from photographs import write_classes, write_splits

from rexnet.cli.main import main


def test_what_looks_wrong_is_printed_with_exit_code_1(tmp_path, capsys):
    write_splits(tmp_path)
    assert main(["check", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Images: {tmp_path}"
    assert lines[1] == "  classes      2: cat, dog"
    assert lines[2].startswith(f"  train        5 images of {tmp_path}/train, 2 (dog) to 3 (cat)")
    assert any("in train too, so results on them say little: 3 of 3" in line for line in lines)
    assert main(["check", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [part["num_images"] for part in found["parts"]] == [5, 3]


def test_what_is_right_is_printed_with_exit_code_0(tmp_path, capsys):
    assert main(["check", "sample"]) == 0
    assert "looks wrong" not in capsys.readouterr().out


def test_what_cannot_be_used_at_all_is_refused(tmp_path, capsys):
    write_classes(tmp_path, {"cat": 2})
    assert main(["check", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rexnet: error: {tmp_path} has 1 class folders")
    assert error.count("\n") == 1
