"""Trained detectors in and out: folders with ``config.json`` and ``model.safetensors``."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from rexnet.detect.backbone import Backbone, TapNetwork, TimmBackbone
from rexnet.detect.config import detector_in
from rexnet.detect.heads.ssdlite import SSDLite
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.preprocessing import Preprocessing
from rexnet.runs import read_json, write_bytes, write_json
from rexnet.spec import NetSpec

ARCHITECTURE = "ssdlite"


def save_detector(model: SSDLite, folder: str | Path) -> None:
    """Write a detector for ``load_detector``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors))
    write_json(folder / "config.json", _config(model))


def load_detector(folder: str | Path) -> SSDLite:
    """Build a trained detector in evaluation mode.

    Args:
        folder: A folder of ``save_detector``, or a run folder with such a folder ``model`` in it.

    Raises:
        UserError: The folder holds no detector, or its files do not fit together.
    """
    path = detector_in(folder)
    config = read_json(path / "config.json")
    if not _describes_detector(config):
        raise UserError(f"{path / 'config.json'} describes no detector of this package")
    try:
        model = _built(config, path)
        tensors = safetensors.torch.load_file(path / "model.safetensors")
        model.load_state_dict(tensors)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / 'config.json'}: {type(error).__name__} {error}") from None
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {path / 'model.safetensors'}: {reason}") from None
    return model.eval()


def is_detector(folder: str | Path) -> bool:
    """Tell whether ``load_detector`` can be asked for a folder.

    Raises:
        UserError: A config in it is damaged.
    """
    try:
        path = detector_in(folder)
    except UserError:
        return False
    return _describes_detector(read_json(path / "config.json"))


def _describes_detector(config: Any) -> bool:
    return isinstance(config, dict) and config.get("architecture") == ARCHITECTURE


def _config(model: SSDLite) -> dict[str, Any]:
    backbone = model.backbone
    spec = None if backbone.spec is None else json.loads(backbone.spec.to_json())
    return {
        "architecture": ARCHITECTURE,
        "backbone": backbone.name,
        "spec": spec,
        "num_classes": len(model.classes),
        "label_names": list(model.classes),
        "category_ids": list(model.category_ids),
        "loss": model.loss,
        "pretrained_cfg": model.preprocessing.to_config(),
    }


def _built(config: dict[str, Any], path: Path) -> SSDLite:
    if config["spec"] is not None:
        spec = NetSpec.from_json(json.dumps(config["spec"]), str(path))
        backbone: Backbone = TapNetwork(Network(spec))
    else:
        backbone = TimmBackbone(config["backbone"].removeprefix("timm:"))
    return SSDLite(
        backbone,
        classes=config["label_names"],
        category_ids=config["category_ids"],
        preprocessing=Preprocessing.from_config(config["pretrained_cfg"]),
        loss=config["loss"],
    )
