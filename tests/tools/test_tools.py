import dataclasses
from pathlib import Path

import numpy as np
import panel
import pytest
import samplers
import tables
import toys
import trainings

from rexnet import runs
from rexnet.budget import Budget, Count
from rexnet.data import in_memory
from rexnet.design import priced
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import PRESETS
from rexnet.search.space import Space

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/channel-search.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """As much of a search's run folder as the claim reads."""

    folder: Path
    space: Space

    @property
    def template(self):
        return self.space.template

    @property
    def budget(self):
        return self.space.budget


@pytest.mark.parametrize("preset", PRESETS)
def test_the_networks_of_the_claim_have_equal_costs(preset, tmp_path):
    row = PRESETS[preset]
    budget = Budget(
        params=int(Count(row.params)), macs=int(Count(row.macs)), count_classifier=False
    )
    space = Space(num_blocks=row.blocks, num_classes=10, resolution=32, budget=budget)
    line = space.template.with_widths(range(20, 20 + row.blocks))
    (tmp_path / "spec.json").write_text(line.to_json(), encoding="utf-8")
    claimed = panel.claimed(preset, Found(folder=tmp_path, space=space))
    assert claimed["fitted line"] == line.widths
    proposals = {
        name: priced(space.template.with_widths(widths), budget) for name, widths in claimed.items()
    }
    assert proposals["stage-wise"].inside(budget)
    assert proposals["stage-wise"].fills(budget)
    # One width a stage, which is where the resolution halves.
    assert len(set(claimed["stage-wise"])) == 3
    for name in ("Table 3, best", "Table 3, worst"):
        assert proposals[name].params == pytest.approx(budget.params, rel=0.06)
        assert proposals[name].macs == pytest.approx(budget.macs, rel=0.07)


def test_a_part_of_the_images_keeps_what_is_held_out():
    whole = in_memory.load("sample")
    part = trainings.part(whole, 100)
    assert (~part.held_out).sum() == 100
    assert np.array_equal(part.images[part.held_out], whole.images[whole.held_out])
    assert len(np.unique(part.images[~part.held_out], axis=0)) == 100


def test_random_proposals_are_different_and_fill_the_budget():
    space = Space(num_blocks=5, num_classes=10, resolution=32, budget=samplers.BUDGET)
    drawn = samplers.draws(space, 20)
    assert len(set(drawn.values())) == 20
    for widths in drawn.values():
        proposal = priced(space.template.with_widths(widths), samplers.BUDGET)
        assert proposal.inside(samplers.BUDGET)
        assert proposal.fills(samplers.BUDGET)


def test_a_training_is_a_line_and_is_not_repeated(tmp_path):
    lab = trainings.Lab(images=in_memory.load("sample"), workers=2, evaluate=toys.Learns())
    arm = trainings.Arm(
        group="toy",
        widths={"a": (8, 9, 10), "b": (8, 8, 8)},
        protocol=Protocol(epochs=4),
        num_train=50,
        num_seeds=2,
    )
    lab.train(arm, tmp_path / "out.jsonl")
    rows = runs.read_jsonl(tmp_path / "out.jsonl")
    assert len(rows) == 4
    assert [row["protocol"]["seed"] for row in rows] == [0, 0, 1, 1]
    assert all(len(row["epoch_accuracies"]) == 3 for row in rows)
    assert {row["num_train"] for row in rows} == {50}
    found = trainings.accuracies(rows, group="toy", seed=1)
    assert set(found) == {"a", "b"}
    lab.train(arm, tmp_path / "out.jsonl")
    assert runs.read_jsonl(tmp_path / "out.jsonl") == rows


def test_a_pruner_ends_a_training_that_falls_behind():
    good = {"epoch_accuracies": [0.5, 0.6], "accuracy": 0.7, "protocol": {"epochs": 3}}
    bad = {"epoch_accuracies": [0.1, 0.2], "accuracy": 0.3, "protocol": {"epochs": 3}}
    assert tables.replay([good, good, bad], "halving") == [3, 3, 1]
    assert tables.replay([good] * 10 + [bad], "median") == [3] * 10 + [1]


def test_the_page_of_results_holds_what_its_files_say():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in tables.tables(ROOT / "results"):
        assert rows, title
        assert tables.markdown(header, rows) in page, title
