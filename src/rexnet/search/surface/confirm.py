"""The end of a search by surface: the networks that matter, trained again with new seeds."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.runs.progress import OnProgress, Progress
from rexnet.search.candidates.outcomes import noise_of, unpacked
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import LEAST_TRAININGS, SearchConfig
from rexnet.search.executors import MakeExecutor
from rexnet.search.executors.candidate import Evaluate
from rexnet.search.groups import Row, complete
from rexnet.search.leader import Task
from rexnet.search.loop import search
from rexnet.search.run_folder import prepare
from rexnet.search.sampler import Listed
from rexnet.search.surface.answer import FILE, LINE, SPEC, Gain, answer, gains
from rexnet.search.surface.judgement import Judgement, judged
from rexnet.search.surface.plan import Shape

NUM_BEST, APART = 3, 0.05
"""Networks of the best predictions, and their least distance in log widths."""

LEAST_ROUNDS = 2
"""Rounds that tell noise from gain."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What it takes to confirm the answer of a search.

    A round trains all networks once, with a seed of its own, and is a search of its own in
    ``confirm/``: its networks are listed, not proposed. So it can be killed and goes on, shares a
    study, and trains on the cluster, as any search does.

    Attributes:
        folder: The run folder of the search.
        config: The resolved config.
        task: What was searched.
        identity: ``search.json``.
        make_evaluate: From a protocol to what evaluates networks under it.
        make_executor: What they are evaluated by.
        on_progress: Called about twice a second.
    """

    folder: Path
    config: SearchConfig
    task: Task
    identity: Mapping[str, Any]
    make_evaluate: Callable[[Protocol], Evaluate]
    make_executor: MakeExecutor
    on_progress: OnProgress

    def conclude(self) -> int:
        """Confirm and write the answer; return how many trainings are new.

        Nothing is written of a search of which too few networks were trained to the end, or where a
        limit of time leaves nothing to compare with the line.

        Raises:
            UserError: A run folder cannot be used, or candidate after candidate dies.
        """
        rows = runs.read_jsonl(self.folder / "trials.jsonl")
        if len(complete(rows)) < LEAST_TRAININGS:
            return 0
        judgement = judged(rows, self.task.space, self.config.seed)
        shapes = self._contenders(judgement)
        if not shapes.keys() - {LINE}:
            return 0
        accuracies: dict[str, list[float]] = {name: [] for name in shapes}
        rows_of: dict[str, list[Row]] = {name: [] for name in shapes}
        num_new, stopped = 0, self._not_worth(judgement.largest_gain)
        rounds = self.config.confirm if LINE in shapes and len(shapes) > 1 else 0
        for number in range(1, rounds + 1):
            if stopped:
                break
            new, found = self._round(number, len(judgement.rows), shapes)
            num_new += new
            for name in list(accuracies):
                if name in found:
                    accuracies[name].append(found[name]["accuracy"])
                    rows_of[name].append(found[name])
                else:
                    del accuracies[name], rows_of[name]
            if number < rounds and number >= LEAST_ROUNDS and self._can_compare(accuracies):
                highest = max(gain.high for gain in gains(accuracies).values())
                stopped = self._not_worth(highest)
        noise = _noise(rows_of, self.identity["data"]["num_held_out"])
        self._write(judgement, shapes, accuracies, stopped, noise)
        return num_new

    def _contenders(self, judgement: Judgement) -> dict[str, Shape]:
        """Return the networks to confirm by name, those alone that keep a limit of time."""
        named = {shape.name: shape for shape in judgement.shapes if shape.name}
        best = [judgement.shapes[i] for i in judgement.best(NUM_BEST, apart=APART)]
        found = {f"best {rank}": shape for rank, shape in enumerate(best, 1)}
        found |= {LINE: judgement.line} | named
        return {name: shape for name, shape in found.items() if self._is_allowed(shape)}

    def _is_allowed(self, shape: Shape) -> bool:
        return self._anything.shortfall(shape.proposal) is None

    @property
    def _anything(self) -> Task:
        """The task without the share of the limits to use: a line may be unable to."""
        return dataclasses.replace(self.task, must_fill=False)

    def _not_worth(self, highest: float) -> str:
        """Return why there is nothing more to train, if no gain that is plausible is worth it."""
        if 100 * highest >= self.config.worth:
            return ""
        return (
            f"the largest plausible gain over the line, {max(100 * highest, 0):.2f} points, is "
            f"below --worth {self.config.worth:g}"
        )

    def _round(
        self, number: int, num_trained: int, shapes: Mapping[str, Shape]
    ) -> tuple[int, dict[str, Row]]:
        """Train all networks once; return how many are new, and the trainings by name."""
        config = self.config
        folder = self.folder / "confirm" / f"{num_trained}-{number}"
        seed = config.seed + config.repeats - 1 + number
        config = dataclasses.replace(
            config, out=str(folder), seed=seed, epochs=config.confirm_epochs, repeats=1
        )
        protocol = dataclasses.replace(
            self.task.protocol, seed=seed, epochs=config.confirm_epochs, repeats=1
        )
        sampler = Listed(parameters=tuple(shape.parameters for shape in shapes.values()))
        task = dataclasses.replace(self._anything, protocol=protocol)
        identity = {
            **self.identity,
            "protocol": protocol.identity,
            "sampler": sampler.settings(),
        }
        num_new = search(
            folder,
            self.make_executor(config, self.make_evaluate(protocol), folder / "candidates"),
            task,
            len(shapes),
            share=prepare(folder, config, identity),
            sampler=sampler,
            on_progress=self._telling(number),
        )
        rows = {row["spec_id"]: row for row in complete(runs.read_jsonl(folder / "trials.jsonl"))}
        ids = {name: shape.proposal.spec.spec_id for name, shape in shapes.items()}
        return num_new, {name: rows[i] for name, i in ids.items() if i in rows}

    def _telling(self, number: int) -> OnProgress:
        def tell(progress: Progress) -> None:
            words = f"confirming, round {number} of {self.config.confirm}: {progress.words}"
            self.on_progress(dataclasses.replace(progress, words=words))

        return tell

    def _can_compare(self, accuracies: Mapping[str, Sequence[float]]) -> bool:
        """Tell whether new trainings say by how much others are ahead of the line."""
        return LINE in accuracies and len(accuracies) > 1 and len(accuracies[LINE]) >= LEAST_ROUNDS

    def _write(
        self,
        judgement: Judgement,
        shapes: Mapping[str, Shape],
        accuracies: Mapping[str, Sequence[float]],
        stopped: str,
        noise: dict[str, float] | None,
    ) -> None:
        predicted = _predicted(judgement, shapes)
        is_confirmed = self._can_compare(accuracies)
        found = gains(accuracies) if is_confirmed else predicted
        widths = {name: shape.widths for name, shape in shapes.items()}
        said = answer(found, widths | {LINE: judgement.line.widths}, is_confirmed=is_confirmed)
        recommended = judgement.line if said.network == LINE else shapes[said.network]
        runs.write_text(self.folder / SPEC, recommended.proposal.spec.to_json() + "\n")
        measured = found if is_confirmed else {}
        networks = {
            name: {
                "widths": list(shape.widths),
                "params": shape.proposal.params,
                "macs": shape.proposal.macs,
                "predicted_gain": _plain(predicted.get(name)),
                "gain": _plain(measured.get(name)),
                "accuracies": list(accuracies.get(name, [])),
            }
            for name, shape in shapes.items()
        }
        told = {**dataclasses.asdict(said), "stopped": stopped, "noise": noise}
        told["networks"] = networks
        runs.write_json(self.folder / FILE, told)


def _predicted(judgement: Judgement, shapes: Mapping[str, Shape]) -> dict[str, Gain]:
    """Return the gains over the line that the surface predicts, by name."""
    others = [name for name in shapes if name != LINE]
    features = np.array([shapes[name].features for name in others])
    estimate = judgement.surface.gain(features, judgement.line.features)
    margins = judgement.quantile * estimate.error
    return {
        name: Gain(mean=float(mean), low=float(mean - margin), high=float(mean + margin))
        for name, mean, margin in zip(others, estimate.mean, margins, strict=True)
    }


def _plain(gain: Gain | None) -> dict[str, float] | None:
    return None if gain is None else dataclasses.asdict(gain)


def _noise(rows_of: Mapping[str, Sequence[Row]], num_images: int) -> dict[str, float] | None:
    """Return why new trainings of one network differ; None where no images are known."""
    right = [
        np.array([unpacked(row["outcomes"][0]["right"], num_images) for row in rows])
        for rows in rows_of.values()
        if len(rows) > 1 and all(row.get("outcomes") for row in rows)
    ]
    return dataclasses.asdict(noise_of(right)) if right else None
