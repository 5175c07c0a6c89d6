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
from rexnet.nn import timm_names
from rexnet.preprocessing import Preprocessing
from rexnet.runs import read_json
from rexnet.spec import NetSpec

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


OWN = re.compile(r"rexnet_(\d{3})|tf_(efficientnet_lite\d)")
"""Names of timm's that stand for networks of this package."""

ARGUMENTS_OF_LOADING = frozenset(
    ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
)
"""Arguments of ``timm.create_model`` that read files; a config may not give them."""


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """A classifier of timm as data: what ``timm.create_model`` builds it from.

    Attributes:
        name: timm's, with a tag where weights are meant.
        num_classes: The number of logits; None: as many as timm's weights have.
        arguments: What changes it.
    """

    name: str
    num_classes: int | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
    def timm(self) -> TimmModel | None:
        """The model of timm; None if it is a network of this package, or of nobody's.

        Raises:
            UserError: Its arguments are more than those of a model.
        """
        name, given = self.fields.get("architecture"), self.fields.get("model_args")
        if "spec" in self.fields or not isinstance(name, str) or OWN.fullmatch(name):
            return None
        if not timm_names.is_known(name):
            return None
        arguments = dict(given) if isinstance(given, dict) else {}
        num_classes = self.fields.get("num_classes", arguments.pop("num_classes", None))
        wrong = ARGUMENTS_OF_LOADING & arguments.keys()
        if wrong:
            raise UserError(f"{self.path}: model_args may not hold {', '.join(sorted(wrong))}")
        if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 0):
            raise UserError(f"{self.path}: num_classes {num_classes!r} must be a whole number")
        return TimmModel(name=name, num_classes=num_classes, arguments=arguments)

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
    match = OWN.fullmatch(str(config["architecture"]))
    if not match:
        raise UserError(f"architecture {config['architecture']!r} is unknown, here and to timm")
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
