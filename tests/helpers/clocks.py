"""Clocks that measure nothing, and a machine without other work: all is made up."""

import itertools
import os
from collections import namedtuple
from dataclasses import dataclass, field

import psutil

from rexnet.deploy.machine import Machine
from rexnet.latency import Measured, Predictor, fitted, median_error, work

GIB = 2**30

Core = namedtuple("Core", ("user", "idle"))

QUIET = Machine(
    versions={"python": "3.12.1", "torch": "2.14.1"},
    system="Linux",
    processor="A Xeon",
    num_physical_cores=4,
    num_logical_cores=8,
    num_allowed_cores=8,
    cpu_quota=None,
    num_threads=4,
    omp_num_threads=None,
    instructions=("AVX2",),
    memory_bytes=16 * GIB,
    free_bytes=12 * GIB,
    swap_bytes=0,
    gpus=(),
    load=0.1,
    busy=(),
    others=0.01,
    governors=("performance",),
    frequency_share=1.0,
    on_battery=False,
    virtual=False,
)

SPEEDS = {"once": 0.4, "stem": 4e-8, "pointwise": 1.2e-8, "depthwise": 9e-8, "head": 2.5e-8}
"""Made-up milliseconds a unit of work; small maps are slower by half."""


def made_up(spec):
    """Return made-up milliseconds, a sum over the layers."""
    found = 0.0
    for name, amount in work(spec).items():
        kind, _, size = name.partition(" ")
        slower = 1.5 if size and int(size.partition("/")[0]) <= 8 else 1.0
        found += SPEEDS[kind] * slower * amount
    return found


def rounds_of(milliseconds):
    """Return what a network that takes so long at its fastest was measured as."""
    quartiles = (1.01 * milliseconds, 1.03 * milliseconds)
    return Measured(median=1.02 * milliseconds, quartiles=quartiles, fastest=milliseconds)


@dataclass
class ToyClock:
    """Tells made-up times; when measured anew, networks take ``factor`` times as long."""

    device: dict = field(default_factory=lambda: {"processor": "toy", "threads": 1})
    factor: float = 1.0
    measured: list = field(default_factory=list)
    num_calibrated: int = 0

    def calibrate(self, specs):
        self.num_calibrated += 1
        fit, held_out = specs[::2], specs[1::2]
        predictor = Predictor(
            device=self.device,
            costs=fitted(fit, [made_up(spec) for spec in fit]),
            num_measured=len(fit),
            num_held_out=len(held_out),
            error=None,
        )
        assert median_error([predictor.predict(s) for s in fit], [made_up(s) for s in fit]) < 0.02
        return predictor

    def times(self, specs):
        return [rounds_of(made_up(spec)) for spec in specs]

    def measure(self, specs):
        self.measured.append([spec.spec_id for spec in specs])
        return [rounds_of(self.factor * made_up(spec) / 1.02) for spec in specs]


def compute_beside(monkeypatch, share):
    """Let other work take a share of all cores from now on; None: nobody counts it."""
    seconds = itertools.count(0, 1e9)

    def cpu_times(percpu):
        if share is None:
            return []
        now = next(seconds)
        return [Core(user=share * now, idle=(1 - share) * now)] * (os.cpu_count() or 1)

    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
