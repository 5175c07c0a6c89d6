"""Trained models in and out: model folders, the hub, timm's weights and the official ones.

A model folder holds ``config.json`` and ``model.safetensors``, as a repository of the hub does. The
config has timm's field names where timm has them, and the NetSpec under ``spec``.
"""

import dataclasses
from pathlib import Path
from typing import Any

from rexnet.errors import UserError
from rexnet.nn.model_folder import CONFIG, WEIGHTS
from rexnet.nn.network import Network
from rexnet.nn.sources import Weights, find_weights
from rexnet.nn.weights import load_weights, read_spec, save_weights
from rexnet.runs import write_json


def save_pretrained(model: Network, folder: str | Path) -> None:
    """Write a model folder, ``model.safetensors`` and ``config.json``, for ``load_model``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    folder, spec = Path(folder), model.spec
    config: dict[str, Any] = {
        "architecture": spec.name,
        "num_classes": spec.num_classes,
        "num_features": model.num_features,
        "pretrained_cfg": model.preprocessing.to_config(),
        "spec": dataclasses.asdict(spec),
    }
    if model.classes:
        config["label_names"] = list(model.classes)
    save_weights(model, folder / WEIGHTS[0])
    write_json(folder / CONFIG, config)


def load_model(source: str | Path) -> Network:
    """Build a trained model in evaluation mode: spec, weights, preprocessing and class names.

    Args:
        source: A model folder of ``save_pretrained`` or of timm, a run folder with such a folder
            ``model`` in it, the run folder of a search, which gives the best of the networks it
            trained, ``hf:USER/REPO`` for a model folder on the hub (``hf:USER/REPO@REVISION`` for a
            certain state of it), or a ``.safetensors`` file that carries its spec; such a file has
            neither preprocessing nor class names.

    Raises:
        UserError: The source cannot be read or downloaded, or holds no model of a known network.
    """
    weights = find_weights(source)
    if weights.timm is not None:
        raise UserError(
            f"{source} holds timm's {weights.timm.name}, no network of this package; "
            f"timm.create_model('local-dir:{weights.path.parent}', pretrained=True) opens it"
        )
    model = Network(weights.spec or read_spec(weights.path))
    load_into(model, weights)
    return model.eval()


def load_into(
    model: Network,
    weights: Weights,
    *,
    new_classifier: bool = False,
    adapt_input: bool = False,
) -> None:
    """Load weights, preprocessing and class names into ``model``; see ``create_model``.

    Raises:
        UserError: The weights do not fit; ``model`` is then as it was.
    """
    load_weights(model, weights.path, new_classifier=new_classifier, adapt_input=adapt_input)
    spec = model.spec
    preprocessing = weights.preprocessing or model.preprocessing
    model.preprocessing = preprocessing.with_channels(spec.in_channels)
    classes = imagenet_classes() if weights.of_imagenet else weights.classes
    # A new classifier has other classes than the weights.
    model.classes = classes if len(classes) == spec.num_classes else ()


def imagenet_classes() -> tuple[str, ...]:
    """Return a short name for each of the 1000 classes of ImageNet; two of them are cranes."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(names.partition(",")[0] for names in ImageNetInfo().label_descriptions())


def imagenet_ids() -> tuple[str, ...]:
    """Return the WordNet id of each class of ImageNet, such as n01440764, in the same order."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(map(ImageNetInfo().index_to_label_name, range(1000)))
