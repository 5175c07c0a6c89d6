"""Variants of a network, trained alike with several seeds each."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rexnet import runs
from rexnet.spec import NetSpec
from rexnet.train.config import ActivationStudy, FactorStudy, TrainConfig
from rexnet.train.several import StudyProgress, train_all, trainings_at_a_time


def train_variants(
    specs: Mapping[str, NetSpec],
    config: ActivationStudy | FactorStudy,
    on_progress: Callable[[StudyProgress], None],
) -> dict[tuple[str, int], Path]:
    """Train what is not trained yet, and return the run folders by variant and seed.

    Args:
        specs: The variants by name; each is written to ``NAME.json`` in the study's folder.
        config: Its settings.
        on_progress: Called whenever a training tells how far it is.

    Raises:
        UserError: The settings cannot be used, or a training failed; the others are not harmed.
    """
    from rexnet.train import job

    folder = Path(config.out)
    for name, spec in specs.items():
        runs.write_text(folder / f"{name}.json", spec.to_json() + "\n")
    # A study that is stopped has as many seeds of one variant as of another.
    places = {
        (name, seed): folder / f"{name}-{seed}"
        for seed, name in itertools.product(range(config.seeds), specs)
    }
    configs = [
        TrainConfig(
            model=str(folder / f"{name}.json"),
            data=config.data,
            recipe=config.recipe,
            set=config.set,
            out=str(place),
            seed=seed,
            device=config.device,
        )
        for (name, seed), place in places.items()
    ]
    parallel = trainings_at_a_time(config.parallel, config.device)
    train_all(job.run, configs, parallel, on_progress)
    return places


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, which is None of a single value."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), None if error is None else float(error)
