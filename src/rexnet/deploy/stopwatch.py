"""Times of networks on this device, kept in a file, and predictors fitted to them."""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rexnet import runs
from rexnet.deploy import runtimes, usage
from rexnet.deploy.machine import processor
from rexnet.deploy.runtimes import RUNTIMES, Array, Run
from rexnet.deploy.timing import take_turns
from rexnet.errors import UserError
from rexnet.latency import Measured, Predictor, disturbance, fitted, median_error
from rexnet.nn.create import create_model
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left
from rexnet.spec import NetSpec

ROUNDS = 25

HELD_OUT = 0.28
"""The share of the networks that a predictor is not fitted to, but judged by."""

OnStep = Callable[[int, int], None]
"""Called with how many steps are done and how many there are; a network is two steps."""

Measure = Callable[[Sequence[NetSpec], OnStep], list[Measured]]


def device(runtime: str, threads: int) -> dict[str, Any]:
    """Return what times depend on: processor, threads, runtime, precision, versions.

    Raises:
        UserError: The runtime is not installed; the command that installs it is named.
    """
    runtimes.check(RUNTIMES[runtime])
    environment = runs.environment("torch", "onnx", runtime)
    return {
        "processor": processor(),
        "threads": threads,
        "runtime": runtime,
        "precision": "float32",
        "versions": environment["packages"],
    }


def cache_folder() -> Path:
    """Return where times are kept: ``rexnet/latency`` in the user's folder of caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rexnet" / "latency"


def clock(
    runtime: str, on_progress: OnProgress = lambda progress: None, threads: int | None = None
) -> "Stopwatch":
    """Return what measures networks in a runtime on this device.

    Args:
        runtime: ``onnxruntime`` or ``openvino``.
        on_progress: Called while networks are measured.
        threads: Threads that compute; those of torch by default.

    Raises:
        UserError: The runtime is not installed.
    """
    found = device(runtime, threads or torch.get_num_threads())
    return Stopwatch(
        device=found,
        folder=cache_folder(),
        measured=lambda specs, on_step: measured(specs, runtime, found["threads"], on_step),
        on_progress=on_progress,
    )


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Measures networks on a device and keeps the times.

    Attributes:
        device: What the times depend on.
        folder: Where they are kept, one file a device.
        measured: Measures networks.
        on_progress: Called while networks are measured.
        together: Networks that take turns, and after which the times so far are written.
    """

    device: dict[str, Any]
    folder: Path
    measured: Measure
    on_progress: OnProgress = lambda progress: None
    together: int = 12

    @property
    def path(self) -> Path:
        """The file of times of this device."""
        digest = hashlib.sha256(json.dumps(self.device, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{self.device['runtime']}-{digest[:12]}.jsonl"

    def measure(self, specs: Sequence[NetSpec]) -> list[Measured]:
        """Measure networks now, in turns."""
        return self.measured(specs, _telling(self.on_progress))

    def times(self, specs: Sequence[NetSpec]) -> list[Measured]:
        """Return what every network took, kept or measured now.

        What was measured on a busy machine is not kept: it would mislead whatever is asked later.

        Raises:
            UserError: The file of times is damaged, cannot be written or is in use.
        """
        with runs.locked(self.folder):
            rows = self._read()
            found = {row["spec_id"]: _measured(row) for row in rows if "spec_id" in row}
            missing = list({s.spec_id: s for s in specs if s.spec_id not in found}.values())
            tell = _telling(self.on_progress)
            for start in range(0, len(missing), self.together):
                part = missing[start : start + self.together]
                on_step = _later(tell, 2 * start, 2 * len(missing))
                pairs = list(zip(part, self.measured(part, on_step), strict=True))
                found |= {spec.spec_id: its for spec, its in pairs}
                rows += [_row(spec, its) for spec, its in pairs if not disturbance([its])]
                # As a whole, so that a kill leaves no line cut short.
                runs.write_jsonl(self.path, [self.device, *rows])
        return [found[spec.spec_id] for spec in specs]

    def calibrate(self, specs: Sequence[NetSpec]) -> Predictor:
        """Return a predictor of networks of one kind, and keep how far off it is.

        Args:
            specs: At least one; about every fourth is held out.

        Raises:
            UserError: The file of times is damaged, cannot be written or is in use.
        """
        found = self.times(specs)
        times = [its.fastest for its in found]
        num_held_out = int(HELD_OUT * len(specs))
        # Spread evenly, since the networks may be in an order.
        every = np.linspace(0, len(specs) - 1, num_held_out + 2)[1:-1]
        held_out = {round(place) for place in every.tolist()}
        fit = [place for place in range(len(specs)) if place not in held_out]
        predictor = Predictor(
            device=self.device,
            costs=fitted([specs[place] for place in fit], [times[place] for place in fit]),
            num_measured=len(fit),
            num_held_out=len(held_out),
            error=None,
            busy=disturbance(found),
        )
        pairs = [(predictor.predict(specs[place]), times[place]) for place in sorted(held_out)]
        error = median_error([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        self._note([specs[place] for place in sorted(held_out)], pairs)
        return dataclasses.replace(predictor, error=None if error is None else round(error, 6))

    def _note(self, specs: Sequence[NetSpec], pairs: Sequence[tuple[float, float]]) -> None:
        """Keep what was predicted of held-out networks beside what was measured."""
        notes = [
            {"held_out": spec.spec_id, "predicted": round(guess, 6), "measured": time}
            for spec, (guess, time) in zip(specs, pairs, strict=True)
        ]
        with runs.locked(self.folder):
            rows = self._read()
            news = [note for note in notes if note not in rows]
            if news:
                runs.write_jsonl(self.path, [self.device, *rows, *news])

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        mend = "delete it, and what it held is measured again"
        try:
            first, *rows = runs.read_jsonl(self.path)
        except (UserError, ValueError):
            raise UserError(f"{self.path} is damaged; {mend}") from None
        if first != self.device or not all("held_out" in row or _is_sound(row) for row in rows):
            raise UserError(f"{self.path} holds no times of this device; {mend}")
        # Lines of earlier versions do not tell whether the machine was busy.
        return [row for row in rows if "held_out" in row or "others" in row]


def _telling(on_progress: OnProgress) -> OnStep:
    """Return what takes steps and tells how many networks are measured."""
    estimate: Estimate | None = None

    def tell(done: int, total: int) -> None:
        nonlocal estimate
        # Before the first step nothing tells the time.
        estimate = estimate or Estimate()
        left = estimate.seconds_left(done - 1, total - done)
        words = f"{done // 2}/{total // 2} networks measured, {time_left(left)}"
        # One network at a time is not worth a line of a log.
        line = None if total > 2 else False
        on_progress(Progress(share=done / total, words=words, seconds_left=left, line=line))

    return tell


def _later(on_step: OnStep, begun: int, total: int) -> OnStep:
    """Return what takes steps that come after ``begun`` of ``total``."""
    return lambda done, _: on_step(begun + done, total)


def _is_sound(row: dict[str, Any]) -> bool:
    quartiles, others = row.get("quartiles"), row.get("others")
    times = [row.get("fastest"), row.get("median"), *(quartiles if quartiles else [])]
    return (
        isinstance(row.get("spec_id"), str)
        and len(times) == 4
        and all(isinstance(time, float) and time > 0 for time in times)
        and (others is None or isinstance(others, float))
    )


def _row(spec: NetSpec, found: Measured) -> dict[str, Any]:
    return {
        "spec_id": spec.spec_id,
        "name": spec.name,
        "widths": list(spec.widths),
        "fastest": found.fastest,
        "median": found.median,
        "quartiles": list(found.quartiles),
        "others": found.others,
    }


def _measured(row: dict[str, Any]) -> Measured:
    low, high = row["quartiles"]
    return Measured(
        median=row["median"],
        quartiles=(low, high),
        fastest=row["fastest"],
        others=row["others"],
    )


def measured(
    specs: Sequence[NetSpec],
    runtime: str,
    threads: int,
    on_step: OnStep = lambda done, total: None,
    rounds: int | None = None,
) -> list[Measured]:
    """Measure networks with random weights on one image, in turns.

    Args:
        specs: The networks; all are held in memory.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: Threads that compute.
        on_step: Called while networks are made and measured.
        rounds: Calls of each that are timed; ``ROUNDS`` by default.

    Raises:
        UserError: The runtime is not installed.
    """
    computes, total, calls = RUNTIMES[runtime], 2 * len(specs), {}
    with tempfile.TemporaryDirectory() as folder:
        for number, spec in enumerate(specs):
            size = (spec.in_channels, spec.resolution, spec.resolution)
            path = Path(folder) / f"{number}{computes.suffix}"
            runtimes.write(computes, computes.form(create_model(spec).eval()), path, size=size)
            image = np.random.default_rng(0).standard_normal((1, *size), dtype=np.float32)
            calls[str(number)] = _call(runtimes.run(computes, path, threads), image)
            on_step(number + 1, total)
        before = usage.read()
        timings = take_turns(
            calls,
            rounds or ROUNDS,
            lambda done, of: on_step(len(specs) + len(specs) * done // of, total),
        )
        others = usage.of_others(before, usage.read())
    return [
        Measured(
            median=round(timing.median, 6),
            quartiles=(round(timing.quartiles[0], 6), round(timing.quartiles[1], 6)),
            fastest=round(timing.fastest, 6),
            others=others,
        )
        for timing in (timings[name] for name in calls)
    ]


def _call(run: Run, image: Array) -> Callable[[], Any]:
    return lambda: run(image)
