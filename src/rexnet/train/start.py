"""The network that a training starts from: with new weights, with trained ones, or inherited."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rexnet import cost, runs
from rexnet.data.image_sets import Images
from rexnet.data.loader import stacked
from rexnet.data.transforms import evaluation_transform
from rexnet.nn.create import create_model
from rexnet.nn.hub import load_into
from rexnet.nn.inherit import inherit
from rexnet.nn.network import Network
from rexnet.nn.sources import find_start, resolve
from rexnet.preprocessing import Preprocessing
from rexnet.spec import NetSpec
from rexnet.structure import same_widths
from rexnet.train.config import MARK, TrainConfig
from rexnet.train.images import Data
from rexnet.train.recipe import Recipe, adapted
from rexnet.train.run_folder import held_preprocessing

NUM_IMAGES = 256
"""Training images from which an inherited network takes its statistics."""


def starting_network(
    config: TrainConfig, recipe: Recipe, data: Data[Images]
) -> tuple[Network, dict[str, Any]]:
    """Return the network to train, and what it was inherited from; nothing if it was not.

    Raises:
        UserError: The network is unknown, or the weights cannot be had or do not fit.
    """
    weights = config.start(recipe)
    spec = adapted(resolve(config.model, weights), recipe)
    torch.manual_seed(config.seed)
    spec = dataclasses.replace(spec, num_classes=len(data.train.classes))
    folder = Path(config.out)
    # The weights to start from may be gone when a checkpoint has taken their place.
    held = held_preprocessing(folder)
    found: dict[str, Any] = {}
    if held is None and weights is not None and _is_other(weights, spec):
        model, found = _inherited(weights, spec, recipe, data.train)
    else:
        start = None if held else weights
        classes = len(data.train.classes)
        model = create_model(spec, start, num_classes=classes, drop_path=recipe.drop_path)
        found = runs.read_json(folder / MARK).get("inherited", {}) if held else {}
    model.preprocessing = held or dataclasses.replace(
        model.preprocessing,
        resolution=recipe.resolution or model.preprocessing.resolution,
        crop=recipe.eval_crop or model.preprocessing.crop,
    )
    model.classes = data.train.classes
    return model, found


def _is_other(weights: str, spec: NetSpec) -> bool:
    source = find_start(weights, spec).spec
    return source is not None and not same_widths(source, spec)


def _inherited(
    weights: str, spec: NetSpec, recipe: Recipe, images: Images
) -> tuple[Network, dict[str, Any]]:
    """Return a network with weights of a trained one of other widths, and what was done."""
    found = find_start(weights, spec)
    assert found.spec is not None
    source = Network(found.spec)
    load_into(source, found)
    known = dataclasses.replace(source.preprocessing, resolution=spec.resolution)
    made = inherit(source, spec, images=sample(images, known))
    model = Network(spec, recipe.drop_path)
    model.load_state_dict(made.state_dict())
    model.preprocessing = made.preprocessing
    # Of as many classes, so that widths alone make the difference.
    whole = dataclasses.replace(source.spec, num_classes=spec.num_classes)
    its, own = cost.count(whole, spec.resolution), cost.count(spec)
    told = {
        "weights": weights,
        "network": source.spec.name,
        "spec_id": source.spec.spec_id,
        "params": [its.params, own.params],
        "macs": [its.macs, own.macs],
        "num_images": min(NUM_IMAGES, len(images)),
    }
    return model, told


def sample(images: Images, preprocessing: Preprocessing) -> Tensor:
    """Return images spread over a set, (N, channels, side, side), as a network is to see them."""
    count = min(NUM_IMAGES, len(images))
    transform = evaluation_transform(preprocessing)
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return stacked([transform(images.read(int(index))) for index in chosen])
