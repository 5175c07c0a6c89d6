"""Classifiers of timm: built, filled with weights, written and read."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from rexnet.errors import UserError
from rexnet.nn import timm_names
from rexnet.nn.download import downloading
from rexnet.nn.hub import imagenet_classes
from rexnet.nn.model_folder import CONFIG, WEIGHTS, TimmModel
from rexnet.nn.sources import find_weights
from rexnet.nn.weight_files import read_tensors
from rexnet.nn.weights import misfit
from rexnet.preprocessing import Preprocessing
from rexnet.runs import write_bytes, write_json

KEPT = ("first_conv", "classifier", "fixed_input_size")
"""What of timm's ``pretrained_cfg`` is true of other weights, too."""


class TimmNetwork(nn.Module):
    """A classifier of timm.

    Args:
        body: timm's module, which has the parameters.
        known: What it was built from.

    Attributes:
        body: timm's module.
        known: What it was built from, by as many classes as it has.
        spec: None: it is no network of this package.
        name: ``timm:`` and timm's name.
        preprocessing: What an image goes through before the network sees it.
        classes: The names of the classes in the order of the logits; empty if they are not known.

    Raises:
        UserError: Its images are prepared in a way that this package does not know.
    """

    def __init__(self, body: Any, known: TimmModel) -> None:
        from timm.data import resolve_model_data_config

        super().__init__()
        self.body, self.spec, self.name = body, None, f"timm:{known.name.partition('.')[0]}"
        self.known = dataclasses.replace(known, num_classes=body.num_classes)
        # Whatever part of an image timm takes in evaluation, here it is the central one.
        given = resolve_model_data_config(body) | {"crop_mode": "center"}
        self.preprocessing = Preprocessing.from_config(given)
        if isinstance(side := known.arguments.get("img_size"), int):
            self.preprocessing = dataclasses.replace(self.preprocessing, resolution=side)
        self.classes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """The number of logits; 0 if there is no classifier."""
        return int(self.body.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.body(x)
        return logits


def timm_model(name: str, weights: str | None = None, **options: Any) -> Any:
    """Return a model of timm.

    Args:
        name: timm's.
        weights: ``timm`` for those that the name stands for, or a file of timm's; random by
            default.
        options: More arguments of ``timm.create_model``.

    Raises:
        UserError: timm knows no such model, or its weights cannot be had.
    """
    import timm

    if not timm.is_model(name):
        raise timm_names.unknown(name)
    if weights == "timm":
        mend = "download its model.safetensors elsewhere and give --weights FILE"
        with downloading(name, mend):
            return timm.create_model(name, pretrained=True, **options)
    if weights is None:
        return timm.create_model(name, **options)
    if not Path(weights).is_file():
        raise UserError(f"cannot read the weights {weights}: no such file")
    try:
        return timm.create_model(name, checkpoint_path=weights, **options)
    except Exception as error:  # noqa: BLE001 (for a damaged file torch raises almost anything)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{weights} does not fit timm's {name}: {reason}") from None


def create_timm(
    known: TimmModel,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    resolution: int | None = None,
) -> TimmNetwork:
    """Build a classifier of timm, with weights, their preprocessing and class names if it has them.

    Args:
        known: What to build.
        weights: ``timm`` for those that the name stands for, or what ``find_weights`` takes.
        num_classes: Classes of the network. If the weights have another number, the classifier is
            new and everything else is loaded. By default as many as the weights have.
        dropout: Rate before the classifier, where timm's model takes one.
        drop_path: Rate of stochastic depth of the last block.
        resolution: Side of the images in pixels, for models that are built for one.

    Raises:
        UserError: timm cannot build it so, or the weights cannot be had or do not fit.
    """
    found = find_weights(weights) if weights not in (None, "timm") else None
    theirs = found.timm.num_classes if found is not None and found.timm is not None else None
    known = dataclasses.replace(
        known,
        num_classes=known.num_classes if theirs is None else theirs,
        arguments={**known.arguments, **_sized(known.name, resolution)},
    )
    if num_classes is not None:
        known = dataclasses.replace(known, num_classes=num_classes)
    body = _built(known, weights == "timm", drop_rate=dropout, drop_path_rate=drop_path)
    model = TimmNetwork(body, known)
    if found is not None:
        _load(body, known.name, found.path, new_classifier=num_classes is not None)
        model.preprocessing = found.preprocessing or model.preprocessing
    of_imagenet = weights == "timm" or (found is not None and found.of_imagenet)
    classes = found.classes if found is not None else ()
    classes = imagenet_classes() if of_imagenet and model.num_classes == 1000 else classes
    model.classes = classes if len(classes) == model.num_classes else ()
    return model


def save_timm(model: TimmNetwork, folder: str | Path) -> None:
    """Write a model folder that ``load_classifier`` reads, and timm by ``local-dir:FOLDER``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    folder, given = Path(folder), model.body.pretrained_cfg
    pretrained = {name: given[name] for name in KEPT if given.get(name) is not None}
    config: dict[str, Any] = {
        "architecture": model.known.name.partition(".")[0],
        "num_classes": model.num_classes,
        "num_features": model.body.num_features,
        "model_args": dict(model.known.arguments),
        "pretrained_cfg": {
            **pretrained,
            **model.preprocessing.to_config(),
            "crop_mode": "center",
            "num_classes": model.num_classes,
        },
    }
    if model.classes:
        config["label_names"] = list(model.classes)
    # Of tensors that share memory each is written.
    tensors = {
        name: t.detach().clone(memory_format=torch.contiguous_format)
        for name, t in model.body.state_dict().items()
    }
    write_bytes(folder / WEIGHTS[0], safetensors.torch.save(tensors))
    write_json(folder / CONFIG, config)


def _sized(name: str, resolution: int | None) -> dict[str, Any]:
    """Return the argument that builds a model for a resolution; none for a model of any."""
    from timm.models import get_pretrained_cfg

    if not (resolution and timm_names.is_known(name.partition(".")[0])):
        return {}
    given = get_pretrained_cfg(name)
    return {"img_size": resolution} if given is not None and given.fixed_input_size else {}


def _built(known: TimmModel, pretrained: bool, **rates: float) -> Any:
    """Return timm's module with those rates that it takes.

    Raises:
        UserError: timm cannot build it, it takes no stochastic depth, or weights cannot be had.
    """
    rates = {name: rate for name, rate in rates.items() if rate}
    for _ in range(len(rates) + 1):
        options = {**known.arguments, "num_classes": known.num_classes, **rates}
        try:
            body = timm_model(known.name, **options)
            break
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (each model tells in its own way what is wrong)
            refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if not isinstance(error, TypeError) or refused is None or refused[1] not in rates:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                raise UserError(f"timm cannot build {known.name}: {reason}") from None
            if refused[1] == "drop_path_rate":
                words = f"timm's {known.name} has no stochastic depth; set drop_path=0"
                raise UserError(words) from None
            del rates[refused[1]]
    return timm_model(known.name, "timm", **options) if pretrained else body


def _load(body: Any, name: str, path: Path, *, new_classifier: bool) -> None:
    """Load a file with timm's names of tensors.

    Raises:
        UserError: It cannot be read, or does not fit.
    """
    wanted = _weights_of(body.state_dict())
    tensors = _weights_of(read_tensors(path, (next(iter(wanted)),)))
    if new_classifier:
        tensors = _with_classifier(tensors, wanted, _classifiers(body))
    if wrong := misfit(tensors, wanted):
        raise UserError(f"{path} does not fit timm's {name}: {wrong}")
    body.load_state_dict(tensors, strict=False)


def _weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the counters of batch norms, which some files do without."""
    return {n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}


def _classifiers(body: Any) -> tuple[str, ...]:
    names = body.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _with_classifier(
    tensors: dict[str, Tensor], wanted: dict[str, Tensor], modules: tuple[str, ...]
) -> dict[str, Tensor]:
    """Put a model's own classifier in place of one of another shape."""
    own = {n: t for n, t in wanted.items() if n.rpartition(".")[0] in modules}
    if all(n in tensors and tensors[n].shape == t.shape for n, t in own.items()):
        return tensors
    rest = {n: t for n, t in tensors.items() if n.rpartition(".")[0] not in modules}
    return rest | own
