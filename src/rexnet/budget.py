"""Limits of a network as a user writes them: params, MACs and time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rexnet import cost
from rexnet.errors import UserError, closest
from rexnet.spec import NetSpec

RUNTIMES = ("onnxruntime", "openvino")
"""Those whose time can be a limit."""

LEAST_MS, MOST_MS = 0.01, 10_000.0


class Count(int):
    """A number of params or MACs, readable from ``200000``, ``0.2M``, ``30M`` or ``1.5B``."""

    def __new__(cls, value: "str | float | Count") -> "Count":
        """Parse ``value``.

        Raises:
            UserError: It is not a number above 0, or does not name a whole number.
        """
        match = re.fullmatch(r"\s*([+-]?[\d.]+(?:e[+-]?\d+)?)\s*([kKmMbBgG]?)\s*", str(value))
        unit = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}
        try:
            number = float(match[1]) * unit[match[2].lower()] if match else -1.0
        except ValueError:
            number = -1.0
        if not 1 <= number < 1e18:
            raise UserError(f"{value!r} is no count: give a number above 0, such as 0.2M or 200000")
        return super().__new__(cls, round(number))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits of a network, all hard; what is None is not limited.

    Attributes:
        params: Learnable parameters.
        macs: Multiply-accumulates for one image.
        count_classifier: Whether ``params`` includes the final linear layer. Table 3 of the paper
            is reproduced without it.
    """

    params: int | None = None
    macs: int | None = None
    count_classifier: bool = True

    def __post_init__(self) -> None:
        for field, value in self.limits.items():
            if value < 1:
                raise UserError(f"budget.{field} {value} must be at least 1, such as 0.2M")

    @property
    def limits(self) -> dict[str, int]:
        """The limits that there are: ``params`` and ``macs``, one of them, or none."""
        pairs = (("params", self.params), ("macs", self.macs))
        return {field: value for field, value in pairs if value is not None}

    def counted(self, params: Any, spec: NetSpec, last: Any, penultimate: Any = None) -> Any:
        """Return what of ``params`` counts, the total of ``spec`` with other widths at its end.

        Args:
            params: The total, or an array with an entry a network.
            spec: The network.
            last: Width of the last block.
            penultimate: Width of the penultimate layer; the spec's by default.
        """
        if self.count_classifier:
            return params
        return params - cost.classifier_params(spec, last, penultimate)


def told(counts: Mapping[str, int]) -> str:
    """Return counts by the names of their limits in words: ``params 12 and MACs 345``."""
    names = {"params": "params", "macs": "MACs"}
    return " and ".join(f"{names[field]} {count:,}" for field, count in counts.items())


class LatencyBudget(str):
    """The time that a runtime may take for one image, such as ``20ms@openvino``."""

    milliseconds: float
    runtime: str

    def __new__(cls, text: str) -> "LatencyBudget":
        """Parse ``text``.

        Raises:
            UserError: It is no such text, the runtime is unknown, or the time is out of range.
        """
        match = re.fullmatch(r"\s*(\d*\.?\d+|\d+\.)\s*ms@([\w-]+)\s*", str(text))
        if not match:
            raise UserError(f"{text!r} is no latency: give a time and a runtime: 20ms@openvino")
        milliseconds, runtime = float(match[1]), match[2]
        if runtime not in RUNTIMES:
            hint = closest(runtime, RUNTIMES)
            raise UserError(
                f"unknown runtime {runtime!r} of {text!r}{hint}; a latency is of one of "
                f"{', '.join(RUNTIMES)}"
            )
        if not LEAST_MS <= milliseconds <= MOST_MS:
            raise UserError(f"latency {text!r} must be from {LEAST_MS} to {MOST_MS:,.0f} ms")
        self = super().__new__(cls, f"{milliseconds:g}ms@{runtime}")
        self.milliseconds, self.runtime = milliseconds, runtime
        return self
