"""The run folder: whose it is, one writer at a time, what it depends on."""

import errno
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rexnet.errors import UserError
from rexnet.runs.files import read_json, write_json, write_text

JOBS = {
    "search.json": "a search",
    "train.json": "a training",
    "activations.json": "a study of activations",
    "factors.json": "a study of factors",
    "detection.json": "a study of detectors",
    "study.json": "a rank study",
    "network.json": "a rank study of a network",
    "validation.json": "a validation",
    "probe.json": "a linear probe",
    "export.json": "an export",
    "benchmark.jsonl": "a benchmark",
}
"""The jobs by the file that marks their folders; most hold what makes two of a kind the same."""

MAX_DIFFERENCES, MAX_VALUE = 6, 80
"""How many fields that differ are told, and how many characters of a value."""


def check_writable(place: Path, *, is_file: bool = False) -> None:
    """Check that a job can write to a folder, which it may have to make, before it computes.

    Args:
        place: The folder, or a file.
        is_file: Whether it is a file, which is written in the folder that it is in.

    Raises:
        UserError: It cannot be written to.
    """
    folder = nearest = Path(os.path.abspath(place.parent if is_file else place))
    words = f"cannot write {place}" if is_file else f"cannot write to {place}"
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    try:
        # A name in it that is too long is not found, as if it were free.
        longest = os.pathconf(nearest, "PC_NAME_MAX") if nearest.is_dir() else 0
    except OSError as error:
        raise UserError(f"{words}: {error.strerror or error}") from None
    names = [*folder.relative_to(nearest).parts, *([place.name] if is_file else [])]
    if not nearest.is_dir():
        raise UserError(f"{words}: {os.strerror(errno.ENOTDIR)}: {nearest}")
    if is_file and place.is_dir():
        raise UserError(f"{words}: {os.strerror(errno.EISDIR)}")
    if any(len(os.fsencode(name)) > longest for name in names):
        raise UserError(f"{words}: {os.strerror(errno.ENAMETOOLONG)}")
    try:
        # It has no name, so nothing is left of it.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(f"{words}: {error.strerror or error}: {nearest}") from None


@contextmanager
def opened(
    folder: Path,
    mark: str,
    identity: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
    is_known: bool = False,
) -> Iterator[None]:
    """Open a run folder that is new or holds the same job, for this process alone; mark it.

    Args:
        folder: The run folder.
        mark: The name of its mark, one of ``JOBS``.
        identity: What makes two of its jobs the same, as JSON has it.
        config: The options, as YAML has them, for a folder that is to hold ``config.yaml``.
        packages: Names of distributions, for a folder that is to hold ``environment.json``.
        is_known: Whether files without any mark are known for those of the same job.

    Raises:
        UserError: The folder holds something else, in which nothing was changed then; it cannot be
            written to; or another process holds it.
    """
    # Before a lock is left in it.
    check(folder, mark, identity, is_known=is_known)
    with locked(folder):
        check(folder, mark, identity, is_known=is_known)
        describe(folder, mark, identity, config=config, packages=packages)
        yield


def describe(
    folder: Path,
    mark: str,
    identity: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
) -> None:
    """Write what the job of a folder is, as ``opened`` does; the folder is to be ``locked``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    # Before all other files: a job killed right here is known for what it is.
    write_json(folder / mark, identity)
    if config is not None:
        import yaml

        write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    if packages:
        write_json(folder / "environment.json", environment(*packages))


def check(folder: Path, mark: str, identity: Mapping[str, Any], *, is_known: bool = False) -> None:
    """Check that a run folder is new or holds the same job; see ``opened``.

    Raises:
        UserError: It holds something else.
    """
    if (folder / mark).exists():
        check_same(folder / mark, identity)
    elif not is_known or _held(folder):
        check_new(folder, mark)


def check_new(folder: Path, mark: str) -> None:
    """Check that ``folder`` is missing or empty, as one without the file ``mark`` should be.

    Raises:
        UserError: It has files.
    """
    if folder.is_dir() and any(not child.name.startswith(".") for child in folder.iterdir()):
        held = _held(folder)
        words = f"has files but no {mark}" if held is None else f"holds {held}, not {JOBS[mark]}"
        raise UserError(f"{folder} {words}; give another --out")


def _held(folder: Path) -> str | None:
    """Return which job a folder is marked as that of; None if none."""
    return next((job for name, job in JOBS.items() if (folder / name).exists()), None)


def differences(
    old: Any, new: Any, where: str = "", *, partly: bool = False
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two nested dicts differ, with both values.

    Args:
        old: A dict.
        new: Another.
        where: The field that holds both.
        partly: Leave out fields that ``new`` has not.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in new if partly else dict.fromkeys([*old, *new]):
            name = f"{where}.{key}" if where else str(key)
            yield from differences(old.get(key), new.get(key), name, partly=partly)
    elif old != new:
        yield where, old, new


def check_same(path: Path, identity: Mapping[str, Any], *, partly: bool = False) -> None:
    """Check that what ``path`` holds is ``identity``, but for what the data are called.

    Data are known by their fingerprint: a path may be written in many ways, and moved.

    Args:
        path: The mark of a run folder.
        identity: What it should hold.
        partly: Compare only the fields that are given.

    Raises:
        UserError: It is another one; the fields that differ are named.
    """
    try:
        old = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; bring it back, or start anew with another --out") from None
    if not isinstance(old, dict):
        raise UserError(
            f"{path} is damaged: it holds no JSON object; bring it back, or start anew with "
            "another --out"
        )
    new = json.loads(json.dumps(identity))
    found = list(differences(old, new, partly=partly))
    if not any(name.startswith("data.") and name != "data.name" for name, _, _ in found):
        found = [difference for difference in found if difference[0] != "data.name"]
    if found:
        raise UserError(
            f"{path.parent} holds {JOBS[path.name]} of another configuration: {told(found)}; give "
            "another --out"
        )


def told(found: Sequence[tuple[str, Any, Any]]) -> str:
    """Return differences in words, the first of them if they are many."""
    words = [f"{name} is {_short(old)}, not {_short(new)}" for name, old, new in found]
    more = [f"and {len(words) - MAX_DIFFERENCES} more"] if len(words) > MAX_DIFFERENCES else []
    return ", ".join(words[:MAX_DIFFERENCES] + more)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def environment(*packages: str) -> dict[str, Any]:
    """Return what a run depends on: Python, the machine and the versions of ``packages``."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "num_cores": os.cpu_count(),
        "packages": {name: version(name) for name in ("rexnet", *packages)},
    }


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process alone.

    Raises:
        UserError: The folder cannot be written to, or another process holds it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", blocking=False)
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder} is in use by another process; wait for it, or stop it") from None
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
