"""Variants of a network, trained alike with several seeds each."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.runs.parallel import Job, at_a_time, run_all
from rexnet.runs.progress import OnProgress
from rexnet.spec import NetSpec
from rexnet.studies.config import ActivationStudy, FactorStudy
from rexnet.train.config import TrainConfig
from rexnet.train.recipe import adapted

Train = Callable[[Job, Sequence[Any], int, OnProgress], None]
"""Trains by every config of which there is no result yet, as ``train_all`` does."""


def train_all(job: Job, configs: Sequence[Any], parallel: int, on_progress: OnProgress) -> None:
    """Train by every config, ``parallel`` at a time, each in a process of its own.

    Raises:
        UserError: A training failed; those under way are stopped and can be gone on with.
    """
    run_all(job, configs, parallel, on_progress, name="training", done_words="trainings")


@contextmanager
def opened(
    mark: str, specs: Mapping[str, NetSpec], config: ActivationStudy | FactorStudy, **more: Any
) -> Iterator[None]:
    """Open the folder of a study, new or the same; seeds and variants may be other ones.

    Args:
        mark: The name of the folder's mark, one of ``runs.JOBS``.
        specs: The variants by name.
        config: The settings of the study.
        more: What makes two studies the same besides data, recipe and device.

    Raises:
        UserError: The settings cannot be used, or the folder holds something else.
    """
    import torch

    from rexnet.data.sources import open_images
    from rexnet.train import job, recipe
    from rexnet.train.distributed import on_gpu
    from rexnet.train.images import Data
    from rexnet.train.run_folder import opened_study

    how, (train, val) = recipe.load(config.recipe, config.set), open_images(config.data)
    how = dataclasses.replace(how, batch_size=min(how.batch_size, len(train)))
    prints = train.fingerprint(), val.fingerprint()
    data = Data(train=train, val=val, fingerprints=prints, corrupt=([], []))
    device = torch.device("cuda" if on_gpu(config.device) else "cpu")
    common = job.common(how, data, None, device)
    trainings = {}
    for (name, seed), place in _places(specs, config).items():
        spec = dataclasses.replace(adapted(specs[name], how), num_classes=len(train.classes))
        trainings[place] = {**common, "model": {"spec_id": spec.spec_id}, "seed": seed}
    with opened_study(Path(config.out), mark, {**common, **more}, trainings):
        yield


def train_variants(
    specs: Mapping[str, NetSpec],
    config: ActivationStudy | FactorStudy,
    on_progress: OnProgress,
    train: Train,
) -> dict[tuple[str, int], Path]:
    """Train what is not trained yet, and return the run folders by variant and seed.

    The folder of the study is to be ``opened`` before.

    Args:
        specs: The variants by name; each is written to ``NAME.json`` in the study's folder.
        config: Its settings.
        on_progress: Called whenever a training tells how far it is.
        train: Trains by configs as ``train_all`` does.

    Raises:
        UserError: The settings cannot be used, or a training failed; the others are not harmed.
    """
    from rexnet.train import job

    folder = Path(config.out)
    for name, spec in specs.items():
        runs.write_text(folder / f"{name}.json", spec.to_json() + "\n")
    places = _places(specs, config)
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
    parallel = at_a_time(config.parallel, config.device)
    train(job.run, configs, parallel, on_progress)
    return places


def _places(
    specs: Mapping[str, NetSpec], config: ActivationStudy | FactorStudy
) -> dict[tuple[str, int], Path]:
    """Return the run folders by variant and seed, in the order of training."""
    # A study that is stopped has as many seeds of one variant as of another.
    return {
        (name, seed): Path(config.out) / f"{name}-{seed}"
        for seed, name in itertools.product(range(config.seeds), specs)
    }


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, which is None of a single value."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), None if error is None else float(error)
