from pathlib import Path

import fills
import pytest

from rexnet.design import FILL
from rexnet.search.config import SearchConfig
from rexnet.search.spaces import space_of

PAGE = Path(__file__).parents[2] / "docs" / "channel-search.md"


def test_a_row_counts_shapes_that_fill_and_their_networks():
    space = space_of(SearchConfig(preset="a").resolved(), 100, 32)
    strict, loose = (fills.chosen(space, fill, 60) for fill in (FILL, 0.0))
    assert loose.num_filled == 60 >= strict.num_filled > 40
    assert strict.widths <= loose.widths
    assert len(loose.widths) < 60
    first = {widths[0] for widths in loose.widths}
    assert f" | {min(first)} to {max(first)} | " in loose.told()


@pytest.mark.numeric
def test_the_page_has_the_rows_of_preset_a(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["fills.py", "--preset", "a", "--fill", "0.9", "0.7"])
    fills.main()
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == 3
    page = PAGE.read_text(encoding="utf-8")
    assert all(row in page for row in rows)
