"""A network of other widths from a trained one."""

import copy
import dataclasses

import torch
from torch import Tensor

from rexnet.errors import UserError, closest
from rexnet.nn.inherit.coupling import check_structure, couple
from rexnet.nn.inherit.cut import copy_channels, copy_classifier
from rexnet.nn.inherit.importance import IMPORTANCES
from rexnet.nn.inherit.observe import observe
from rexnet.nn.inherit.settle import settle
from rexnet.nn.network import Network
from rexnet.spec import NetSpec

WITH_IMAGES, WITHOUT_IMAGES = "activation", "expected"
NEED_IMAGES = {"activation", "second_moment", "taylor"}


def inherit(
    model: Network,
    spec: NetSpec,
    *,
    images: Tensor | None = None,
    importance: str | None = None,
    keep_classifier: bool = False,
    refit: bool = True,
    **steps,
) -> Network:
    from rexnet.nn.inherit.settle import Steps
    check_structure(model.spec, spec)
    _check_classes(model.spec, spec, keep_classifier)
    name = importance or (WITHOUT_IMAGES if images is None else WITH_IMAGES)
    if name not in IMPORTANCES:
        raise UserError(
            f"importance {name!r} is not one of {', '.join(IMPORTANCES)}"
            f"{closest(name, IMPORTANCES)}"
        )
    if images is None and name in NEED_IMAGES:
        raise UserError(f"importance {name!r} needs images; give some, or another importance")
    if images is not None:
        _check_images(model.spec, images)
    source = copy.deepcopy(model).eval()
    made = Network(spec).to(model.stem.conv.weight).eval()
    with torch.no_grad():
        observed = None if images is None else observe(source, images)
        scores = IMPORTANCES[name](source, images, observed)
        slots = couple(model.spec, spec, scores)
        copy_channels(made, source, slots)
        if keep_classifier or spec.num_classes == model.spec.num_classes:
            copy_classifier(made, source, slots.features)
            made.classes = model.classes[: spec.num_classes]
        if images is not None and observed is not None and steps.get('settle', True):
            steps.pop('settle', None)
            if not refit:
                steps = dict(expand=False, project=False, penultimate=False, classifier=False)
            settle(made, source, slots, images, observed, Steps(**steps))
    changes = {} if spec.resolution == model.spec.resolution else {"resolution": spec.resolution}
    made.preprocessing = dataclasses.replace(model.preprocessing, **changes)
    return made


def _check_classes(source: NetSpec, spec: NetSpec, keep_classifier: bool) -> None:
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
        raise UserError(f"{len(images)} images have no statistics; give a few hundred")
