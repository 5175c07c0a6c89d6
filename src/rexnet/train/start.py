"""The network that a training starts from: with new weights, with trained ones, or inherited."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from rexnet import runs
from rexnet.data.image_sets import Images
from rexnet.nn.create import create_model
from rexnet.nn.network import Network
from rexnet.nn.sources import find_start, resolve
from rexnet.spec import NetSpec
from rexnet.structure import same_widths
from rexnet.train.config import MARK, TrainConfig
from rexnet.train.images import Data
from rexnet.train.inherited import inherited
from rexnet.train.recipe import Recipe, adapted
from rexnet.train.run_folder import held_preprocessing


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
        made, found = inherited(weights, spec, data.train)
        model = Network(spec, recipe.drop_path)
        model.load_state_dict(made.state_dict())
        model.preprocessing = made.preprocessing
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
