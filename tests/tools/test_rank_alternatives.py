import dataclasses
from typing import get_args

import pytest
import rank_alternatives

from rexnet import runs
from rexnet.studies.rank.config import FITTED, Architecture, RankStudy


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_alternative_changes_one_choice(architecture):
    (_, usual), *others = rank_alternatives.alternatives(architecture)
    assert usual is None
    for words, (option, value) in others:
        changed = RankStudy(**{option: value}).choices(architecture)
        fitted = dataclasses.asdict(FITTED[architecture])
        differ = [name for name, of in dataclasses.asdict(changed).items() if of != fitted[name]]
        assert differ == [option], words


def test_a_line_tells_how_far_the_curves_move(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kinds = [("the default", None), ("no norm before", ("norm", "after")), ("1", ("seed", 1))]
    monkeypatch.setattr(rank_alternatives, "get_args", lambda kind: ("pointwise",))
    monkeypatch.setattr(rank_alternatives, "alternatives", lambda architecture: kinds)
    monkeypatch.setattr(
        "sys.argv", ["x", "--folder", "runs", "--networks", "2", "--out", "alternatives.jsonl"]
    )
    rank_alternatives.main()
    first, usual, same, other = runs.read_jsonl(tmp_path / "alternatives.jsonl")
    assert {"command", "commit"} <= set(first)
    # Panel (a) has its norm after the function: nothing moves.
    assert usual["largest_move"] == same["largest_move"] == 0
    assert usual["distance"] == same["distance"] != other["distance"]
    assert other["largest_move"] > 0
    assert capsys.readouterr().out.count("\n") == 3
