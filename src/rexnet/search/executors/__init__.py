"""Where candidates are trained: processes of this machine, or a Ray cluster."""

from collections.abc import Callable
from pathlib import Path

from rexnet.search.config import SearchConfig
from rexnet.search.executors.candidate import Evaluate, Executor
from rexnet.search.executors.local import LocalExecutor
from rexnet.search.executors.ray import RayExecutor

MakeExecutor = Callable[[SearchConfig, Evaluate, Path], Executor]
"""Makes an executor from a resolved config, the evaluator, and where candidates' weights go."""

EXECUTORS: dict[str, MakeExecutor] = {
    "local": LocalExecutor.from_config,
    "ray": RayExecutor.from_config,
}
"""What ``--executor`` names."""
