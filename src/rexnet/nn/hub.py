"""Trained models in and out: model folders, the hub, timm's weights and the official ones.

A model folder holds ``config.json`` and ``model.safetensors``, as a repository of the hub does. The
config has timm's field names where timm has them, and the NetSpec under ``spec``.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rexnet import families
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.nn.sources import (
    CONFIG,
    WEIGHTS,
    cached,
    config_of,
    download,
    timm_repository,
    weights_at,
)
from rexnet.nn.weights import load_weights, read_spec, save_weights
from rexnet.preprocessing import Preprocessing
from rexnet.runs import read_json, write_json
from rexnet.spec import NetSpec


@dataclass(frozen=True, kw_only=True)
class _Config:
    """A ``config.json``, ours or timm's."""

    path: Path
    fields: Mapping[str, Any]

    @property
    def pretrained(self) -> Mapping[str, Any]:
        """What timm calls ``pretrained_cfg``."""
        fields = self.fields.get("pretrained_cfg")
        if not isinstance(fields, dict):
            raise UserError("pretrained_cfg, which says what images need, is missing or no object")
        return fields

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that belongs to the weights."""
        try:
            return Preprocessing.from_config(self.pretrained)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; as timm has it, 1000 without names are those of ImageNet."""
        names, num_classes = self.fields.get("label_names"), self.fields.get("num_classes")
        if names is None and "spec" not in self.fields and num_classes == 1000:
            return imagenet_classes()
        if not isinstance(names, list):
            return ()
        if len(names) != num_classes:
            raise UserError(f"{self.path} has {len(names)} label_names for {num_classes} classes")
        return tuple(map(str, names))

    @property
    def spec(self) -> NetSpec:
        """The network."""
        if "spec" in self.fields:
            return NetSpec.from_json(json.dumps(self.fields["spec"]), str(self.path))
        try:
            return _timm_spec(self.fields, self.pretrained)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of weights and what belongs to them, as far as it is known."""

    weights: Path
    config: _Config | None = None
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


def read_spec_of_folder(folder: Path) -> NetSpec:
    """Return the spec in the config of a model folder, or of a run folder that holds one.

    Raises:
        UserError: There is no config, or it names no known network.
    """
    return _read_config(folder).spec


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
    config = _read_config(folder)
    for name in WEIGHTS:
        path = config.path.with_name(name)
        if path.is_file():
            return _Source(
                weights=path,
                config=config,
                preprocessing=config.preprocessing,
                classes=config.classes,
            )
    raise UserError(f"{config.path.parent} holds no weights: neither {' nor '.join(WEIGHTS)}")


def _read_config(folder: Path) -> _Config:
    path = config_of(folder)
    fields = read_json(path)
    if not isinstance(fields, dict) or not {"spec", "architecture"} & fields.keys():
        raise UserError(f"{path} describes no model: it has no spec and no architecture")
    if fields.get("architecture") == "ssdlite":
        raise UserError(f"{path} describes a detector, no classifier; see `rexnet detect`")
    return _Config(path=path, fields=fields)


def _timm_spec(config: Mapping[str, Any], pretrained: Mapping[str, Any]) -> NetSpec:
    """Return the ReXNet that a config of timm's names.

    Raises:
        UserError: It is another network, or has arguments that change it in unknown ways.
    """
    match = re.fullmatch(r"rexnet_(\d{3})", str(config["architecture"]))
    if not match:
        raise UserError(
            f"architecture {config['architecture']!r} is unknown; of timm's, rexnet_100 and the "
            "like can be read"
        )
    given = config.get("model_args")
    arguments: dict[str, Any] = {"global_pool": "avg"}
    arguments |= given if isinstance(given, dict) else {}
    width = arguments.pop("width_mult", int(match[1]) / 100)
    preprocessing = Preprocessing.from_config(pretrained)
    spec = dataclasses.replace(
        families.get(f"rexnet_{width}"),
        num_classes=config.get("num_classes", 1000),
        in_channels=arguments.pop("in_chans", preprocessing.num_channels),
        dropout=arguments.pop("drop_rate", 0.2),
        resolution=preprocessing.resolution,
    )
    for name in ("num_classes", "drop_path_rate"):
        arguments.pop(name, None)
    if arguments != {"global_pool": "avg"}:
        raise UserError(f"model_args {arguments} build a network that is not known here")
    return spec
