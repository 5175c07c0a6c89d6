"""Find the channel dimensions that fit your data and your budget (ReXNet, CVPR 2021)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rexnet.cost import Cost, count
from rexnet.errors import UserError
from rexnet.families import names as list_models
from rexnet.spec import BlockSpec, NetSpec

if TYPE_CHECKING:
    from rexnet.nn.hub import load_model, save_pretrained
    from rexnet.nn.network import Network, create_model

__version__ = "0.1.0"

__all__ = [
    "BlockSpec",
    "Cost",
    "NetSpec",
    "Network",
    "UserError",
    "count",
    "create_model",
    "list_models",
    "load_model",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only when a module is asked for.
    if name in ("Network", "create_model"):
        return getattr(import_module("rexnet.nn.network"), name)
    if name in ("load_model", "save_pretrained"):
        return getattr(import_module("rexnet.nn.hub"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
