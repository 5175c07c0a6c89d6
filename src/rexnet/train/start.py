"""The network that a training starts from: with new weights, with trained ones, or inherited."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rexnet import runs
from rexnet.data.image_sets import Images
from rexnet.nn.classifiers import Classifier
from rexnet.nn.create import create_model
from rexnet.nn.model_folder import TimmModel
from rexnet.nn.network import Network
from rexnet.nn.sources import find, find_start, find_weights, resolve
from rexnet.runs.progress import OnProgress
from rexnet.spec import NetSpec
from rexnet.structure import same_widths
from rexnet.train.config import MARK, TrainConfig
from rexnet.train.images import Data
from rexnet.train.inherited import inherited
from rexnet.train.recipe import Recipe, adapted
from rexnet.train.run_folder import held_preprocessing
from rexnet.train.timm_models import timm_network


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training starts from.

    Attributes:
        model: The classifier.
        inherited: What it was inherited from, for ``train.json``; empty if it was not.
        has_new_classifier: Whether its classifier has random weights.
    """

    model: Classifier
    inherited: Mapping[str, Any]
    has_new_classifier: bool


MakeStart = Callable[[TrainConfig, Recipe, Data[Images]], Start]
"""Gives the network that a training starts from: ``starting_network``, or one of one's own."""


def starting_network(
    config: TrainConfig,
    recipe: Recipe,
    data: Data[Images],
    on_progress: OnProgress = lambda progress: None,
) -> Start:
    """Return the network to train, with new weights, trained ones, or inherited ones.

    Args:
        config: What to train.
        recipe: How.
        data: The images.
        on_progress: Called with what inheriting will take, before it begins.

    Raises:
        UserError: The network is unknown, or the weights cannot be had or do not fit.
    """
    known = find(config.model).timm
    if known is not None:
        return _of_timm(known, config, recipe, data.train.classes)
    weights = config.start(recipe)
    spec = adapted(resolve(config.model, weights), recipe)
    spec = dataclasses.replace(spec, num_classes=len(data.train.classes))
    folder = Path(config.out)
    # The weights to start from may be gone when a checkpoint has taken their place.
    held = held_preprocessing(folder)
    given = None if held else weights
    torch.manual_seed(config.seed)
    if given is not None and _is_other(given, spec):
        start = _inherited(given, spec, recipe, data.train, on_progress)
    else:
        start = _loaded(given, spec, recipe, config.seed)
        before = runs.read_json(folder / MARK) if held else {}
        start = dataclasses.replace(start, inherited=before.get("inherited", {}))
    model = start.model
    model.preprocessing = held or dataclasses.replace(
        model.preprocessing,
        resolution=recipe.resolution or model.preprocessing.resolution,
        crop=recipe.eval_crop or model.preprocessing.crop,
    )
    model.classes = data.train.classes
    return start


def _of_timm(
    known: TimmModel, config: TrainConfig, recipe: Recipe, classes: tuple[str, ...]
) -> Start:
    model = timm_network(known, config, recipe, classes)
    weights = config.start(recipe)
    given = None if weights in (None, "timm") else find_weights(weights).timm
    is_new = weights is None or (given or known).num_classes != len(classes)
    return Start(model=model, inherited={}, has_new_classifier=is_new)


def _is_other(weights: str, spec: NetSpec) -> bool:
    source = find_start(weights, spec).spec
    return source is not None and not same_widths(source, spec)


def _inherited(
    weights: str, spec: NetSpec, recipe: Recipe, images: Images, on_progress: OnProgress
) -> Start:
    made, found = inherited(weights, spec, images, on_progress=on_progress)
    model = Network(spec, recipe.drop_path)
    model.load_state_dict(made.state_dict())
    model.preprocessing = made.preprocessing
    is_new = found["num_classes"] != spec.num_classes
    return Start(model=model, inherited=found, has_new_classifier=is_new)


def _loaded(weights: str | None, spec: NetSpec, recipe: Recipe, seed: int) -> Start:
    classes = spec.num_classes
    model = create_model(spec, weights, num_classes=classes, drop_path=recipe.drop_path)
    torch.manual_seed(seed)
    fresh = Network(spec).classifier
    # Only the same draw gives the same weights.
    is_new = all(map(torch.equal, model.classifier.parameters(), fresh.parameters()))
    return Start(model=model, inherited={}, has_new_classifier=is_new)
