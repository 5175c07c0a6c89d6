"""The names of timm's models, read from its files: to import timm takes seconds.

Nothing here needs torch.
"""

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rexnet.errors import UserError, closest

MODEL = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)

DEPRECATED = re.compile(r"register_model_deprecations\(__name__, \{(.*?)\}", re.DOTALL)

QUOTED = re.compile(r"^\s*['\"](\w[\w.*]*)['\"]\s*:", re.MULTILINE)
"""What stands before a colon: old names, and names with the tag of weights."""


def check_name(name: str) -> None:
    """Check that timm knows a model, or weights of one.

    Args:
        name: timm's, with or without a tag, such as ``resnet50.a1_in1k``.

    Raises:
        UserError: It does not.
    """
    model, _, tag = name.partition(".")
    if not is_known(model):
        raise unknown(name)
    if tag and (tags := _tags(model)) and name not in tags:
        words = f"timm knows no weights {name!r}{closest(name, tags)}"
        raise UserError(f"{words}; timm.list_pretrained() names them")


def is_known(model: str) -> bool:
    """Tell whether timm has a model of a name without a tag."""
    found = _sources()
    return not found or any(
        model in MODEL.findall(text)
        or any(model in QUOTED.findall(names) for names in DEPRECATED.findall(text))
        for text in found
    )


def unknown(name: str) -> UserError:
    """Return the error for a name that timm does not know."""
    known = [model for text in _sources() for model in MODEL.findall(text)]
    near = closest(name.partition(".")[0], known)
    return UserError(f"timm knows no model {name!r}{near}; timm.list_models() names them")


def _tags(model: str) -> set[str]:
    """Return the names with a tag that stand for weights of a model."""
    start = f"{model}."
    found = (name for text in _sources() if start in text for name in QUOTED.findall(text))
    return {name.rstrip("*") for name in found if name.startswith(start)}


@cache
def _sources() -> tuple[str, ...]:
    """Return the texts of the files that timm has its models in; none if they are not there."""
    return tuple(path.read_text(encoding="utf-8") for path in _files())


def _files() -> Iterator[Path]:
    found = importlib.util.find_spec("timm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        yield from sorted(Path(folder, "models").glob("*.py"))
