import pytest
from one_by_one import train_here
from runs_of_toys import QUICK

from rexnet import NetSpec, UserError, runs
from rexnet.studies.config import ActivationStudy
from rexnet.studies.trainings import mean_and_stderr, train_variants


def test_a_mean_has_the_error_of_its_values():
    mean, error = mean_and_stderr([1.0, 2.0, 6.0])
    assert mean == 3
    # The variance is (4 + 1 + 9) / 2.
    assert error == pytest.approx((7 / 3) ** 0.5)
    assert mean_and_stderr([5.0]) == (5, None)


def test_every_variant_is_trained_with_every_seed(here):
    spec = NetSpec.load("toy.json")
    specs = {"plain": spec, "wider": spec.with_widths([w + 2 for w in spec.widths])}
    settings = {"data": "toys.npz", "set": (*QUICK, "epochs=1"), "seeds": 2, "device": "cpu"}
    config = ActivationStudy(**settings, out="S")
    places = train_variants(specs, config, lambda progress: None, train_here)
    assert list(places) == [("plain", 0), ("wider", 0), ("plain", 1), ("wider", 1)]
    for (name, seed), place in places.items():
        assert NetSpec.load(place / "spec.json").widths == specs[name].widths
        assert runs.read_json(place / "train.json")["seed"] == seed
        assert runs.read_json(place / "result.json")["epochs"] == 1


def test_settings_that_cannot_be_used_are_told(here):
    config = ActivationStudy(data="nowhere", seeds=1, device="cpu", out="S")
    with pytest.raises(UserError, match="nowhere"):
        train_variants({"toy": NetSpec.load("toy.json")}, config, lambda progress: None, train_here)
