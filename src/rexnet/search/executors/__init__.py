"""Where candidates are trained: processes of this machine, or a Ray cluster."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rexnet.runs.lazy import Lazy
from rexnet.search.executors.candidate import Evaluate, Executor

if TYPE_CHECKING:
    from rexnet.search.config import SearchConfig

MakeExecutor = Callable[["SearchConfig", Evaluate, Path], Executor]
"""Makes an executor from a resolved config, the evaluator, and where candidates' weights go."""

EXECUTORS: Mapping[str, MakeExecutor] = Lazy(
    {
        "local": "rexnet.search.executors.local:LocalExecutor.from_config",
        "ray": "rexnet.search.executors.ray:RayExecutor.from_config",
    }
)
"""What ``--executor`` names."""
