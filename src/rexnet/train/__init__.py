"""Training and evaluation: a recipe, a resumable loop, checkpoints, the jobs."""
