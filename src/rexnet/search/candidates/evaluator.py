"""The evaluator of candidates: trains a network under the protocol and scores it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rexnet.data.in_memory import ImageSet
from rexnet.errors import UserError
from rexnet.search.candidates.origin import Origin
from rexnet.search.candidates.outcomes import Outcomes
from rexnet.search.candidates.protocol import Evaluation, OnProgress, Protocol
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rexnet.nn.network import Network


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """NetSpec -> accuracy: trains and scores on the held-out part.

    Attributes:
        images: The image set; what is held out is never trained on.
        protocol: How to train.
        device: ``cpu``, for one thread of it, or ``cuda``.
        prunes: Whether the network is scored after every epoch of the first repeat, for the search
            to end the training.
        origin: What candidates inherit their weights from; by default they start from new ones.
    """

    images: ImageSet
    protocol: Protocol
    device: str = "cpu"
    prunes: bool = False
    origin: Origin | None = None

    def __call__(self, spec: NetSpec, weights: Path, on_progress: OnProgress) -> Evaluation:
        """Train ``spec`` once a repeat.

        Args:
            spec: The network.
            weights: Where the weights of the first repeat are written, as safetensors.
            on_progress: Called after every epoch.

        Raises:
            Diverged: The loss became infinite or not a number.
            Pruned: ``on_progress`` ended the training.
            UserError: The device is missing.
        """
        # torch takes seconds to import, and the process that only leads the search needs none.
        from rexnet.nn.weights import save_weights

        train = trainer(self.device)
        start = time.perf_counter()
        repeats = self.protocol.repeats
        found: list[Outcomes] = []
        for repeat in range(repeats):
            model, outcomes = train(
                spec,
                self.images,
                self.protocol,
                seed=self.protocol.seed + repeat,
                on_epoch=partial(self._report, on_progress, repeat),
                origin=self.origin,
            )
            if repeat == 0:
                save_weights(model, weights)
            found.append(outcomes)
        return Evaluation(
            accuracies=tuple(outcomes.top1 for outcomes in found),
            seconds=time.perf_counter() - start,
            outcomes=tuple(found),
        )

    def _report(
        self, on_progress: OnProgress, repeat: int, epoch: int, score: Callable[[], float]
    ) -> None:
        share = (repeat + epoch / self.protocol.epochs) / self.protocol.repeats
        if self.prunes and repeat == 0 and epoch < self.protocol.epochs:
            on_progress(share, epoch, score())
        else:
            on_progress(share)


def trainer(device: str) -> Callable[..., tuple["Network", Outcomes]]:
    """Return what trains candidates on ``device``, with the arguments of ``train_candidate``.

    Raises:
        UserError: The machine has no such device.
    """
    import torch

    from rexnet.search.candidates.cpu import train_candidate

    if device == "cpu":
        return train_candidate
    if not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch {torch.__version__} finds no GPU here")
    from rexnet.search.candidates.gpu import train_on_accelerator

    return partial(train_on_accelerator, device=torch.device(device))
