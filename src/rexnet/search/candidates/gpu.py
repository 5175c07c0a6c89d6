"""The candidate trainer of accelerators: images, augmentation and training stay on the device.

The host only starts work: on CUDA a whole training step is one graph, replayed for every batch,
and nothing is read back before an epoch has ended.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rexnet.data.batches import PAD
from rexnet.data.in_memory import ImageSet
from rexnet.nn.network import Network
from rexnet.search.candidates.cpu import start
from rexnet.search.candidates.optimizer import Average, make_optimizer
from rexnet.search.candidates.origin import Origin
from rexnet.search.candidates.outcomes import Outcomes, outcomes_of
from rexnet.search.candidates.protocol import Diverged, OnEpoch, Protocol
from rexnet.spec import NetSpec

WARM_UP_STEPS, SCORING_BATCH = 3, 1000


def train_on_accelerator(
    spec: NetSpec,
    images: ImageSet,
    protocol: Protocol,
    *,
    seed: int,
    on_epoch: OnEpoch,
    device: torch.device,
    origin: Origin | None = None,
) -> tuple[Network, Outcomes]:
    """Train ``spec`` on ``device`` as ``candidates.cpu.train_candidate`` does, in bfloat16.

    The random numbers are those of the device.

    Raises:
        Diverged: The loss became infinite or not a number.
    """
    torch.manual_seed(seed)
    model = start(spec, images, origin).to(device).train()
    run = _Run(model, images, protocol, device)
    step = run.captured() if device.type == "cuda" else run.step
    for epoch in range(protocol.epochs):
        run.shuffle()
        for _ in range(run.steps_per_epoch):
            step()
        if not run.is_finite:
            raise Diverged(f"the loss was not finite in epoch {epoch + 1} of {protocol.epochs}")
        on_epoch(epoch + 1, partial(run.score, images))
    outcomes = run.outcomes(images)
    return model.eval().cpu(), outcomes


class _Run:
    """A training whose whole state stands in tensors of the device."""

    def __init__(
        self, model: Network, images: ImageSet, protocol: Protocol, device: torch.device
    ) -> None:
        self._model, self._protocol, self._device = model, protocol, device
        train = images.part(held_out=False)[:]
        mean, std = images.normalisation()
        self._mean, self._std = (torch.from_numpy(v).to(device) for v in (mean, std))
        self._labels = torch.from_numpy(images.labels[~images.held_out]).to(device)
        pads = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
        self._padded = torch.from_numpy(np.pad(train, pads, mode="reflect")).to(device)
        self._side = images.side
        self._size = min(protocol.batch_size, len(train))
        self.steps_per_epoch = len(train) // self._size
        steps = protocol.epochs * self.steps_per_epoch
        rates = [protocol.lr_at(step, steps) for step in range(steps)]
        self._rates = torch.tensor(rates, device=device)
        self._order = torch.arange(len(train), device=device)
        self._done = torch.zeros((), dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._first_loss = torch.zeros((), device=device)
        self._lr = torch.zeros((), device=device)
        self._optimizer = make_optimizer(model, protocol)
        self._average = Average(model, protocol.average)
        if protocol.flips == "alternating":
            self._first_turned = torch.rand(len(train), device=device) < 0.5
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr if group["factor"] == 1 else self._lr.clone()

    def shuffle(self) -> None:
        """Start an epoch with a new order of the images."""
        torch.randperm(len(self._order), out=self._order)

    @property
    def is_finite(self) -> bool:
        """Whether all losses so far were finite; waits for the device."""
        return bool(self._finite)

    def step(self) -> None:
        """Train on the next batch of the epoch."""
        x, y = self._batch()
        # A tensor as an index would be read back to the host first.
        self._lr.copy_(self._rates.index_select(0, self._done.view(1)).view(()))
        for group in self._optimizer.param_groups:
            if group["factor"] != 1:
                group["lr"].copy_(group["factor"] * self._lr)
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self._model(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=self._protocol.label_smoothing)
        self._finite &= torch.isfinite(loss)
        plain = F.cross_entropy(logits.detach().float(), y)
        self._first_loss += torch.where(self._done < self.steps_per_epoch, plain, 0.0)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._average.update()
        self._done += 1

    def captured(self) -> Callable[[], None]:
        """Return ``step`` as a CUDA graph; the state is as if nothing had been run."""
        start = [tensor.detach().clone() for tensor in self._state()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        with torch.no_grad():
            for tensor, value in zip(self._state(), start, strict=True):
                tensor.copy_(value)
            for state in self._optimizer.state.values():
                state["momentum_buffer"].zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def score(self, images: ImageSet) -> float:
        """Return the share of held-out images that the network gets right."""
        labels = torch.from_numpy(images.labels[images.held_out])
        return float((self._logits(images).argmax(1) == labels).double().mean())

    def outcomes(self, images: ImageSet) -> Outcomes:
        """Return what the network makes of the held-out images."""
        self._average.take()
        labels = images.labels[images.held_out]
        first_loss = float(self._first_loss) / self.steps_per_epoch
        return outcomes_of(self._logits(images).numpy(), labels, first_loss)

    def _logits(self, images: ImageSet) -> Tensor:
        """Return the logits of the held-out images in host memory."""
        self._model.eval()
        held_out = torch.from_numpy(images.images[images.held_out])
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16):
            found = [
                self._seen(self._normalised(part.to(self._device)))
                for part in held_out.split(SCORING_BATCH)
            ]
        self._model.train()
        return torch.cat(found).cpu()

    def _seen(self, x: Tensor) -> Tensor:
        """Return the logits of images, averaged over their views."""
        logits: Tensor = self._model(x).float()
        return logits if self._protocol.views == 1 else (logits + self._model(x.flip(3))) / 2

    def _state(self) -> list[Tensor]:
        counts = [self._done, self._finite, self._first_loss]
        return [
            *self._model.parameters(),
            *self._model.buffers(),
            *self._average.state,
            *counts,
        ]

    def _batch(self) -> tuple[Tensor, Tensor]:
        start = self._done % self.steps_per_epoch * self._size
        index = self._order[start + torch.arange(self._size, device=self._device)]
        corner = torch.randint(2 * PAD + 1, (2, self._size, 1), device=self._device)
        along = torch.arange(self._side, device=self._device)
        rows, columns = corner[0] + along, corner[1] + along
        if self._protocol.flips == "alternating":
            odd = (self._done // self.steps_per_epoch) % 2 == 1
            mirrored = (self._first_turned[index] ^ odd)[:, None]
        else:
            mirrored = torch.rand(self._size, 1, device=self._device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
        crops = self._padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._normalised(crops), self._labels[index]

    def _normalised(self, images: Tensor) -> Tensor:
        """Return images (N, side, side, 3) as normalised (N, 3, side, side), channels last."""
        return ((images.float() - self._mean) / self._std).permute(0, 3, 1, 2)
