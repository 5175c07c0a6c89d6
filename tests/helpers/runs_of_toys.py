"""Trainings of a toy network on a few real images, shared by the tests of jobs."""

import os
import signal
from importlib.resources import files

import numpy as np

from rexnet import families
from rexnet.data.sample import read_sheet
from rexnet.train.config import TrainConfig

SETTINGS = ("epochs=3", "batch_size=8", "lr_batch_size=8", "lr=0.05", "warmup_epochs=1")
QUICK = (*SETTINGS, "resolution=16", "eval_crop=1.0")


def write_toys(folder, num_images=48):
    """Write ``toy.json``, a network, and ``toys.npz``, images of four classes, into ``folder``."""
    spec = families.search_network([6, 8, 10], 4, 32)
    (folder / "toy.json").write_text(spec.to_json(), encoding="utf-8")
    sample = files("rexnet.data") / "sample"
    with (sample / "00.webp").open("rb") as file:
        images = read_sheet(file)
    with (sample / "labels.npy").open("rb") as file:
        labels = np.load(file)[:1000]
    chosen = np.concatenate([np.flatnonzero(labels == c)[: num_images // 4] for c in range(4)])
    np.savez(
        folder / "toys.npz",
        images=images[chosen],
        labels=labels[chosen].astype(np.int64),
        classes=np.array(["airplane", "automobile", "bird", "cat"]),
    )


def config(**changes):
    """Return the config of a quick training in the working directory."""
    settings = {"model": "toy.json", "data": "toys.npz", "recipe": "cifar", "set": QUICK}
    return TrainConfig(**settings | {"out": "T", "device": "cpu"} | changes)


def train(out):
    """Train to the end, for a process that is started."""
    train_by(QUICK, out)


def train_by(settings, out):
    """Train by settings of a recipe, as ``train`` does."""
    from rexnet.train import job

    job.run(config(out=out, set=settings), lambda progress: None)


def train_and_die(share, out):
    """Train until ``share`` of all steps are done, with a checkpoint after each, and be killed."""
    train_and_die_by(QUICK, share, out)


def train_and_die_by(settings, share, out, options=None):
    """Train by settings of a recipe, and other options, as ``train_and_die`` does."""
    from rexnet.train import job

    def stop(progress):
        if progress.share >= share:
            os.kill(os.getpid(), signal.SIGKILL)

    job.run(config(out=out, set=settings, checkpoint_seconds=0, **(options or {})), stop)
