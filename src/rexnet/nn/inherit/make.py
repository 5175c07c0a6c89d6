"""A network of other widths from a trained one."""

import copy
import dataclasses

import torch
from torch import Tensor

from rexnet.errors import UserError, closest
from rexnet.nn.inherit.coupling import couple
from rexnet.nn.inherit.cut import copy_channels, copy_classifier
from rexnet.nn.inherit.importance import IMPORTANCES, Importance
from rexnet.nn.inherit.observe import observe
from rexnet.nn.inherit.settle import Settling
from rexnet.nn.network import Network
from rexnet.spec import NetSpec
from rexnet.structure import check_structure

WITH_IMAGES, WITHOUT_IMAGES = "activation", "norm"
"""The importance by default (docs/inheritance.md has what was measured)."""


def inherit(
    model: Network,
    spec: NetSpec,
    *,
    images: Tensor | None = None,
    importance: str | None = None,
    keep_classifier: bool = False,
    refit: bool = True,
) -> Network:
    """Return the network of ``spec`` with the weights of a trained one of other widths.

    Where ``spec`` is narrower, the channels that matter most are kept; where it is wider, new ones
    are added that change nothing yet: a network that is nowhere narrower gives the same logits, to
    rounding. New weights are drawn from torch's generator. With images, batch norms are given their
    statistics and 1x1 convolutions are refitted to what the whole network gives, layer by layer,
    wherever something was left out before them.

    The classifier is kept, and with it the names of classes, where their number is the same; else
    it is new.

    Args:
        model: The trained network; it stays as it is.
        spec: Any widths, expansions, squeezes, classes, dropout and resolution; the rest is the
            structure, which has to be the model's: so has where blocks add their input.
        images: A few hundred preprocessed images (N, channels, H, W), better of the data to be
            trained on, of the resolution of ``spec``.
        importance: A name of ``IMPORTANCES``; by default ``activation`` with images, else ``norm``.
        keep_classifier: Of fewer classes keep the first rows.
        refit: Whether weights are refitted to images, or statistics refreshed only.

    Returns:
        The network in eval mode, with the preprocessing of the model, at another resolution if the
        specs differ in it.

    Raises:
        UserError: The structure differs, there are more classes to keep than the model has, the
            images are not such a batch, or the importance is unknown or needs images.
    """
    check_structure(model.spec, spec)
    _check_classes(model.spec, spec, keep_classifier)
    if images is not None:
        _check_images(model.spec, images)
    chosen = _importance(importance, images)
    source = copy.deepcopy(model).requires_grad_(True).eval()
    made = Network(spec).to(model.stem.conv.weight).eval()
    observed = None if images is None else observe(source, images)
    with torch.no_grad():
        maps = None if observed is None else observed.maps
        slots = couple(model.spec, spec, chosen.score(source, images, maps))
        copy_channels(made, source, slots)
    if keep_classifier or spec.num_classes == model.num_classes:
        copy_classifier(made, source, slots.features)
        made.classes = model.classes[: spec.num_classes]
    if images is not None and observed is not None:
        settling = Settling(made, source, slots, observed, refits=refit)
        settling.run(images)
    made.preprocessing = model.preprocessing
    if spec.resolution != model.spec.resolution:
        changed = dataclasses.replace(model.preprocessing, resolution=spec.resolution)
        made.preprocessing = changed
    return made


def _importance(name: str | None, images: Tensor | None) -> Importance:
    """Return the importance of a name, or the default.

    Raises:
        UserError: There is none, or it needs images and there are none.
    """
    name = name or (WITHOUT_IMAGES if images is None else WITH_IMAGES)
    if name not in IMPORTANCES:
        raise UserError(
            f"importance {name!r} is not one of {', '.join(IMPORTANCES)}"
            f"{closest(name, IMPORTANCES)}"
        )
    if images is None and IMPORTANCES[name].needs_images:
        raise UserError(f"importance {name!r} needs images; give some, or take {WITHOUT_IMAGES!r}")
    return IMPORTANCES[name]


def _check_classes(source: NetSpec, spec: NetSpec, keep_classifier: bool) -> None:
    """Check that a classifier that is kept has the rows.

    Raises:
        UserError: It has not.
    """
    if keep_classifier and spec.num_classes > source.num_classes:
        raise UserError(
            f"{spec.name} has {spec.num_classes} classes, {source.name} {source.num_classes}: "
            "a kept classifier has at most as many; give fewer classes, or do not keep it"
        )


def _check_images(spec: NetSpec, images: Tensor) -> None:
    """Check that images are a batch of preprocessed ones.

    Raises:
        UserError: They are not.
    """
    if images.ndim != 4 or images.shape[1] != spec.in_channels or not images.is_floating_point():
        raise UserError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; {spec.name} takes floats "
            f"of shape (N, {spec.in_channels}, H, W)"
        )
    if len(images) < 2:
        raise UserError(f"{len(images)} image has no statistics; give a few hundred")
