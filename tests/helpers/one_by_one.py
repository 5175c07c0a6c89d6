"""Trainings of a study one after the other in this process: others would import torch anew."""

from pathlib import Path

from rexnet.runs.progress import Progress


def train_here(job, configs, parallel, on_progress):
    """Stand in for ``train_all`` where processes do not matter."""
    waiting = [config for config in configs if not (Path(config.out) / "result.json").exists()]
    total = len(configs)
    for trained, config in enumerate(waiting, total - len(waiting) + 1):
        job(config, lambda progress: None)
        words = f"{trained}/{total} trainings, time left 0:00"
        on_progress(Progress(share=trained / total, words=words))
