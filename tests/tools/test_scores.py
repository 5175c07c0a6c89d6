import numpy as np
import scores
import scores_tables
from trainings import Lab

from rexnet import runs
from rexnet.data.in_memory import load
from rexnet.search.candidates.outcomes import outcomes_of
from rexnet.search.candidates.protocol import Evaluation


def row(network, seed, epochs, accuracy, group="short", widths=(10, 20)):
    values = {"true_probability": accuracy, "loss": 1 - accuracy, "first_loss": 2 - accuracy}
    return {
        "network": network,
        "group": group,
        "widths": list(widths),
        "protocol": {"seed": seed, "epochs": epochs},
        "accuracy": accuracy,
        **values,
    }


def test_scores_that_say_what_long_trainings_say_agree():
    generator, rows = np.random.default_rng(0), []
    for number, truth in enumerate(np.linspace(0.5, 0.6, 8)):
        rows.append(row(f"n{number}", 0, 30, truth, "long"))
        rows += [row(f"n{number}", s, 5, truth - 0.1 + 0.002 * generator.random()) for s in (0, 1)]
    header, lines = scores_tables.scores_table(rows)
    assert [line[1] for line in lines] == list(scores_tables.SCORES)
    for line in lines:
        cells = dict(zip(header, line, strict=True))
        assert float(cells["two seeds (Spearman)"]) > 0.9
        assert float(cells["long accuracy (Spearman)"]) > 0.9


def test_a_short_training_that_favours_flat_networks_is_found():
    rows = []
    for number, slope in enumerate(np.linspace(0, 3, 8)):
        widths = (10, round(10 * 2**slope))
        truth = 0.5 + 0.01 * (number % 3)
        rows.append(row(f"n{number}", 0, 30, truth, "long", widths))
        rows.append(row(f"n{number}", 0, 5, truth - 0.01 * slope, "short", widths))
    _, ((_, _, rest, _),) = scores_tables.shape_table(rows)
    assert float(rest.split()[0]) > 0.2


def test_settings_are_compared_on_the_same_networks_and_seeds():
    rows = [row(name, 0, 10, 0.5, "plain") for name in "ab"]
    rows += [row("a", 0, 10, 0.52, "two views"), row("b", 0, 10, 0.53, "two views")]
    rows += [row("c", 0, 10, 0.9, "two views"), row("a", 0, 30, 0.6, "long")]
    _, lines = scores_tables.ladder_table(rows)
    found = {line[0]: line[1:] for line in lines}
    assert found["two views"] == ["52.5", "+2.50 ± 0.50", "2"]
    assert found["plain, 30 epochs"][0] == "60.0"


def test_half_of_the_images_are_held_out_and_none_is_in_both():
    images = scores.halves(load("sample"), 50)
    assert (~images.held_out).sum() == images.held_out.sum() == 50
    flat = images.images.reshape(100, -1)
    assert len(np.unique(flat, axis=0)) == 100


def test_networks_have_one_cost_and_the_line_is_the_first():
    found = scores.networks(10, 32)
    assert len(set(found.values())) == len(found) == scores.NUM_NETWORKS
    assert [*found][:2] == ["line", "stage-wise"]


def test_settings_are_trained_alone_and_together():
    widths = scores.networks(10, 32)
    alone = list(scores.arms("ladder", 1, widths))
    assert [arm.group for arm in alone] == list(scores.LADDER)
    assert {len(arm.widths) for arm in alone} == {scores.ON_LADDER}
    (both,) = scores.arms("ladder", 1, widths, ["two views", "linear rate"])
    assert (both.protocol.views, both.protocol.schedule, both.protocol.seed) == (2, "linear", 1)


def test_lines_have_every_score(tmp_path):
    logits = np.eye(10, dtype=np.float32)
    outcomes = outcomes_of(logits, np.arange(10), 2.3)
    lab = Lab(
        images=scores.halves(load("sample"), 20),
        workers=1,
        evaluate=Known(Evaluation(accuracies=(0.5,), seconds=1.0, outcomes=(outcomes,))),
    )
    arm = next(scores.arms("short", 0, dict([*scores.networks(10, 32).items()][:1])))
    lab.train(arm, tmp_path / "scores.jsonl")
    (line,) = runs.read_jsonl(tmp_path / "scores.jsonl")
    assert {*scores_tables.SCORES, "right", "part_losses"} <= set(line)
    assert line["first_loss"] == 2.3


class Known:
    """Gives the same evaluation to every network."""

    def __init__(self, evaluation):
        self.evaluation = evaluation

    def __call__(self, spec, weights, on_progress):
        return self.evaluation
