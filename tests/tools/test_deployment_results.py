import json
from pathlib import Path

import collecting
import deployment_results
import pytest
from tables import markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/deployment.md"


def test_a_file_of_a_command_becomes_lines(tmp_path):
    (tmp_path / "benchmark.jsonl").write_text('{"rounds": 3}\n{"model": "a"}\n', encoding="utf-8")
    (tmp_path / "export.json").write_text(json.dumps({"model": "b"}, indent=1), encoding="utf-8")
    assert deployment_results.lines(tmp_path / "benchmark.jsonl") == [{"rounds": 3}, {"model": "a"}]
    assert deployment_results.lines(tmp_path / "export.json") == [{"model": "b"}]


def test_a_file_that_is_collected_is_not_written_over(tmp_path, monkeypatch, capsys):
    path = tmp_path / "export.json"
    path.write_text("{}", encoding="utf-8")
    command = ["tool", "collect", str(path), "--command", "x", "--out", f"{tmp_path}/./export.json"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        collecting.run_results(
            "A tool.", lines=deployment_results.lines, tables=deployment_results.tables
        )
    assert "export.json is one of the files to collect" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "{}"


def test_the_page_holds_what_its_files_say():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in deployment_results.tables(ROOT / "results"):
        assert rows, title
        assert markdown(header, rows) in page, title
