import json
from pathlib import Path

import deployment_results
from tables import markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/deployment.md"


def test_a_file_of_a_command_becomes_lines(tmp_path):
    (tmp_path / "benchmark.jsonl").write_text('{"rounds": 3}\n{"model": "a"}\n', encoding="utf-8")
    (tmp_path / "export.json").write_text(json.dumps({"model": "b"}, indent=1), encoding="utf-8")
    assert deployment_results.lines(tmp_path / "benchmark.jsonl") == [{"rounds": 3}, {"model": "a"}]
    assert deployment_results.lines(tmp_path / "export.json") == [{"model": "b"}]


def test_the_page_holds_what_its_files_say():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in deployment_results.tables(ROOT / "results"):
        assert rows, title
        assert markdown(header, rows) in page, title
