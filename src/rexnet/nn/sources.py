"""Where networks and weights come from: names, files, folders and the hub.

Nothing here needs torch: a name that is nothing is told before it is loaded.
"""

import dataclasses
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rexnet import families
from rexnet.errors import UserError
from rexnet.spec import NetSpec

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

MEND = f"download its {CONFIG} and {WEIGHTS[0]} elsewhere and give their folder instead"

TIMM_WIDTHS = (1.0, 1.3, 1.5, 2.0, 3.0)
"""The width multipliers of the weights that timm keeps on the hub."""

CONNECT_SECONDS = 5.0
"""What the hub, or a proxy before it, may take to accept a connection; downloads have no limit."""


def resolve(network: str | Path | NetSpec) -> NetSpec:
    """Return the spec of a name, a JSON file, a model folder or a run folder; see ``create_model``.

    Raises:
        UserError: The name is unknown, or there is no spec in the file or the folder.
    """
    if isinstance(network, NetSpec):
        return network
    spec = named(network)
    if spec is not None:
        return spec
    from rexnet.nn.hub import read_spec_of_folder

    return read_spec_of_folder(Path(network))


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


def config_of(folder: Path) -> Path:
    """Return the config of a model folder, or of a run folder that holds one.

    Raises:
        UserError: There is none.
    """
    for path in (folder / CONFIG, folder / "model" / CONFIG):
        if path.is_file():
            return path
    raise UserError(f"{folder} holds no model: neither {CONFIG} nor model/{CONFIG}")


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


def cached(repository: str) -> Path | None:
    """Return the folder in the hub's cache that holds config and weights, if it does."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, CONFIG)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if any((folder / name).is_file() for name in WEIGHTS) else None


def download(repository: str) -> Path:
    """Return the folder in the hub's cache that holds the config and the weights of a repository.

    Args:
        repository: USER/REPO, or USER/REPO@REVISION.

    Raises:
        UserError: It cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    name, _, revision = repository.partition("@")
    with downloading(name):
        folder = Path(hf_hub_download(name, CONFIG, revision=revision or None)).parent
        # The folder is named after the commit: the weights are to be of the config's.
        try:
            hf_hub_download(name, WEIGHTS[0], revision=folder.name)
        except EntryNotFoundError:
            hf_hub_download(name, WEIGHTS[1], revision=folder.name)
    return folder


@contextmanager
def downloading(name: str, mend: str = MEND) -> Iterator[None]:
    """Do without a hub that does not answer, and tell in one line why ``name`` could not be had.

    Args:
        name: What is asked for.
        mend: What to do without it.

    Raises:
        UserError: Anything was raised within.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    # It tells of every retry, and the error below tells the end of them.
    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    trouble = "offline mode is on (HF_HUB_OFFLINE)" if offline else unreachable(constants.ENDPOINT)
    logger.setLevel(logging.ERROR)
    # Alone it would ask six times over, for half a minute.
    constants.HF_HUB_OFFLINE = bool(trouble)
    try:
        yield
    except Exception as error:  # noqa: BLE001 (its transport's errors come through as well)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, LocalEntryNotFoundError):
            reason = (
                f"{trouble or f'{constants.ENDPOINT} cannot be reached'}, and the cache "
                f"{constants.HF_HUB_CACHE} does not hold it"
            )
        raise UserError(f"cannot download {name} from the hub: {reason}; {mend}") from None
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def unreachable(url: str, seconds: float = CONNECT_SECONDS) -> str:
    """Return why no connection to a server, or to the proxy before it, can be had; else nothing.

    Args:
        url: Of the server.
        seconds: What the attempt may take; one alone is made.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)
    # In a thread: the look-up of a name knows no time limit of its own.
    found = [f"no answer in {seconds:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), seconds).close()
            found[0] = ""
        except OSError as error:
            found[0] = error.strerror or str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return f"{url} cannot be reached ({found[0]})" if found[0] else ""
