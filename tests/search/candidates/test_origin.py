import dataclasses

import numpy as np
import pytest
import torch
from candidates import SPEC, assert_same_weights

from rexnet.nn.network import Network
from rexnet.nn.sources import Weights
from rexnet.nn.weights import save_weights
from rexnet.search.candidates.origin import NUM_IMAGES, read_origin, some_of

pytestmark = pytest.mark.numeric


def saved(folder, spec=SPEC, seed=0):
    """Write the weights of a network and return both."""
    torch.manual_seed(seed)
    model = Network(spec).eval()
    save_weights(model, folder / "a.safetensors")
    return model, read_origin(Weights(path=folder / "a.safetensors"), spec)


def test_a_network_of_the_same_widths_is_the_origin(tmp_path):
    model, origin = saved(tmp_path)
    images = np.random.default_rng(0).normal(0, 1, (8, 8, 8, 3)).astype(np.float32)
    assert_same_weights(origin.inherited(SPEC, images), model)


def test_the_digest_changes_with_a_weight_and_with_the_network(tmp_path):
    _, origin = saved(tmp_path)
    assert saved(tmp_path)[1].digest == origin.digest
    assert saved(tmp_path, seed=1)[1].digest != origin.digest
    other = dataclasses.replace(origin, spec=dataclasses.replace(SPEC, stem_act="silu"))
    assert other.digest != origin.digest


def test_images_are_normalised_as_the_origins(tmp_path):
    _, origin = saved(tmp_path)
    origin = dataclasses.replace(origin, mean=(0.5, 0.4, 0.2), std=(0.1, 0.2, 1.0))
    mean, std = origin.statistics
    np.testing.assert_allclose(mean, [127.5, 102, 51])
    np.testing.assert_allclose(std, [25.5, 51, 255])


@pytest.mark.parametrize("count", [1, 200, 256, 1000])
def test_images_to_inherit_with_are_spread_over_all(count):
    images = np.arange(count, dtype=np.uint16).reshape(count, 1, 1, 1)
    found = some_of(images).ravel()
    assert len(found) == min(count, NUM_IMAGES)
    assert (found[0], found[-1]) == (0, count - 1)
    assert len(set(found.tolist())) == len(found)
