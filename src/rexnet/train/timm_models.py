"""Classifiers of timm to be trained by our recipes."""

import dataclasses
from pathlib import Path

import torch

from rexnet.errors import UserError
from rexnet.nn.classifiers import params_and_macs
from rexnet.nn.model_folder import TimmModel
from rexnet.nn.timm_models import TimmNetwork, create_timm
from rexnet.train.config import TrainConfig
from rexnet.train.recipe import Recipe
from rexnet.train.run_folder import held_preprocessing


def timm_network(
    known: TimmModel, config: TrainConfig, recipe: Recipe, classes: tuple[str, ...]
) -> TimmNetwork:
    """Return the classifier of timm to train, with new weights or those to start from.

    Args:
        known: What to build.
        config: Names the weights, the run folder and the seed.
        recipe: Its resolution, dropout and stochastic depth.
        classes: Of the images.

    Raises:
        UserError: timm cannot build it so, or the weights cannot be had or do not fit.
    """
    weights = config.start(recipe)
    # The weights to start from may be gone when a checkpoint has taken their place.
    held = held_preprocessing(Path(config.out))
    torch.manual_seed(config.seed)
    model = create_timm(
        known,
        None if held else weights,
        num_classes=len(classes),
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        resolution=recipe.resolution,
    )
    model.preprocessing = held or dataclasses.replace(
        model.preprocessing,
        resolution=recipe.resolution or model.preprocessing.resolution,
        crop=recipe.eval_crop or model.preprocessing.crop,
    )
    model.classes = classes
    _check_size(model)
    return model


def _check_size(model: TimmNetwork) -> None:
    """Check that a model can compute an image of its resolution, by doing so.

    Raises:
        UserError: It cannot.
    """
    try:
        params_and_macs(model)
    except Exception as error:  # noqa: BLE001 (each model tells in its own way what is wrong)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        side = model.preprocessing.resolution
        raise UserError(f"{model.name} cannot compute {side} pixels: {reason}") from None
