import dataclasses

import pytest

from rexnet import families, paper
from rexnet.shape_advice import notes


def network(widths, stem=16):
    spec = families.search_network(widths, 10)
    return dataclasses.replace(spec, stem_width=stem)


def test_a_late_jump_is_told_with_its_cost_and_its_source():
    (note,) = notes(network(paper.TABLE_3["a"].worst))
    assert note.startswith("the last block makes 100 % of the rise of the widths, from 36 to 83; ")
    assert "lose 0.35 points (0.27 to 0.44) to others at equal params and MACs" in note
    assert note.endswith("in the public trainings of NATS-Bench's size space")
    assert "\n" not in note


@pytest.mark.parametrize(
    ("widths", "is_late"),
    [
        ((20, 30, 40, 50, 60), False),
        ((20, 20, 20, 30, 60), False),
        ((20, 20, 20, 29, 60), True),
        ((20, 20, 20, 60, 60), False),
        ((20, 20, 20, 20, 30), False),
        ((20, 20, 20, 20, 31), True),
        ((20, 20, 20, 20, 20), False),
        ((20, 60), False),
        ((20,), False),
    ],
)
def test_a_late_jump_is_most_of_a_rise_that_counts(widths, is_late):
    blocks = families.search_network([1] * 5, 10).blocks[: len(widths)]
    spec = dataclasses.replace(network([1] * 5), blocks=blocks).with_widths(widths)
    assert bool(notes(spec)) is is_late


@pytest.mark.parametrize(
    ("stem", "first", "second", "is_waist"),
    [(32, 15, 40, True), (32, 16, 40, False), (40, 15, 31, True), (40, 15, 30, False)],
)
def test_a_waist_is_narrower_than_half_of_both_its_neighbours(stem, first, second, is_waist):
    found = notes(network([first, second, second + 9, second + 18], stem))
    assert bool(found) is is_waist
    if found:
        assert f"a waist, {first} wide between {stem} and {second}; such waists" in found[0]


def test_networks_that_are_known_have_no_note_but_the_worst_of_the_paper():
    told = {name for name in families.names() if notes(families.get(name))}
    assert told == set()
    late = {name for name, row in paper.TABLE_3.items() if notes(network(row.worst))}
    assert late == {"a", "c"}
    assert not any(notes(network(row.best)) for row in paper.TABLE_3.values())
