"""Find the channel dimensions that fit your data and your budget (ReXNet, CVPR 2021)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rexnet.cost import Cost, count
from rexnet.errors import UserError
from rexnet.families import names as list_models
from rexnet.spec import BlockSpec, NetSpec

if TYPE_CHECKING:
    from rexnet.nn.create import create_model
    from rexnet.nn.hub import load_model, save_pretrained
    from rexnet.nn.inherit import inherit
    from rexnet.nn.network import Network

__version__ = "0.1.0"

__all__ = [
    "BlockSpec",
    "Cost",
    "NetSpec",
    "Network",
    "UserError",
    "count",
    "create_model",
    "inherit",
    "list_models",
    "load_model",
    "save_pretrained",
]

_MODULES = {
    "Network": "rexnet.nn.network",
    "create_model": "rexnet.nn.create",
    "inherit": "rexnet.nn.inherit",
    "load_model": "rexnet.nn.hub",
    "save_pretrained": "rexnet.nn.hub",
}
"""Where the names are that need torch."""


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only when a module is asked for.
    module = _MODULES.get(name)
    if module is not None:
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
