"""Which files the entries of annotations name, as tools on other machines spell them."""

import itertools
import os
import re
import stat
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rexnet.errors import UserError

NAMED = 5
"""Missing files that an error names."""

MOST = 100_000
"""Files among which a missing one is looked for."""

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

ELSEWHERE = re.compile(r"/|[A-Za-z]:/|\.\./")
"""How a path begins that does not start from the folder of the images."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The files that entries name.

    Attributes:
        names: Their paths from the folder of the images, in the order of the entries.
        same: Pairs of places in ``names`` that are one file; the first is that of its first entry.
        remarks: What was read otherwise than it is written, in words.
    """

    names: list[str]
    same: list[tuple[int, int]]
    remarks: tuple[str, ...]


def find_files(names: Sequence[str], folder: Path, path: Path) -> Found:
    """Find the files that annotations name.

    A name counts as it is written. If there is no such file, an accent may be one letter or two
    signs; backslashes are read as slashes, %20 as a space; the last folders of ``folder`` are left
    out where the name repeats them; and of a path of another machine, or an address, the part
    below ``folder`` or the name of the file alone is taken.

    Args:
        names: What the entries say.
        folder: Where they start from.
        path: The annotations, for messages.

    Raises:
        UserError: A file is missing.
    """
    found, files = [], []
    missing: list[str] = []
    for name in names:
        spelt, file = next(_there(name, folder), (name, None))
        found.append(spelt)
        files.append(file)
        if file is None:
            missing.append(name)
    counts = Counter(files)
    changed = [i for i, (name, spelt) in enumerate(zip(names, found, strict=True)) if name != spelt]
    # Folders that are left out may have told two files of one name apart.
    missing += [names[i] for i in changed if files[i] and counts[files[i]] > 1]
    if missing:
        raise UserError(_missing(missing, len(names), folder, path))
    remarks: tuple[str, ...] = ()
    if changed:
        name, spelt = shown(names[changed[0]]), shown(found[changed[0]])
        remarks = (f"{len(changed)} file names are read otherwise, such as {name} as {spelt}",)
    first: dict[tuple[int, int] | None, int] = {}
    places = ((first.setdefault(file, place), place) for place, file in enumerate(files))
    return Found(names=found, same=[pair for pair in places if pair[0] != pair[1]], remarks=remarks)


def shown(name: str) -> str:
    """Return a name that can be printed on one line."""
    return name.encode("utf-8", "replace").decode() if name.isprintable() else ascii(name)


def _there(name: str, folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the spellings of a name of which there is a file, each with what tells files apart."""
    for spelt in itertools.chain([name], _spellings(name, folder)):
        try:
            told = os.stat(folder / spelt)
        # A name may hold what no name of a file can.
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(told.st_mode):
            yield spelt, (told.st_dev, told.st_ino)


def _spellings(name: str, folder: Path) -> Iterator[str]:
    """Yield how else a file may be meant, the likeliest first."""
    # Macs write an accent as a letter and a mark, others as one letter.
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, name)
    plain = name.replace("\\", "/")
    elsewhere = bool(ELSEWHERE.match(plain))
    if URL.match(plain) or "?d=" in plain:
        address, _, query = plain.partition("?")
        plain = urllib.parse.unquote(query[2:] if query.startswith("d=") else address)
        elsewhere = True
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts:
        return
    if not elsewhere:
        yield "/".join(parts)
        yield urllib.parse.unquote("/".join(parts))
    above = Path(os.path.abspath(folder)).parts
    for count in range(min(len(parts), len(above)) - 1, 0, -1):
        if tuple(parts[:count]) == above[-count:]:
            yield "/".join(parts[count:])
    if elsewhere:
        for place in range(len(parts) - 2, -1, -1):
            if parts[place] == above[-1]:
                yield "/".join(parts[place + 1 :])
        yield parts[-1]


def _missing(missing: Sequence[str], count: int, folder: Path, path: Path) -> str:
    """Return in words which files are missing, and where they may be."""
    if not folder.is_dir():
        return f"the images of {path} cannot be found: there is no folder {folder}"
    there: dict[str, str] = {}
    for root in (folder, path.parent):
        files = ((place, name) for place, _, names in os.walk(root) for name in sorted(names))
        for place, name in itertools.islice(files, MOST):
            for key in (name, name.lower(), os.path.splitext(name)[0].lower() + "."):
                there.setdefault(key, os.path.join(place, name))
    told = []
    for name in missing[:NAMED]:
        base = re.split(r"[/\\]", name)[-1]
        keys = (base, base.lower(), os.path.splitext(base)[0].lower() + ".")
        other = next((there[key] for key in keys if key in there), None)
        told.append(shown(name) + (f" (there is {shown(other)})" if base and other else ""))
    more = " ..." if len(missing) > NAMED else ""
    return (
        f"{len(missing)} of {count} images of {path} are not in {folder}: {', '.join(told)}{more}; "
        "mend file_name, or name the folder with --images"
    )
