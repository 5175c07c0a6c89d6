"""Files of weights that other programs wrote: the tensors of one network in them, by its names.

Nothing in a file is run: what is more than tensors, plain values and the types below is refused.
"""

import argparse
import pathlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rexnet.errors import UserError

KEYS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""Where training programs keep the weights of a network; as in timm, averaged ones come first."""

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and checkpointing add to names, at the front or further in."""

FIRST = ("stem.conv.weight", "features.0.weight", "conv_stem.weight", "_conv_stem.weight")
"""The first tensor of a network by the names of this package and of timm's ReXNet, by the official,
and of EfficientNets by the names of timm and of efficientnet-pytorch."""

NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where numpy has what arrays and scalars are made by, before and since its version 2."""


def read_tensors(path: Path, first: Sequence[str] = FIRST) -> dict[str, Tensor]:
    """Return the tensors of the network in a file, by their names without what wrapped it.

    Args:
        path: A file of safetensors, or of ``torch.save``: a state dict, or a checkpoint that holds
            one, such as those of timm's ``train.py``, of torchvision and of Lightning.
        first: What the first tensor of a network may be called.

    Raises:
        UserError: The file cannot be read, holds more than is read without running its code, no
            state dict, or several, or a number that is not finite.
    """
    tensors = _state_dict(_read(path), path)
    for wrapper in WRAPPERS:
        tensors = {name.replace(wrapper, ""): tensor for name, tensor in tensors.items()}
    # A network in a module, such as a LightningModule, stands beside losses and metrics.
    fronts = {
        name.removesuffix(end)
        for name in tensors
        for end in first
        if name == end or name.endswith(f".{end}")
    }
    if len(fronts) > 1 and "" not in fronts:
        told = ", ".join(sorted(front.rstrip(".") for front in fronts))
        raise UserError(f"{path} holds several networks: {told}; save one of them alone")
    front = "" if "" in fronts else "".join(fronts) or "module."
    inside = {n.removeprefix(front): t for n, t in tensors.items() if n.startswith(front)}
    tensors = inside or tensors
    broken = [name for name, t in tensors.items() if not torch.isfinite(t).all()]
    if broken:
        raise UserError(
            f"{path} holds numbers that are not finite (NaN or infinite) in {len(broken)} of "
            f"{len(tensors)} tensors, such as {broken[0]}: the training that wrote it diverged"
        )
    return tensors


def _read(path: Path) -> Any:
    """Return what a file holds, without running code from it."""
    try:
        # What is wrong with the content is told as errors of files, too.
        with path.open("rb") as file:
            start = file.read(40)
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror or error}") from None
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            # It warns of what is told as an error.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (for a damaged file torch raises almost anything)
        kinds = _strange(path, error)
        reason = f"it is damaged, or no file of tensors alone ({type(error).__name__})"
        if not start:
            reason = "it is empty"
        elif start.startswith(b"version https://git-lfs"):
            reason = "it is a pointer of Git LFS; fetch the file: git lfs pull"
        elif start.lstrip()[:5].lower() in (b"<html", b"<!doc"):
            reason = "it is a page of the web; download the file itself"
        elif "TorchScript" in str(error):
            reason = f"it is a TorchScript archive; convert it: {_conversion(path, 'jit')}"
        elif kinds:
            more = ", ..." if len(kinds) > 3 else ""
            reason = (
                f"it holds {', '.join(kinds[:3])}{more}, which could run code; if you trust it, "
                f"convert it where it was made: {_conversion(path, *kinds)}"
            )
        raise UserError(f"cannot read the weights {path}: {reason}") from None


def _harmless() -> list[Any]:
    """Return the types that checkpoints have besides tensors and that do nothing when made.

    With a name beside it, a type stands for what has that name in a file: paths of any system,
    numpy's before and since its version 2, and containers that torch does not fill.
    """
    paths = [
        (pure, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for pure, names in (
            (pathlib.PurePosixPath, ("PosixPath", "PurePosixPath")),
            (pathlib.PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
        )
        for name in names
    ]
    scalar, array = (thing.__reduce__()[0] for thing in (np.float64(0), np.zeros(0)))
    makers = [(scalar, f"{module}.scalar") for module in NUMPY]
    makers += [(array, f"{module}._reconstruct") for module in NUMPY]
    dtypes = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    containers: list[tuple[Any, str]] = [
        (lambda *_: OrderedDict(), "collections.defaultdict"),
        (lambda *_: [], "collections.deque"),
    ]
    builtins = [bool, int, float, str, bytes, list, dict, tuple, frozenset, slice, range]
    kinds = [argparse.Namespace, np.dtype, np.ndarray, *builtins, *dtypes]
    return [*kinds, *makers, *containers, *paths]


def _strange(path: Path, error: Exception) -> list[str]:
    """Return the names of what is not read in a file of torch, if that is the matter."""
    try:
        with torch.serialization.safe_globals(_harmless()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 (as above, and for files of old versions)
        return re.findall(r"GLOBAL (\S+)", str(error))[:1]


def _conversion(path: Path, *kinds: str) -> str:
    """Return one line of Python that makes a file of tensors of one that holds more."""
    load, kept = f"torch.load({str(path)!r}, 'cpu', weights_only=False)", "f.state_dict()"
    if kinds == ("jit",):
        load = f"torch.jit.load({str(path)!r}, 'cpu')"
    elif not any(kind.startswith("torch.nn.modules") for kind in kinds):
        kept = f"next((f[k] for k in {KEYS} if f.get(k)), f)"
    return f"import torch; f = {load}; torch.save({kept}, 'tensors.pth')"


def _state_dict(found: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict that a file is, or that it holds."""
    for _ in range(3):
        if not isinstance(found, Mapping) or _is_state_dict(found):
            break
        held = [value for key in KEYS if isinstance(value := found.get(key), Mapping) and value]
        others = {key: value for key, value in found.items() if _is_state_dict(value)}
        if not held and len(others) > 1:
            told = ", ".join(map(str, others))
            raise UserError(f"{path} holds several state dicts: {told}; save one of them alone")
        held += others.values()
        if not held:
            break
        found = held[0]
    if not _is_state_dict(found):
        raise UserError(f"{path} holds no state dict (a dict of names and tensors)")
    # What averages weights counts its steps beside them.
    return {name: tensor for name, tensor in found.items() if name != "n_averaged"}


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(t, Tensor) for name, t in value.items())
    )
