"""Searches that vary expansions: their lines, their fit, their page, and what they inherit."""

import dataclasses

import numpy as np
import pytest
import torch
from clocks import ToyClock
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import (
    MIDDLE,
    assert_best_is_kept,
    config_in,
    inline,
    read,
    result_of_search,
    run,
    search,
    timed,
)
from toys import PICKY, SPACE, Toy

from rexnet import NetSpec, UserError, channels, cost, families, inherit, runs
from rexnet.budget import Budget
from rexnet.design import priced
from rexnet.nn.hub import save_pretrained
from rexnet.nn.network import Network
from rexnet.report.search import page
from rexnet.search import job
from rexnet.search.expansions import bounds_of, each_of, parameters_of, varied
from rexnet.search.fit import fit
from rexnet.search.groups import groups
from rexnet.search.results import read_search
from rexnet.search.sampler import distributions
from rexnet.search.space import Space, check_reachable

MOBILENET = families.get("mobilenet_v2")
SMALL = "rexnet_cifar_b"
VARIES = st.sampled_from(["widths", "expansion", "expansions"])
LIMITS = st.sampled_from([("params",), ("macs",), ("params", "macs")])


def of_network(name, **changes):
    network = families.get(name)
    return Space(
        num_blocks=len(network.blocks),
        num_classes=10,
        resolution=32,
        network=network,
        **{"budget": Budget(params=10**6, macs=10**8), **changes},
    )


@st.composite
def spaces(draw):
    """Draw a space of any kind, with a budget that leaves room for all of its networks."""
    name = draw(st.sampled_from([None, SMALL, "mobilenet_v2", "rexnet_1.0"]))
    varied = {"vary": draw(VARIES), "slack": draw(st.sampled_from([0.0, 0.3, 0.8]))}
    if name is None:
        space = dataclasses.replace(SPACE, num_blocks=draw(st.integers(3, 12)), **varied)
    else:
        space = of_network(name, scale_ends=draw(st.booleans()), **varied)
    least = cost.count(space.narrowest)
    limits = {field: int(getattr(least, field) * draw(st.floats(1, 100))) for field in draw(LIMITS)}
    return dataclasses.replace(space, budget=Budget(**limits, count_classifier=draw(st.booleans())))


@settings(deadline=None, max_examples=100)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_networks_of_any_parameters_keep_every_limit_and_can_be_built_again(space, seed):
    generator = np.random.default_rng(seed)
    drawn = space.draw(generator)
    moved = space.move(drawn, generator.random(), generator)
    for values in (drawn, moved):
        assert list(values) == list(distributions(space))
        for name, distribution in distributions(space).items():
            assert distribution._contains(distribution.to_internal_repr(values[name]))
        proposal = space.propose(values)
        spec = proposal.spec
        assert proposal.inside(space.budget)
        assert proposal == priced(spec, space.budget)
        expansions = space.noted(spec).get("expansions")
        assert (expansions is None) == (space.vary == "widths")
        assert space.of(spec.widths, expansions) == spec
        for mine, own in zip(spec.blocks, space.template.blocks, strict=True):
            assert (mine.expansion == 1) == (own.expansion == 1)


def test_parameters_of_a_shape_hold_what_else_the_space_varies():
    line = np.linspace(0, 1, 17)
    space = of_network("mobilenet_v2", budget=Budget(macs=10**7), vary="expansions")
    values = space.parameters_of(line)
    assert values["tilt"] == channels.tilt_of(space.template.widths) > 0
    assert "expansion_1" not in values
    assert {values[f"expansion_{number}"] for number in range(2, 18)} == {6}
    own = [block.expansion for block in space.template.blocks]
    assert space.propose(values).spec == space.of_shape(line, values["tilt"]).spec
    assert space.parameters_of(line, 0.25)["tilt"] == 0.25
    changed = [1, *range(2, 10), *[3] * 8]
    spec = space.propose(space.parameters_of(line, expansion=changed)).spec
    assert [block.expansion for block in spec.blocks] == changed
    one = dataclasses.replace(space, vary="expansion")
    assert one.parameters_of(line, expansion=4)["expansion"] == 4
    assert one.parameters_of(line, expansion=changed)["expansion"] == round(sum(changed[1:]) / 16)
    assert one.parameters_of(line)["expansion"] == own[1] == 6
    # The search network is flat as a template.
    flat = dataclasses.replace(SPACE, budget=Budget(macs=10**7))
    assert flat.parameters_of(np.linspace(0, 1, 5))["tilt"] == 0.5
    opened = dataclasses.replace(SPACE, slack=0.3).parameters_of(np.linspace(0, 1, 5))
    assert opened["balance"] == 0


def test_features_are_logs_of_widths_then_of_the_expansions_that_vary():
    for vary, wanted in (
        ("widths", []),
        ("expansion", [3]),
        ("expansions", [2, 3, 4, 5, 6, 7, 8, 9, *[3] * 8]),
    ):
        space = of_network("mobilenet_v2", vary=vary)
        each = [1, *([3] * 16 if vary == "expansion" else wanted)]
        spec = space.of(range(1, 18), None if vary == "widths" else each)
        features = space.features(spec)
        np.testing.assert_allclose(np.exp(features), [*range(1, 18), *wanted])
        both = space.features_of([spec.widths] * 2, [each] * 2)
        np.testing.assert_array_equal(both, [features, features])
    np.testing.assert_array_equal(SPACE.features_of([[1] * 5]), np.zeros((1, 5)))


@pytest.mark.parametrize("vary", ["expansion", "expansions"])
def test_a_budget_leaves_room_for_the_highest_expansions_or_is_refused(vary):
    space = dataclasses.replace(SPACE, vary=vary)
    least = priced(space.narrowest, space.budget)
    assert [block.expansion for block in space.narrowest.blocks] == [10] * 5
    budget = Budget(params=least.params - 1, macs=least.macs, count_classifier=False)
    with pytest.raises(UserError, match="the nearest budget that can be filled is"):
        check_reachable(dataclasses.replace(space, budget=budget))
    check_reachable(space)


def test_expansions_of_the_template_are_inside_the_bounds():
    assert of_network("rexnet_1.0", vary="expansion").expansions == {"expansion": (2, 10)}
    wide = channels.with_expansions(families.get(SMALL), [6] * 8 + [24])
    space = dataclasses.replace(of_network(SMALL, vary="expansions"), network=wide)
    assert set(space.expansions.values()) == {(2, 24)}
    assert space.propose(space.parameters_of(np.linspace(0, 1, 9))).spec.blocks[-1].expansion == 24


def test_parameters_of_expansions_have_the_numbers_of_their_blocks():
    assert bounds_of(MOBILENET, "widths") == {}
    assert bounds_of(MOBILENET, "expansion") == {"expansion": (2, 10)}
    names = [f"expansion_{number}" for number in range(2, 18)]
    assert bounds_of(MOBILENET, "expansions") == dict.fromkeys(names, (2, 10))
    assert bounds_of(families.get("mobilenet_v1"), "expansions") == {}
    assert each_of(MOBILENET, "widths", {}) is None
    assert each_of(MOBILENET, "expansion", {"expansion": 3}) == [1, *[3] * 16]
    each = [1, *range(2, 18)]
    assert each_of(MOBILENET, "expansions", dict(zip(names, each[1:], strict=True))) == each
    assert varied(MOBILENET, each) == each[1:]
    assert parameters_of(MOBILENET, "expansions", each) == dict(zip(names, each[1:], strict=True))
    assert parameters_of(MOBILENET, "expansions", 4) == dict.fromkeys(names, 4)


@pytest.mark.parametrize("vary", ["expansion", "expansions"])
@pytest.mark.parametrize("latency", [None, 2 * MIDDLE])
def test_a_search_notes_expansions_and_goes_on_from_them(vary, latency, tmp_path):
    changes = {"vary": vary, "fill": 0.8, "trials": 5}
    config = timed(tmp_path, latency, **changes) if latency else config_in(tmp_path, **changes)
    clock = ToyClock() if latency else None
    assert run(config, clock) == 5
    folder = tmp_path / "S"
    found = read_search(folder)
    assert found.identity["space"].identity == {
        **SPACE.identity,
        **{"vary": vary, "fill": 0.8, "slack": 0.2},
    }
    for row in found.rows:
        spec = found.space.of(row["widths"], row["expansions"])
        assert spec.spec_id == row["spec_id"]
        assert (len(set(row["expansions"])) == 1) or vary == "expansions"
    if not latency:
        assert_best_is_kept(folder)
    best = NetSpec.load(folder / "best.json")
    assert best.spec_id in {row["spec_id"] for row in found.rows}
    first = read(folder)
    assert run(dataclasses.replace(config, trials=7), clock) == 2
    assert read(folder)[:5] == first
    with pytest.raises(UserError, match=f"space.vary is {vary}"):
        run(dataclasses.replace(config, vary="widths"), clock)


def test_a_search_of_widths_notes_no_expansions(tmp_path):
    search(tmp_path, Toy(), 2)
    assert not any("expansions" in row for row in read(tmp_path))


def test_a_looser_fill_rejects_less(tmp_path):
    search(tmp_path / "strict", Toy(), 6, space=PICKY)
    loose = dataclasses.replace(PICKY, fill=0.5, slack=0.5)
    search(tmp_path / "loose", Toy(), 6, space=loose)
    rejected = [result_of_search(tmp_path / n)["num_rejected"] for n in ("strict", "loose")]
    assert rejected[0] > rejected[1] == 0
    uses = [min(r["params"] / 125_000, r["macs"] / 10**7) for r in read(tmp_path / "loose")]
    assert 0.5 <= min(uses) < 0.9
    assert all(max(r["params"] / 125_000, r["macs"] / 10**7) <= 1 for r in read(tmp_path / "loose"))


def test_the_network_on_the_line_has_the_mean_expansions_of_the_top_group(tmp_path):
    run(config_in(tmp_path, vary="expansions", trials=24))
    found = fit(tmp_path / "S")
    top = groups(read_search(tmp_path / "S").rows)[0]
    mean = np.rint(np.mean([row["expansions"] for row in top.rows], axis=0)).tolist()
    assert len(top.rows) > 1
    written = runs.read_json(tmp_path / "S" / "fit.json")
    spec = NetSpec.load(tmp_path / "S" / "spec.json")
    assert written["expansions"] == [block.expansion for block in spec.blocks] == mean
    assert found.proposal.spec == spec
    assert found.proposal.inside(SPACE.budget)


def test_a_page_shows_expansions_and_the_fill(tmp_path):
    run(config_in(tmp_path, vary="expansions", fill=0.7))
    found = read_search(tmp_path / "S")
    text = " ".join(page(found, "<svg></svg>").split())
    for row in found.rows:
        assert "-".join(map(str, row["expansions"])) in text
    assert "cannot use 70 % of both limits" in text


@pytest.mark.parametrize("change", [{"expansions": [6, 6]}, {"expansions": "6"}, {}])
def test_lines_without_an_expansion_a_block_are_refused(change, tmp_path):
    run(config_in(tmp_path, vary="expansion"))
    path = tmp_path / "S" / "trials.jsonl"
    rows = runs.read_jsonl(path)
    del rows[1]["expansions"]
    rows[1] |= change
    runs.write_jsonl(path, rows)
    with pytest.raises(UserError, match="line 2") as error:
        read_search(tmp_path / "S")
    assert "expansions" in str(error.value)


def test_a_space_that_varies_what_is_unknown_is_refused(tmp_path):
    run(config_in(tmp_path, vary="expansion"))
    path = tmp_path / "S" / "search.json"
    identity = runs.read_json(path)
    identity["space"]["vary"] = "kernels"
    runs.write_json(path, identity)
    with pytest.raises(UserError, match='space: vary: "kernels" is none of widths, expansion, '):
        read_search(tmp_path / "S")


def test_other_expansions_inherit_from_a_trained_network(tmp_path):
    torch.manual_seed(0)
    spec = SPACE.of([8, 8, 8, 10, 12])
    space = dataclasses.replace(SPACE, network=spec, vary="expansions")
    model = Network(spec).eval()
    images = torch.randn(4, 3, 32, 32)
    wider = inherit(model, space.of([8, 9, 9, 12, 12], [6, 7, 8, 9, 10]))
    # What is nowhere narrower gives the same logits.
    torch.testing.assert_close(wider(images), model(images), atol=1e-4, rtol=1e-4)
    narrower = space.of([8, 8, 8, 10, 12], [6, 4, 4, 3, 2])
    assert inherit(model, narrower, images=images).spec == narrower
    save_pretrained(model, tmp_path / "model")
    config = config_in(
        tmp_path, init=str(tmp_path / "model"), vary="expansions", fill=0.6, trials=2, epochs=1
    )
    assert job.run(config, lambda progress: None, make_executor=inline) == 2
    rows = read(tmp_path / "S")
    assert {row["state"] for row in rows} == {"complete"}
    assert any(row["expansions"] != [6] * 5 for row in rows)
