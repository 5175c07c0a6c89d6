"""The search job: proposals in, trained networks and a run folder out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.data import in_memory
from rexnet.data.sources import check_apart
from rexnet.data.stored import Store
from rexnet.data.survey import OnSurvey, ignore
from rexnet.latency import Clock, Limit
from rexnet.runs.progress import OnProgress, counting
from rexnet.search import short_list
from rexnet.search.candidates.evaluator import Evaluator, trainer
from rexnet.search.candidates.origin import read_origin
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import SearchConfig, as_begun
from rexnet.search.executors import EXECUTORS, MakeExecutor
from rexnet.search.executors.candidate import Evaluate
from rexnet.search.in_time import around
from rexnet.search.leader import Task
from rexnet.search.loop import search
from rexnet.search.predictor import FILE, check_device, read_predictor, write_predictor
from rexnet.search.run_folder import identity, prepare
from rexnet.search.sampler import TPE, Sampler
from rexnet.search.space import Space, check_fast_enough, check_reachable, sample
from rexnet.search.spaces import origin_of, resolution_of, space_of
from rexnet.search.surface.confirm import Confirmation
from rexnet.search.surface.sampler import SurfaceSampler

NUM_MEASURED = 33
"""Networks that are measured for a budget of time, those held out included."""


def run(
    config: SearchConfig,
    on_progress: OnProgress,
    clock: Clock | None = None,
    *,
    on_survey: OnSurvey = ignore,
    on_note: Callable[[str], None] = lambda words: None,
    evaluate: Evaluate | None = None,
    make_executor: MakeExecutor | None = None,
    sampler: Sampler | None = None,
    num_measured: int = NUM_MEASURED,
) -> int:
    """Run or resume a search in ``config.out`` and return how many networks this call trained.

    Args:
        config: The search.
        on_progress: Called about twice a second while networks are trained.
        on_survey: Called with what the images are, before anything is trained.
        clock: What measures networks, for a config with a budget of time.
        on_note: Called with what is written beside the run folder's own files, before it is.
        evaluate: What evaluates candidates; by default they are trained on the data.
        make_executor: What they are evaluated by; by default what the config names.
        sampler: What proposes; by default what the config names.
        num_measured: Networks that are measured for a budget of time.

    Raises:
        UserError: The config, the data or the run folder cannot be used; nothing there is harmed.
    """
    config = as_begun(config).resolved()
    assert config.trials is not None
    origin = read_origin(*origin_of(config)) if config.init else None
    protocol = config.protocol(origin.digest if origin else "")
    image_set = _images(config, on_progress, on_survey, on_note)
    space = space_of(config, len(image_set.classes), image_set.side)
    if origin:
        image_set = replace(image_set, statistics=origin.statistics)
    folder = Path(config.out)
    if not (folder / "search.json").exists():
        _check_start(config, space)
    sampler = sampler or _sampler(config)
    make_executor = make_executor or EXECUTORS[config.executor]

    def evaluated(protocol: Protocol) -> Evaluate:
        return evaluate or Evaluator(
            images=image_set,
            protocol=protocol,
            device=config.device,
            prunes=config.pruner != "none",
            origin=origin,
        )

    search_identity = identity(space, protocol, image_set, config.device, config.pruner, sampler)
    with runs.locked(folder):
        limit = _limit(folder, config, space, search_identity, clock, num_measured)
        if limit:
            search_identity["latency"] = limit.identity
        if not space.budget.limits:
            space = replace(space, limit=limit)
        share = prepare(folder, config, search_identity)
        if config.skip_corrupt:
            corrupt = {search_identity["data"]["fingerprint"]: image_set.corrupt}
            runs.write_json(folder / "images.json", corrupt)
        if limit:
            write_predictor(folder, limit.predictor)
        task = Task(space=space, protocol=protocol, limit=limit)
        num_new = search(
            folder,
            make_executor(config, evaluated(protocol), folder / "candidates"),
            task,
            config.trials,
            share=share,
            pruner=config.pruner,
            sampler=sampler,
            on_progress=on_progress,
        )
        if limit and clock:
            rows = runs.read_jsonl(folder / "trials.jsonl")
            short_list.choose(folder, space, rows, limit, clock)
        if isinstance(sampler, SurfaceSampler):
            confirmation = Confirmation(
                folder=folder,
                config=config,
                task=task,
                identity=search_identity,
                make_evaluate=evaluated,
                make_executor=make_executor,
                on_progress=on_progress,
            )
            num_new += confirmation.conclude()
        return num_new


def _sampler(config: SearchConfig) -> Sampler:
    return SurfaceSampler(config.batch) if config.strategy == "surface" else TPE()


def _images(
    config: SearchConfig,
    on_progress: OnProgress,
    on_survey: OnSurvey,
    on_note: Callable[[str], None],
) -> in_memory.ImageSet:
    """Return the images of a config."""
    folder = Path(config.out)
    if Path(config.data).is_dir():
        check_apart(folder, Path(config.data))
    found = in_memory.load(
        config.data,
        resolution_of(config),
        max_megapixels=config.max_megapixels,
        skip_corrupt=config.skip_corrupt,
        share=config.held_out,
        on_read=counting(on_progress, "images looked at", last=0.0, line=False),
        on_survey=on_survey,
        store=Store(folder=folder, tell=on_note),
    )
    if config.executor == "local":
        return found
    # Other machines do not have the file of a store: its pixels go there.
    return replace(found, images=np.asarray(found.images))


def _check_start(config: SearchConfig, space: Space) -> None:
    """Check that a search can begin.

    Raises:
        UserError: No network fills the budget, the folder holds something else, or the device is
            missing.
    """
    if space.budget.limits:
        check_reachable(space)
    runs.check_new(Path(config.out), "search.json")
    if config.executor == "local" and config.device != "cpu":
        trainer(config.device)


def _limit(
    folder: Path,
    config: SearchConfig,
    space: Space,
    search_identity: Mapping[str, Any],
    clock: Clock | None,
    num_measured: int,
) -> Limit | None:
    """Return the budget of time, with the predictor of the folder or one that is made now.

    Raises:
        UserError: The folder holds another search, its times are of another device, or no network
            is fast enough.
    """
    budget = config.budget.latency
    if not budget:
        return None
    assert clock is not None, "a budget of time needs what measures"
    known = folder / "search.json"
    if known.exists():
        # Before minutes of measuring: only what predicts may differ, where a kill left none.
        old = runs.read_json(known).get("latency") or {}
        mine = {**old, "budget": str(budget)}
        runs.check_same(known, {**search_identity, "latency": mine})
    if (folder / FILE).exists():
        limit = Limit(budget=budget, predictor=read_predictor(folder))
        check_device(folder, limit.predictor.device, clock.device)
        return limit
    if space.budget.limits:
        specs = sample(space, num_measured)
    else:
        specs = around(space, budget, clock, num_measured)
    limit = Limit(budget=budget, predictor=clock.calibrate(specs))
    check_fast_enough(space if space.budget.limits else replace(space, limit=limit), limit)
    return limit
