"""Checkpoints: everything a training needs to go on, in one file."""

import io
from pathlib import Path
from typing import Any

import torch

from rexnet import runs
from rexnet.errors import UserError

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    runs.write_bytes(path, buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote, onto the CPU and without unpickling code.

    Raises:
        UserError: The file cannot be read or is no checkpoint of this package.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 (for a damaged file torch raises almost anything)
        raise UserError(
            f"cannot read the checkpoint {path}: it is damaged; remove it, and the same command "
            "trains from the beginning"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of rexnet")
    return state
