"""Where networks and weights come from: names, files, folders and the hub.

Nothing here needs torch: a name that is nothing is told before it is loaded.
"""

import dataclasses
from pathlib import Path

from rexnet import families
from rexnet.errors import UserError
from rexnet.nn.download import cached, download
from rexnet.nn.model_folder import config_of, read_config
from rexnet.spec import NetSpec

TIMM_WIDTHS = (1.0, 1.3, 1.5, 2.0, 3.0)
"""The width multipliers of the weights that timm keeps on the hub."""


def resolve(network: str | Path | NetSpec) -> NetSpec:
    """Return the spec of a name, a JSON file, a model folder or a run folder; see ``create_model``.

    Raises:
        UserError: The name is unknown, or there is no spec in the file or the folder.
    """
    if isinstance(network, NetSpec):
        return network
    spec = named(network)
    return read_config(Path(network)).spec if spec is None else spec


def named(network: str | Path) -> NetSpec | None:
    """Return the spec of a network as ``resolve`` does; None for a folder whose config has it.

    Raises:
        UserError: The name is unknown, or there is no spec in the file or the folder.
    """
    # A name wins: a run folder in the working directory may be called after its network.
    try:
        return families.resolve(str(network))
    except UserError:
        folder = Path(network)
        if not folder.is_dir():
            raise
    if (folder / "spec.json").is_file():
        return NetSpec.load(folder / "spec.json")
    config_of(folder)
    return None


def weights_at(source: str | Path) -> Path:
    """Return the file or the folder of weights that are not on the hub.

    Raises:
        UserError: There is none.
    """
    scheme, _, name = str(source).partition(":")
    path = Path(name if scheme == "official" else source)
    if not path.exists():
        raise UserError(
            f"cannot read the weights {path}: no such file or folder (a repository of the hub is "
            "hf:USER/REPO)"
        )
    return path


def check_weights(weights: str | None, spec: NetSpec | None) -> None:
    """Check that there are weights to start from; those of the hub are in its cache thereafter.

    Args:
        weights: What ``create_model`` takes.
        spec: The network they are for, if it is known.

    Raises:
        UserError: There are none.
    """
    if weights == "timm":
        repository = timm_repository(spec) if spec is not None else None
        if repository is not None and cached(repository) is None:
            download(repository)
    elif weights is not None and weights.startswith("hf:"):
        download(weights.removeprefix("hf:"))
    elif weights is not None:
        weights_at(weights)


def check_trained(model: str, weights: str | None) -> None:
    """Check that there is a trained model: whole in a folder or on the hub, or with weights.

    Raises:
        UserError: There is none, or a name comes without weights.
    """
    if weights is not None:
        check_weights(weights, named(model))
    elif model.startswith("hf:"):
        check_weights(model, None)
    elif not Path(model).exists() or model.endswith(".json"):
        raise UserError(
            f"{model} is no run folder; a network needs --weights timm, official:PATH, PATH, "
            "hf:USER/REPO or a run folder"
        )
    elif Path(model).is_dir():
        config_of(Path(model))


def timm_repository(spec: NetSpec) -> str:
    """Return where timm keeps weights for the body of ``spec``, without ``hf:``.

    Raises:
        UserError: It has none.
    """
    for width in TIMM_WIDTHS:
        known = dataclasses.replace(
            families.rexnet(width),
            name=spec.name,
            num_classes=spec.num_classes,
            in_channels=spec.in_channels,
            dropout=spec.dropout,
            resolution=spec.resolution,
        )
        if known == spec:
            return f"timm/rexnet_{round(100 * width)}.nav_in1k"
    names = ", ".join(f"rexnet_{width}" for width in TIMM_WIDTHS)
    raise UserError(f"timm has no weights for {spec.name}, only for {names}; pass a file or folder")
