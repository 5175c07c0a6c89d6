import sys

import pytest

from rexnet.runs.lazy import Lazy


def test_names_are_known_before_anything_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "far_away.py").write_text("class Thing:\n    made = 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    table = Lazy({"thing": "far_away:Thing", "seven": "far_away:Thing.made"})
    assert (list(table), len(table)) == (["thing", "seven"], 2)
    assert "thing" in table
    assert "other" not in table
    assert "far_away" not in sys.modules
    assert table["seven"] == table["thing"].made == 7
    del sys.modules["far_away"]


def test_a_name_that_is_not_there_is_told_as_by_a_dict():
    with pytest.raises(KeyError, match="other"):
        Lazy({"thing": "nowhere:Thing"})["other"]
