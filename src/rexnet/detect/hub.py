"""Trained detectors in and out: folders with ``config.json`` and ``model.safetensors``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from rexnet.detect.backbone import Backbone, TapNetwork, TimmBackbone
from rexnet.detect.config import detector_in
from rexnet.detect.detector import Detector
from rexnet.detect.heads import HEADS
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.runs import read_json, write_bytes, write_json
from rexnet.spec import NetSpec


def save_detector(model: Detector, folder: str | Path) -> None:
    """Write a detector for ``load_detector``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors))
    write_json(folder / "config.json", model.config())


def load_detector(folder: str | Path, heads: Mapping[str, type[Detector]] = HEADS) -> Detector:
    """Build a trained detector in evaluation mode.

    Args:
        folder: A folder of ``save_detector``, or a run folder with such a folder ``model`` in it.
        heads: What it may be, by the names in ``config.json``.

    Raises:
        UserError: The folder holds no detector, or its files do not fit together.
    """
    path = detector_in(folder)
    config = read_json(path / "config.json")
    if not _describes_detector(config, heads):
        raise UserError(f"{path / 'config.json'} describes no detector of this package")
    try:
        model = _built(config, path, heads)
        tensors = safetensors.torch.load_file(path / "model.safetensors")
        model.load_state_dict(tensors)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / 'config.json'}: {type(error).__name__} {error}") from None
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {path / 'model.safetensors'}: {reason}") from None
    return model.eval()


def _describes_detector(config: Any, heads: Mapping[str, type[Detector]]) -> bool:
    return isinstance(config, dict) and config.get("architecture") in [*heads]


def _built(config: dict[str, Any], path: Path, heads: Mapping[str, type[Detector]]) -> Detector:
    if config["spec"] is not None:
        spec = NetSpec.from_json(json.dumps(config["spec"]), str(path))
        backbone: Backbone = TapNetwork(Network(spec))
    else:
        backbone = TimmBackbone(config["backbone"].removeprefix("timm:"))
    return heads[config["architecture"]].from_config(config, backbone)
