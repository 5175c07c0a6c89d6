"""Files of a run folder: whole or not at all, JSON, JSON lines."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rexnet.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    # A name of a file may hold bytes that are no text.
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    # Always the same name: what a kill leaves here, the next write takes away.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSON lines, atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append ``row`` as one JSON line and flush it to the disk.

    Raises:
        UserError: The file cannot be written to, or the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        content = path.read_text(encoding="utf-8")
        if not content.strip():
            raise UserError(f"{path} is damaged: it is empty")
        return json.loads(content)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines.

    Raises:
        UserError: The file is missing, or a line is damaged or cut short; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(
                f"{path} is damaged at line {number} of {len(lines)}; the command that made it "
                "writes it anew when it is run again"
            )
        rows.append(row)
    return rows
