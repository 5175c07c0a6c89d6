import dataclasses
import itertools

import pytest
from clocks import made_up, rounds_of

from rexnet import UserError, families
from rexnet.budget import Budget, LatencyBudget
from rexnet.deploy.latency_design import find, narrowed, on_lines, rexnets
from rexnet.deploy.stopwatch import Stopwatch
from rexnet.design import design, priced

DEVICE = {"processor": "toy", "threads": 2, "runtime": "openvino", "versions": {}}


def watch_in(folder, slower=1.0, others=None):
    """Return a stopwatch whose rounds but the fastest take ``slower`` times as long."""

    def measure(specs, on_progress):
        found = [rounds_of(made_up(spec)) for spec in specs]
        return [
            dataclasses.replace(one, median=slower * one.fastest, others=others) for one in found
        ]

    return Stopwatch(device=DEVICE, folder=folder, measured=measure)


def budget_of(spec, share=1.0):
    return LatencyBudget(f"{share * made_up(spec):.6f}ms@openvino")


@pytest.mark.parametrize("width", [0.3, 1.0, 2.1])
def test_the_rexnet_that_takes_the_time_is_found(width, tmp_path):
    family, multiples = rexnets(16, 1000, 224)
    budget = budget_of(families.rexnet(width), 1.001)
    found = find(family, multiples, budget, watch_in(tmp_path))
    assert 0.95 * budget.milliseconds <= found.measured.fastest <= budget.milliseconds
    assert found.busy == ""
    assert found.predicted == pytest.approx(found.measured.fastest, rel=0.02)
    assert found.spec == families.get(found.spec.name)
    assert float(found.spec.name.removeprefix("rexnet_")) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize(
    ("slower", "others", "words"),
    [
        (1.4, 0.05, ""),
        (3.0, 0.8, "other work took 80 % of the cores' time"),
        (3.0, None, "half of the rounds took 3.0 times the fastest"),
    ],
)
def test_the_fastest_rounds_decide_and_what_disturbed_the_others_is_told(
    slower, others, words, tmp_path
):
    family, multiples = rexnets(16, 1000, 224)
    budget = budget_of(families.rexnet(1.0), 1.001)
    found = find(family, multiples, budget, watch_in(tmp_path, slower, others))
    assert found.spec == find(family, multiples, budget, watch_in(tmp_path / "quiet")).spec
    assert found.busy == words


def test_a_list_that_other_work_disturbed_does_not_lead_to_a_network_far_too_small(tmp_path):
    family, multiples = rexnets(16, 1000, 224)
    budget = budget_of(families.rexnet(1.0))
    watch, lists = watch_in(tmp_path), []

    def disturbed(specs, on_progress):
        found = watch.measured(specs, on_progress)
        # Single networks lead to the likely one, long sets are those of the predictor.
        lists.append(1 < len(specs) <= 3)
        factor = 9 if lists[-1] and sum(lists) == 1 else 1
        return [rounds_of(factor * one.fastest) for one in found]

    found = find(family, multiples, budget, dataclasses.replace(watch, measured=disturbed))
    assert 0.85 * budget.milliseconds <= found.measured.fastest <= budget.milliseconds


def test_a_time_that_no_network_keeps_is_refused_with_the_fastest(tmp_path):
    family, multiples = rexnets(16, 1000, 224)
    fastest = made_up(family(multiples[0]))
    words = f"keeps 0.1ms@openvino: the fastest, rexnet_0.1, takes {fastest:.3g} ms"
    with pytest.raises(UserError, match=words):
        find(family, multiples, LatencyBudget("0.1ms@openvino"), watch_in(tmp_path))


@pytest.mark.parametrize("milliseconds", [0.1, 0.5])
def test_a_busy_machine_is_never_a_claim_about_the_network(milliseconds, tmp_path):
    family, multiples = rexnets(16, 1000, 224)
    slow = watch_in(tmp_path, slower=2.0, others=0.97)

    def measure(specs, on_progress):
        found = slow.measured(specs, on_progress)
        return [dataclasses.replace(one, fastest=2 * one.fastest) for one in found]

    budget = LatencyBudget(f"{milliseconds}ms@openvino")
    with pytest.raises(UserError) as refusal:
        find(family, multiples, budget, dataclasses.replace(slow, measured=measure))
    words = f"the machine was busy, so {budget} was not decided: other work took 97 %"
    assert str(refusal.value).startswith(words)
    assert "raise --latency" not in str(refusal.value)


def test_a_hopeless_time_is_refused_after_few_networks(tmp_path):
    family, multiples = rexnets(16, 1000, 224)
    watch, measured = watch_in(tmp_path), []

    def measure(specs, on_progress):
        measured.extend(specs)
        return watch.measured(specs, on_progress)

    budget = LatencyBudget("0.1ms@openvino")
    with pytest.raises(UserError, match="raise --latency"):
        find(family, multiples, budget, dataclasses.replace(watch, measured=measure))
    assert len(measured) <= 3


def test_more_time_than_the_widest_network_takes_gives_that(tmp_path):
    family, multiples = rexnets(6, 10, 32)
    found = find(family, multiples, LatencyBudget("9999ms@openvino"), watch_in(tmp_path))
    assert found.spec == families.rexnet(5.0, 6, 10, 32)


def test_a_line_inside_a_budget_is_shrunk_until_it_keeps_the_time(tmp_path):
    budget = Budget(params=4_800_000, macs=400_000_000)
    family, multiples = narrowed(design(budget).spec)
    whole = family(1.0)
    plenty = find(family, multiples, budget_of(whole, 1.5), watch_in(tmp_path))
    assert plenty.spec == whole
    tight = budget_of(whole, 0.7)
    found = find(family, multiples, tight, watch_in(tmp_path))
    assert 0.93 * tight.milliseconds <= found.measured.fastest <= tight.milliseconds
    assert priced(found.spec, budget).inside(budget)
    assert all(a <= b for a, b in zip(found.spec.widths, whole.widths, strict=True))


@pytest.mark.parametrize("scale_ends", [False, True])
def test_any_network_on_its_line_fills_a_time(tmp_path, scale_ends):
    template = families.get("mobilenet_v2")
    family, multiples = on_lines(template, scale_ends=scale_ends)
    tight = budget_of(template, 0.6)
    found = find(family, multiples, tight, watch_in(tmp_path))
    assert 0.93 * tight.milliseconds <= found.measured.fastest <= tight.milliseconds
    widths = found.spec.widths
    assert max(widths) - widths[-1] == 0
    assert len({b - a for a, b in itertools.pairwise(widths)}) <= 2
    assert (found.spec.penultimate_width == 1280) != scale_ends
