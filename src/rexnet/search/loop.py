"""The loop of a search: proposals in, trained networks and the files of a run folder out."""

import shutil
from pathlib import Path

from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left
from rexnet.search.executors.candidate import Executor
from rexnet.search.leader import Leader, Task
from rexnet.search.run_folder import Share, TrialLog, own_study
from rexnet.search.sampler import DEFAULT, Sampler
from rexnet.search.study import Study

REFRESH_SECONDS = 0.5


def search(
    folder: Path,
    executor: Executor,
    task: Task,
    num_trials: int,
    *,
    share: Share | None = None,
    pruner: str = "none",
    sampler: Sampler = DEFAULT,
    on_progress: OnProgress,
) -> int:
    """Train networks until ``folder`` holds ``num_trials``; return how many are new.

    Args:
        folder: The run folder; what is there is gone on from.
        executor: What trains the networks; it is entered here.
        task: Which networks are searched.
        num_trials: Networks to train, those in the study included.
        share: The study, if it is not the folder's own.
        pruner: What ends trainings early: ``none``, ``halving`` or ``median``.
        sampler: What proposes.
        on_progress: Called about twice a second.

    Raises:
        UserError: The folder cannot be used, or candidate after candidate dies.
    """
    study = Study(
        share.url if share else own_study(folder),
        task.space,
        task.protocol.seed,
        name=share.study if share else "search",
        owner=share.owner if share else "",
        pruner=pruner,
        sampler=sampler,
    )
    log = TrialLog(folder, has_short_list=task.limit is not None)
    estimate = Estimate()
    try:
        leader = Leader(study, log, task, num_trials)
        with executor:
            executor.should_continue = leader.should_continue
            leader.fill(executor)
            while not leader.is_done:
                for result in executor.wait(REFRESH_SECONDS):
                    leader.tell(result, executor.weights(result.number))
                leader.fill(executor)
                on_progress(_progress(leader, log, estimate, executor.progress))
        leader.finish()
    finally:
        study.close()
        shutil.rmtree(folder / "candidates", ignore_errors=True)
    on_progress(_progress(leader, log, estimate, 0.0))
    return leader.num_new


def _progress(leader: Leader, log: TrialLog, estimate: Estimate, running: float) -> Progress:
    """Return how far a search is; ``running`` is the work done in unfinished candidates."""
    trained, total = len(log.rows), leader.num_trials
    left = max(total - trained - running, 0.0)
    seconds = estimate.seconds_left(leader.num_new + running, left)
    best = "-" if log.best is None else f"{100 * log.best:.1f} %"
    words = (
        f"{trained}/{total} candidates trained, {log.num_rejected} rejected, best {best}, "
        f"{time_left(seconds)}"
    )
    return Progress(share=1 - left / total, words=words, seconds_left=seconds)
