"""A network of other widths from trained weights, settled on images of a folder."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rexnet import cost
from rexnet.data.image_sets import Images
from rexnet.data.loader import stacked
from rexnet.data.sources import open_images
from rexnet.data.survey import OnSurvey
from rexnet.data.transforms import evaluation_transform
from rexnet.nn.hub import load_into
from rexnet.nn.inherit import inherit
from rexnet.nn.inherit.needs import needs
from rexnet.nn.network import Network
from rexnet.nn.sources import find_start
from rexnet.preprocessing import Preprocessing
from rexnet.runs.progress import OnProgress, Progress
from rexnet.spec import NetSpec
from rexnet.train.distributed import World
from rexnet.train.images import sound

NUM_PIXELS = 512 * 160**2
"""Pixels of all images together from which an inherited network takes its statistics."""

NUM_IMAGES = (128, 512)
"""Fewest and most of these images, where there are as many."""


def run(
    weights: str,
    spec: NetSpec,
    data: str | None,
    *,
    keep_classifier: bool,
    on_progress: OnProgress,
    on_survey: OnSurvey,
) -> tuple[Network, dict[str, Any]]:
    """Return what ``inherited`` does with the images to train on that ``data`` names, if any.

    Args:
        weights: What ``create_model`` takes as weights.
        spec: The network to make.
        data: As in training; corrupt images are left out.
        keep_classifier: As in ``rexnet.inherit``.
        on_progress: Called while images are checked, and with what inheriting will take.
        on_survey: Called with what the images are.

    Raises:
        UserError: The weights or the data cannot be had, or the weights are of another structure.
    """
    if data is None:
        return inherited(weights, spec, keep_classifier=keep_classifier)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    found = sound(open_images(data), Path(data), world, True, on_progress, on_survey)
    return inherited(
        weights, spec, found.train, keep_classifier=keep_classifier, on_progress=on_progress
    )


def inherited(
    weights: str,
    spec: NetSpec,
    images: Images | None = None,
    *,
    keep_classifier: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> tuple[Network, dict[str, Any]]:
    """Return a network with weights of a trained one of other widths, and what was done.

    Args:
        weights: What ``create_model`` takes as weights.
        spec: The network to make.
        images: Those to train on, from which statistics come and to which it is refitted.
        keep_classifier: As in ``rexnet.inherit``.
        on_progress: Called with what it will take, before it begins.

    Raises:
        UserError: The weights cannot be had, or are of another structure.
    """
    found = find_start(weights, spec)
    source = Network(found.spec or spec)
    load_into(source, found)
    known = dataclasses.replace(source.preprocessing, resolution=spec.resolution)
    some = None if images is None else sample(images, known)
    if some is not None:
        words = needs(source.spec, spec, len(some)).words
        on_progress(Progress(share=0.0, words=words, line=True))
    made = inherit(source, spec, images=some, keep_classifier=keep_classifier)
    # Of as many classes, so that widths alone make the difference.
    whole = dataclasses.replace(source.spec, num_classes=spec.num_classes)
    its, own = cost.count(whole, spec.resolution), cost.count(spec)
    return made, {
        "weights": weights,
        "network": source.spec.name,
        "spec_id": source.spec.spec_id,
        "num_classes": source.spec.num_classes,
        "params": [its.params, own.params],
        "macs": [its.macs, own.macs],
        "num_images": 0 if some is None else len(some),
    }


def sample(images: Images, preprocessing: Preprocessing) -> Tensor:
    """Return images spread over a set, (N, channels, side, side), as a network is to see them."""
    fewest, most = NUM_IMAGES
    count = min(len(images), most, max(fewest, NUM_PIXELS // preprocessing.resolution**2))
    transform = evaluation_transform(preprocessing)
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return stacked([transform(images.read(int(index))) for index in chosen])
