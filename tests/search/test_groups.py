import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import failed, made_up_rows

from rexnet.channels import fit_line
from rexnet.search.groups import complete, groups, noise


def rows_of(accuracies):
    """Return rows with the accuracies, all of the same network."""
    (row,) = made_up_rows(1)
    return [
        row | {"number": number, "accuracy": accuracy, "accuracies": [accuracy]}
        for number, accuracy in enumerate(accuracies)
    ]


def ranks(rows):
    """Return the ranks (the best is 0) of the trials of each group."""
    order = [row["number"] for row in complete(rows)]
    return [[order.index(row["number"]) for row in group.rows] for group in groups(rows)]


def test_of_200_trials_the_groups_are_twenty_each_as_in_the_paper():
    rows = rows_of(np.random.default_rng(0).permutation(200) / 200)
    assert ranks(rows) == [list(range(20)), list(range(100, 120)), list(range(180, 200))]
    names = [group.name for group in groups(rows)]
    assert names == ["top 10 %", "middle 50-60 %", "bottom 10 %"]


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (1, [[0], [0], [0]]),
        (2, [[0], [1], [1]]),
        (10, [[0], [5], [9]]),
        (16, [[0, 1], [8, 9], [14, 15]]),
        (20, [[0, 1], [10, 11], [18, 19]]),
        (30, [[0, 1, 2], [15, 16, 17], [27, 28, 29]]),
    ],
)
def test_groups_of_few_trials_have_at_least_one_network_each(count, wanted):
    assert ranks(rows_of(np.arange(count) / count)) == wanted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=250))
def test_no_group_is_empty_or_better_than_the_one_before_and_they_share_nothing(accuracies):
    found = ranks(rows_of(accuracies))
    assert len(found) == 3
    for group, after in itertools.pairwise(found):
        assert group == list(range(group[0], group[-1] + 1))
        assert group[0] <= after[0]
        if len(accuracies) > 3:
            assert group[-1] < after[0]
    assert found[0][0] == 0
    assert found[2][-1] == len(accuracies) - 1
    assert all(abs(len(group) - len(accuracies) / 10) <= 1 for group in found)


def test_no_trial_gives_no_group():
    assert groups([]) == []
    assert groups([failed(row, "died", "") for row in made_up_rows(3)]) == []


def test_trials_that_were_not_trained_to_the_end_are_in_no_group():
    rows = made_up_rows(30)
    rows[29] = failed(rows[29], "diverged", "loss nan")
    rows[3] = failed(rows[3], "died", "exit code -9")
    assert len(complete(rows)) == 28
    assert complete(rows)[0] == rows[28]
    chosen = {row["number"] for group in groups(rows) for row in group.rows}
    assert not chosen & {3, 29}


def test_of_equal_accuracies_the_lower_number_ranks_first():
    rows = rows_of([0.5, 0.7, 0.5, 0.7])[::-1]
    assert [row["number"] for row in complete(rows)] == [1, 3, 0, 2]


def test_a_group_has_its_widths_means_errors_and_line():
    rows = made_up_rows(40)
    top = groups(rows)[0]
    assert len(top.rows) == 4
    accuracies = [row["accuracy"] for row in top.rows]
    assert top.mean("accuracy") == pytest.approx(np.mean(accuracies))
    assert top.mean("macs") == pytest.approx(np.mean([row["macs"] for row in top.rows]))
    assert top.stderr("accuracy") == pytest.approx(np.std(accuracies, ddof=1) / 2)
    np.testing.assert_array_equal(top.widths, [row["widths"] for row in top.rows])
    assert top.line == fit_line([row["widths"] for row in top.rows])


def test_a_group_of_one_has_no_error():
    assert groups(made_up_rows(3))[0].stderr("accuracy") is None


def test_noise_is_the_pooled_deviation_between_trainings_of_the_same_network():
    rows = rows_of([0.5, 0.6, 0.7])
    rows[0] |= {"accuracies": [0.4, 0.6]}
    rows[1] |= {"accuracies": [0.59, 0.61, 0.6]}
    wanted = np.sqrt((np.var([0.4, 0.6], ddof=1) + np.var([0.59, 0.61, 0.6], ddof=1)) / 2)
    assert noise(rows) == pytest.approx(wanted)


def test_the_noise_of_networks_trained_once_is_unknown():
    assert noise(rows_of([0.5, 0.6])) is None
    assert noise([]) is None


def test_simulated_noise_is_found_again():
    generator = np.random.default_rng(0)
    rows = rows_of(generator.uniform(0.3, 0.7, 400))
    for row in rows:
        row["accuracies"] = list(row["accuracy"] + generator.normal(0, 0.02, 3))
    assert noise(rows) == pytest.approx(0.02, rel=0.1)
