"""Trained models in and out: model folders, the hub, timm's weights and the official ones.

A model folder holds ``config.json`` and ``model.safetensors``, as a repository of the hub does. The
config has timm's field names where timm has them, and the NetSpec under ``spec``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rexnet.errors import UserError
from rexnet.nn.download import cached, download
from rexnet.nn.model_folder import CONFIG, WEIGHTS, ModelConfig, read_config
from rexnet.nn.network import Network
from rexnet.nn.sources import timm_repository, weights_at
from rexnet.nn.weights import load_weights, read_spec, save_weights
from rexnet.preprocessing import Preprocessing
from rexnet.runs import write_json


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of weights and what belongs to them, as far as it is known."""

    weights: Path
    config: ModelConfig | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()


def save_pretrained(model: Network, folder: str | Path) -> None:
    """Write a model folder, ``model.safetensors`` and ``config.json``, for ``load_model``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    folder, spec = Path(folder), model.spec
    config: dict[str, Any] = {
        "architecture": spec.name,
        "num_classes": spec.num_classes,
        "num_features": model.classifier.in_features,
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
            ``model`` in it, ``hf:USER/REPO`` for one on the hub (``hf:USER/REPO@REVISION`` for a
            certain state of it), or a ``.safetensors`` file that carries its spec; such a file has
            neither preprocessing nor class names.

    Raises:
        UserError: The source cannot be read or downloaded, or holds no model of a known network.
    """
    found = _find(source)
    model = Network(found.config.spec if found.config else read_spec(found.weights))
    load_weights(model, found.weights)
    _describe(model, found)
    return model.eval()


def load_into(
    model: Network,
    weights: str | Path,
    *,
    new_classifier: bool = False,
    adapt_input: bool = False,
) -> None:
    """Load weights, preprocessing and class names into ``model``; see ``create_model``.

    Raises:
        UserError: The weights cannot be had or do not fit; ``model`` is then as it was.
    """
    if weights == "timm":
        repository = timm_repository(model.spec)
        source = _open(cached(repository) or download(repository))
    else:
        source = _find(weights)
    load_weights(model, source.weights, new_classifier=new_classifier, adapt_input=adapt_input)
    _describe(model, source)


def imagenet_classes() -> tuple[str, ...]:
    """Return a short name for each of the 1000 classes of ImageNet; two of them are cranes."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(names.partition(",")[0] for names in ImageNetInfo().label_descriptions())


def imagenet_ids() -> tuple[str, ...]:
    """Return the WordNet id of each class of ImageNet, such as n01440764, in the same order."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(map(ImageNetInfo().index_to_label_name, range(1000)))


def _describe(model: Network, source: _Source) -> None:
    spec = model.spec
    preprocessing = source.preprocessing or model.preprocessing
    model.preprocessing = preprocessing.with_channels(spec.in_channels)
    # A new classifier has other classes than the weights.
    model.classes = source.classes if len(source.classes) == spec.num_classes else ()


def _find(source: str | Path) -> _Source:
    scheme, _, name = str(source).partition(":")
    if scheme == "hf":
        return _open(download(name))
    path = weights_at(source)
    if scheme == "official":
        return _Source(weights=path, preprocessing=Preprocessing(), classes=imagenet_classes())
    # Given a model folder's file, what lies beside it must not be lost.
    if path.is_dir() or (path.name in WEIGHTS and path.with_name(CONFIG).is_file()):
        return _open(path if path.is_dir() else path.parent)
    return _Source(weights=path)


def _open(folder: Path) -> _Source:
    config = read_config(folder)
    for name in WEIGHTS:
        path = config.path.with_name(name)
        if path.is_file():
            return _Source(
                weights=path,
                config=config,
                preprocessing=config.preprocessing,
                classes=imagenet_classes() if config.of_imagenet else config.classes,
            )
    raise UserError(f"{config.path.parent} holds no weights: neither {' nor '.join(WEIGHTS)}")
