"""Detector heads: what turns the maps of a backbone into boxes and scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rexnet.errors import UserError, closest
from rexnet.runs.lazy import Lazy

if TYPE_CHECKING:
    from rexnet.detect.detector import Detector

HEADS: "Mapping[str, type[Detector]]" = Lazy({"ssdlite": "rexnet.detect.heads.ssdlite:SSDLite"})
"""The heads by name, as recipes and ``config.json`` name them; torch is loaded with one."""


def check(name: str, heads: "Mapping[str, type[Detector]]" = HEADS) -> None:
    """Check that a recipe's head is there.

    Raises:
        UserError: It is not one of ``heads``.
    """
    if name not in heads:
        raise UserError(f"head {name!r}{closest(name, heads)} is not one of {', '.join(heads)}")
