import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as Reference

from rexnet.search.surface import model
from rexnet.search.surface.model import fit_surface


def shapes(generator, count, num_blocks=5):
    """Return log widths of random non-falling networks of one mean."""
    steps = generator.dirichlet(np.ones(num_blocks), count)
    widths = np.cumsum(steps, 1)
    return np.log(45 * widths / widths.mean(1, keepdims=True))


def truth(features):
    """Return a smooth accuracy: best at a slope between flat and steep."""
    slope = features[:, -1] - features[:, 0]
    return 0.7 - 0.01 * (slope - 1.0) ** 2 + 0.02 * (features[:, 2] - 3.5)


def test_surface_ranks_networks_that_it_has_not_seen():
    generator = np.random.default_rng(0)
    trained, unseen = shapes(generator, 32), shapes(generator, 300)
    noise = truth(unseen).std()
    scores = truth(trained) + noise * generator.standard_normal(32)
    predicted = fit_surface(trained, scores).predict(unseen).mean
    alone = truth(unseen) + noise * generator.standard_normal(300)
    by_surface, by_training = (
        np.corrcoef(found, truth(unseen))[0, 1] for found in (predicted, alone)
    )
    assert by_surface > by_training + 0.1


def test_each_ridge_is_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(model, "PENALTIES", np.array([0.3]))
    monkeypatch.setattr(model, "CURVATURES", (0.5,))
    generator = np.random.default_rng(1)
    trained, unseen = shapes(generator, 30), shapes(generator, 50)
    scores = truth(trained) + 0.005 * generator.standard_normal(30)
    surface = fit_surface(trained, scores)

    def terms(features):
        return model._terms((features - surface.centre) / surface.scale, 0.5)

    reference = Reference(alpha=0.3).fit(terms(trained), scores)
    np.testing.assert_allclose(
        surface.predict(unseen).mean, reference.predict(terms(unseen)), atol=1e-10
    )
    for number in range(5):
        rest = np.arange(30) != number
        reference.fit(terms(trained)[rest], scores[rest])
        expected = reference.predict(terms(trained)[number : number + 1])[0]
        assert surface.left_out[number] == pytest.approx(expected, abs=1e-10)


def test_intervals_hold_what_they_say():
    generator = np.random.default_rng(2)
    inside = []
    for _ in range(40):
        trained, unseen = shapes(generator, 24), shapes(generator, 100)
        scores = truth(trained) + 0.005 * generator.standard_normal(24)
        surface = fit_surface(trained, scores)
        gain, wanted = surface.gain(unseen, trained[0]), truth(unseen) - truth(trained[:1])
        inside.append(np.abs(gain.mean - wanted) < 2 * gain.error)
    assert 0.88 < np.mean(inside) < 0.995


def test_noise_is_that_of_the_trainings():
    generator = np.random.default_rng(3)
    trained = shapes(generator, 200)
    surface = fit_surface(trained, truth(trained) + 0.005 * generator.standard_normal(200))
    assert 0.004 < surface.noise < 0.006
    assert 150 < surface.freedom < 199


def test_where_all_are_alike_no_gain_is_sure():
    generator = np.random.default_rng(4)
    trained = shapes(generator, 32)
    surface = fit_surface(trained, 0.7 + 0.005 * generator.standard_normal(32))
    gain = surface.gain(trained, trained[0])
    assert np.mean(np.abs(gain.mean) < 2 * gain.error + 1e-12) > 0.9
    assert gain.error.max() > 0


@given(st.integers(3, 40), st.integers(1, 12), st.integers(0, 100))
@settings(max_examples=40)
def test_any_number_of_networks_and_blocks(count, blocks, seed):
    generator = np.random.default_rng(seed)
    trained, scores = generator.standard_normal((count, blocks)), generator.random(count)
    surface = fit_surface(trained, scores)
    for found in (surface.predict(trained), surface.gain(trained, trained[0])):
        assert np.isfinite(found.mean).all()
        assert np.isfinite(found.error).all()
    assert surface.gain(trained[:1], trained[0]).mean == pytest.approx(0, abs=1e-9)
    assert np.isfinite(surface.left_out).all()


def test_equal_scores_and_equal_networks():
    same = np.zeros((5, 3))
    assert fit_surface(same, np.arange(5.0)).predict(same[:1]).mean == pytest.approx(2.0)
    generator = np.random.default_rng(5)
    flat = fit_surface(shapes(generator, 8), np.full(8, 0.5))
    assert flat.predict(shapes(generator, 4)).mean == pytest.approx(np.full(4, 0.5))


def test_order_of_networks_does_not_matter():
    generator = np.random.default_rng(6)
    trained, scores = shapes(generator, 20), generator.random(20)
    order = generator.permutation(20)
    first = fit_surface(trained, scores).predict(trained).mean
    second = fit_surface(trained[order], scores[order]).predict(trained).mean
    np.testing.assert_allclose(first, second, atol=1e-10)
