import numpy as np
import pytest
from clocks import made_up
from toys import SPACE

from rexnet import NetSpec, families
from rexnet.budget import Budget, Count, LatencyBudget
from rexnet.cost import layers
from rexnet.latency import (
    MULTIPLE,
    Limit,
    Predictor,
    fitted,
    largest,
    median_error,
    scaled,
    work,
)
from rexnet.nn.fast import padded
from rexnet.search.config import PRESETS
from rexnet.search.space import Space, sample

B = Space(
    num_blocks=9,
    num_classes=10,
    resolution=32,
    budget=Budget(
        params=Count(PRESETS["b"].params), macs=Count(PRESETS["b"].macs), count_classifier=False
    ),
)


def predictor_of(specs, error=0.01):
    costs = fitted(specs, [made_up(spec) for spec in specs])
    return Predictor(
        device={"threads": 2}, costs=costs, num_measured=len(specs), num_held_out=9, error=error
    )


def test_work_is_that_of_the_cost_model_where_widths_are_filled():
    # Multiples of 16 are filled already.
    spec = families.search_network((16, 32, 48), 10, 32)
    rows = layers(spec)
    found = work(spec)
    assert sum(found.values()) - 1 == sum(row.macs for row in rows)
    depthwise = sum(row.macs for row in rows if row.name.endswith("depthwise"))
    assert sum(v for k, v in found.items() if k.startswith("depthwise")) == depthwise
    assert work(families.search_network((15, 30, 33), 10, 32)) == work(
        families.search_network((16, 32, 48), 10, 32)
    )


def test_costs_are_found_again_on_networks_that_were_not_fitted():
    specs = sample(B, 33)
    assert len({spec.spec_id for spec in specs}) == 33
    predictor = predictor_of(specs[:24])
    held_out = specs[24:]
    predicted = [predictor.predict(spec) for spec in held_out]
    assert median_error(predicted, [made_up(spec) for spec in held_out]) < 0.01


def test_noise_of_a_few_percent_does_not_throw_the_fit_off():
    specs = sample(B, 33)
    generator = np.random.default_rng(1)
    noisy = [made_up(spec) * generator.uniform(1, 1.04) for spec in specs[:24]]
    costs = fitted(specs[:24], noisy)
    predictor = Predictor(device={}, costs=costs, num_measured=24, num_held_out=0, error=None)
    errors = [abs(predictor.predict(spec) / (1.02 * made_up(spec)) - 1) for spec in specs[24:]]
    assert np.median(errors) < 0.03


def test_a_single_network_is_predicted_as_it_was_measured():
    spec = SPACE.template
    assert predictor_of([spec]).predict(spec) == pytest.approx(made_up(spec))


def test_a_predictor_tells_how_far_it_is_off_and_has_a_digest():
    predictor = predictor_of(sample(SPACE, 8))
    assert predictor_of(sample(SPACE, 7)).digest != predictor.digest
    assert predictor.told() == (
        "fastest rounds are predicted within 1.0 % (median of 9 held-out networks)"
    )


def test_the_excess_is_what_passes_the_budget():
    spec = sample(SPACE, 1)[0]
    predictor = predictor_of([spec])
    time = predictor.predict(spec)
    limit = Limit(budget=LatencyBudget(f"{time / 1.25:.6f}ms@openvino"), predictor=predictor)
    assert limit.excess(spec) == pytest.approx(0.25, abs=1e-4)
    limit = Limit(budget=LatencyBudget(f"{1.01 * time:.6f}ms@openvino"), predictor=predictor)
    assert limit.excess(spec) == 0


def test_the_largest_multiple_inside_is_found_and_none_where_there_is_none():
    spec = families.search_network((16, 32, 48), 10, 32)
    multiples = [number / 100 for number in range(1, 301)]

    def family(multiple):
        return scaled(spec, spec.widths, multiple)

    found = largest(family, multiples, made_up, 1.2 * made_up(spec))
    assert made_up(family(found)) <= 1.2 * made_up(spec)
    assert all(made_up(family(m)) > 1.2 * made_up(spec) for m in multiples if m > found)
    assert largest(family, multiples, made_up, 0.1) is None
    assert family(1.0) == spec
    assert min(family(0.01).widths) == 1
    assert isinstance(family(1.0), NetSpec)


def test_widths_are_filled_up_as_in_exported_networks():
    assert MULTIPLE == padded.MULTIPLE
