"""Reading and writing weights: official and timm tensor names told apart by the names."""

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rexnet.errors import UserError
from rexnet.nn import tensor_names
from rexnet.nn.network import Network
from rexnet.nn.weight_files import read_tensors
from rexnet.runs import write_bytes
from rexnet.spec import NetSpec

STEM = "stem.conv.weight"
CLASSIFIER = ("classifier.weight", "classifier.bias")


def save_weights(model: Network, path: str | Path) -> None:
    """Write the weights as safetensors, with the spec in the file's metadata, atomically."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # One key alone: safetensors writes several in random order.
    metadata = {"spec": model.spec.to_json(indent=None)}
    write_bytes(Path(path), safetensors.torch.save(tensors, metadata))


def digest(module: nn.Module) -> str:
    """Return sixteen hex digits that depend on the names and the values of all weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        # Files of weights leave the counters of batch norms out.
        if not name.endswith("num_batches_tracked"):
            found.update(name.encode())
            found.update(
                tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            )
    return found.hexdigest()[:16]


def read_spec(path: str | Path) -> NetSpec:
    """Return the spec in the metadata of a safetensors file that ``save_weights`` wrote.

    Raises:
        UserError: The file cannot be read or carries no spec.
    """
    metadata: dict[str, str] = {}
    try:
        if Path(path).suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"cannot read the weights {path}: it is damaged ({error})") from None
    if "spec" not in metadata:
        raise UserError(f"{path} carries no spec; give the network to create_model as well")
    return NetSpec.from_json(metadata["spec"], str(path))


def load_weights(
    model: Network,
    path: str | Path,
    *,
    new_classifier: bool = False,
    adapt_input: bool = False,
) -> None:
    """Load a weight file into ``model``, whichever of the three namings it uses.

    Args:
        model: The network, left as it was if the file does not fit.
        path: What ``read_tensors`` reads.
        new_classifier: Keep the classifier of ``model``, or none, if the file's has another shape.
        adapt_input: Adapt a first convolution of 3 channels to the number of ``model``.

    Raises:
        UserError: The file cannot be read, or tensors are missing, left over or of another shape.
    """
    path, spec = Path(path), model.spec
    tensors = _own_names(read_tensors(path), spec)
    # A batch norm's step counter is no weight: some files leave it out.
    wanted = {n: t for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    tensors = {n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}
    if new_classifier and not all(
        name in tensors and name in wanted and tensors[name].shape == wanted[name].shape
        for name in CLASSIFIER
    ):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in CLASSIFIER}
        tensors |= {name: wanted[name] for name in CLASSIFIER if name in wanted}
    if adapt_input and STEM in tensors:
        tensors[STEM] = _adapted(tensors[STEM], spec.in_channels)
    if wrong := misfit(tensors, wanted):
        raise UserError(f"{path} does not fit {spec.name}: {wrong}")
    model.load_state_dict(tensors, strict=False)


def _own_names(tensors: dict[str, Tensor], spec: NetSpec) -> dict[str, Tensor]:
    """Give official and timm tensors the names and shapes of this package."""
    tensors = tensor_names.to_own(tensors, spec)
    for name in ("hidden.weight", "classifier.weight"):
        # The official classifiers are 1x1 convolutions.
        if name in tensors and tensors[name].shape[2:] == (1, 1):
            tensors[name] = tensors[name].flatten(1)
    return tensors


def _adapted(weight: Tensor, in_channels: int) -> Tensor:
    if weight.ndim != 4 or weight.shape[1] != 3 or in_channels == 3:
        return weight
    from timm.models import adapt_input_conv

    return adapt_input_conv(in_channels, weight)


def misfit(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Return in words how ``tensors`` differ from ``wanted``; empty if only in their values."""
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        return (
            f"{len(missing)} tensors missing{_first(missing)}, "
            f"{len(extra)} left over{_first(extra)}"
        )
    shapes = {
        name: f"{name} has shape {tuple(tensors[name].shape)}, the network needs {tuple(t.shape)}"
        for name, t in wanted.items()
        if tensors[name].shape != t.shape
    }
    more = f", and {len(shapes) - 3} more" if len(shapes) > 3 else ""
    return ", ".join(list(shapes.values())[:3]) + more + _hint(tensors, wanted, list(shapes))


def _hint(tensors: dict[str, Tensor], wanted: dict[str, Tensor], names: list[str]) -> str:
    """Say how to mend shapes that differ in the number of channels or classes alone."""
    axes = {STEM: 1} | dict.fromkeys(CLASSIFIER, 0)
    for name in names:
        given, own = list(tensors[name].shape), list(wanted[name].shape)
        if name not in axes or len(given) != len(own):
            return ""
        given[axes[name]] = own[axes[name]]
        if given != own:
            return ""
    hint = ""
    if STEM in names:
        num_channels, own_channels = (t[STEM].shape[1] for t in (tensors, wanted))
        adapt = f", or in_channels={own_channels} to adapt it" if num_channels == 3 else ""
        hint += f"; pass in_channels={num_channels}{adapt}"
    if CLASSIFIER[0] in names:
        num_classes, own_classes = (len(t[CLASSIFIER[0]]) for t in (tensors, wanted))
        hint += (
            f"; pass num_classes={num_classes}, or num_classes={own_classes} for a new classifier"
        )
    return hint


def _first(names: list[str]) -> str:
    return f" (such as {', '.join(names[:3])})" if names else ""
