"""Files of the hub: from its cache, or downloaded at one attempt."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rexnet.errors import UserError
from rexnet.nn.model_folder import CONFIG, WEIGHTS

MEND = f"download its {CONFIG} and {WEIGHTS[0]} elsewhere and give their folder instead"

CONNECT_SECONDS = 5.0
"""What the hub, or a proxy before it, may take to accept a connection; downloads have no limit."""


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
