import dataclasses
import pickle

import numpy as np
import pytest
import torch
from candidates import PROTOCOL, SPEC, assert_same_weights, toy_images

from rexnet import UserError, create_model
from rexnet.data import in_memory as image_sets
from rexnet.families import search_network
from rexnet.nn.sources import Weights
from rexnet.nn.weights import save_weights
from rexnet.search.candidates.cpu import train_candidate
from rexnet.search.candidates.evaluator import Evaluator, trainer
from rexnet.search.candidates.origin import read_origin
from rexnet.search.candidates.protocol import Protocol, Pruned

pytestmark = pytest.mark.numeric


def trained(images, seed, scores=None):
    """Train SPEC under PROTOCOL; append the scores on the way to ``scores``."""

    def on_epoch(epoch, score):
        if scores is not None:
            scores.append(score())

    return train_candidate(SPEC, images, PROTOCOL, seed=seed, on_epoch=on_epoch)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_evaluator_trains_once_a_repeat_with_rising_seeds_and_keeps_the_first_weights(
    tmp_path, repeats
):
    images, shares, path = toy_images(), [], tmp_path / "0.safetensors"
    protocol = dataclasses.replace(PROTOCOL, repeats=repeats, seed=5)
    evaluation = Evaluator(images=images, protocol=protocol)(SPEC, path, shares.append)
    ours = [trained(images, seed) for seed in (5, 6, 7)[:repeats]]
    assert evaluation.outcomes == tuple(outcomes for _, outcomes in ours)
    assert evaluation.accuracies == tuple(outcomes.top1 for _, outcomes in ours)
    assert evaluation.seconds > 0
    assert_same_weights(create_model(SPEC, weights=path), ours[0][0])
    np.testing.assert_allclose(shares, np.arange(1, 2 * repeats + 1) / (2 * repeats))


def test_only_a_pruning_search_hears_of_accuracies_on_the_way_and_of_the_first_repeat_alone(
    tmp_path,
):
    images, scores, heard = toy_images(), [], []
    trained(images, 0, scores)
    protocol = dataclasses.replace(PROTOCOL, repeats=2)
    evaluate = Evaluator(images=images, protocol=protocol, prunes=True)
    evaluate(SPEC, tmp_path / "0.safetensors", lambda *told: heard.append(told))
    assert heard == [(0.25, 1, scores[0]), (0.5,), (0.75,), (1.0,)]


def test_a_training_that_is_pruned_ends_and_leaves_no_weights(tmp_path):
    def stop(share, epoch, accuracy):
        raise Pruned(epoch, accuracy)

    evaluate = Evaluator(images=toy_images(), protocol=PROTOCOL, prunes=True)
    with pytest.raises(Pruned, match="pruned after epoch 1 at"):
        evaluate(SPEC, tmp_path / "0.safetensors", stop)
    assert list(tmp_path.iterdir()) == []


def test_the_evaluator_trains_on_a_slice_of_the_sample_and_writes_its_weights(tmp_path):
    sample = image_sets.load("sample")
    chosen = np.r_[:192, 4000:4064]
    images = dataclasses.replace(
        sample,
        images=sample.images[chosen, ::2, ::2],
        labels=sample.labels[chosen],
        held_out=sample.held_out[chosen],
    )
    spec = dataclasses.replace(search_network((8, 12, 16), 10, 16), penultimate_width=64)
    evaluate = Evaluator(images=images, protocol=Protocol(epochs=1, batch_size=32, repeats=2))
    path = tmp_path / "candidates" / "3.safetensors"
    evaluation = evaluate(spec, path, lambda share: None)
    assert len(evaluation.accuracies) == 2
    model = create_model(spec, weights=path)
    trained, outcomes = train_candidate(
        spec, images, evaluate.protocol, seed=0, on_epoch=lambda epoch, score: None
    )
    assert_same_weights(model, trained)
    assert outcomes == evaluation.outcomes[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_named():
    with pytest.raises(UserError, match=r"--device cuda: torch .* finds no GPU here"):
        trainer("cuda")


def test_candidates_that_inherit_start_from_what_another_has_learnt(tmp_path):
    images = toy_images()
    long = dataclasses.replace(PROTOCOL, epochs=15)
    model, outcomes = train_candidate(
        SPEC, images, long, seed=0, on_epoch=lambda epoch, score: None
    )
    assert outcomes.top1 > 0.9
    save_weights(model, tmp_path / "learnt.safetensors")
    origin = read_origin(Weights(path=tmp_path / "learnt.safetensors"), SPEC)
    origin = dataclasses.replace(origin, mean=(0.5,) * 3, std=(0.25,) * 3)
    known = dataclasses.replace(images, statistics=origin.statistics)
    few = dataclasses.replace(PROTOCOL, epochs=1, lr=1e-3, init=origin.digest)
    narrow = SPEC.with_widths((8, 8, 10))
    evaluate = Evaluator(images=known, protocol=few, origin=origin)
    # It goes to other processes with the evaluator.
    evaluate = pickle.loads(pickle.dumps(evaluate))
    found = evaluate(narrow, tmp_path / "0.safetensors", lambda share: None)
    new = Evaluator(images=known, protocol=few)
    without = new(narrow, tmp_path / "1.safetensors", lambda share: None)
    assert found.accuracies[0] > 0.9 > without.accuracies[0]
