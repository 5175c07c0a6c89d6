"""A model folder: a ``config.json``, ours or timm's, beside the weights.

Nothing here needs torch.
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
from rexnet.preprocessing import Preprocessing
from rexnet.runs import read_json
from rexnet.spec import NetSpec

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A ``config.json``, ours or timm's."""

    path: Path
    fields: Mapping[str, Any]

    @property
    def is_detector(self) -> bool:
        """Whether it describes a detector, which has no spec of its own."""
        return "backbone" in self.fields

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
    def of_imagenet(self) -> bool:
        """Whether the classes are ImageNet's: as timm has it, 1000 without names are."""
        fields = self.fields
        is_known = "spec" in fields or fields.get("label_names") is not None
        return not is_known and fields.get("num_classes") == 1000

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty if there are none."""
        names, num_classes = self.fields.get("label_names"), self.fields.get("num_classes")
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


def has_config(folder: Path) -> bool:
    """Tell whether a folder is a model folder, or a run folder that holds one."""
    return any(path.is_file() for path in _places(folder))


def config_of(folder: Path) -> Path:
    """Return the config of a model folder, or of a run folder that holds one.

    Raises:
        UserError: There is none.
    """
    for path in _places(folder):
        if path.is_file():
            return path
    raise UserError(f"{folder} holds no model: neither {CONFIG} nor model/{CONFIG}")


def no_classifier(path: Path) -> UserError:
    """Return the error for the config of a detector where a classifier is wanted."""
    return UserError(f"{path} describes a detector, no classifier; see `rexnet detect`")


def read_config(folder: Path) -> ModelConfig:
    """Read the config of a model folder, or of a run folder that holds one.

    Raises:
        UserError: There is none, or it describes no model.
    """
    path = config_of(folder)
    fields = read_json(path)
    if not isinstance(fields, dict) or not {"spec", "architecture"} & fields.keys():
        raise UserError(f"{path} describes no model: it has no spec and no architecture")
    return ModelConfig(path=path, fields=fields)


def _places(folder: Path) -> tuple[Path, Path]:
    return folder / CONFIG, folder / "model" / CONFIG


def _timm_spec(config: Mapping[str, Any], pretrained: Mapping[str, Any]) -> NetSpec:
    """Return the ReXNet that a config of timm's names.

    Raises:
        UserError: It is another network, or has arguments that change it in unknown ways.
    """
    match = re.fullmatch(r"rexnet_(\d{3})|tf_(efficientnet_lite\d)", str(config["architecture"]))
    if not match:
        raise UserError(
            f"architecture {config['architecture']!r} is unknown; of timm's, rexnet_100, "
            "tf_efficientnet_lite0 and the like can be read"
        )
    given = config.get("model_args")
    arguments: dict[str, Any] = {"global_pool": "avg"}
    arguments |= given if isinstance(given, dict) else {}
    name = match[2] or f"rexnet_{arguments.pop('width_mult', int(match[1] or 0) / 100)}"
    preprocessing, known = Preprocessing.from_config(pretrained), families.get(name)
    spec = dataclasses.replace(
        known,
        num_classes=config.get("num_classes", 1000),
        in_channels=arguments.pop("in_chans", preprocessing.num_channels),
        dropout=arguments.pop("drop_rate", known.dropout),
        resolution=preprocessing.resolution,
    )
    for name in ("num_classes", "drop_path_rate"):
        arguments.pop(name, None)
    if arguments != {"global_pool": "avg"}:
        raise UserError(f"model_args {arguments} build a network that is not known here")
    return spec
