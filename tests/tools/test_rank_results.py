from pathlib import Path

import rank_results
from tables import markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/rank.md"


def test_the_page_holds_what_its_file_says():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in rank_results.tables(ROOT / "results"):
        assert rows, title
        assert markdown(header, rows) in page, title


def test_the_figure_of_the_page_can_be_drawn():
    figures = dict(rank_results.drawn(ROOT / "results"))
    assert len(figures["rank"].axes) == 4
    assert "images/rank.png" in PAGE.read_text(encoding="utf-8")
