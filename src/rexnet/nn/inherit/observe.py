"""What a trained network does with images: its maps at some positions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rexnet.nn.fast.inference import fold
from rexnet.nn.inherit import parts
from rexnet.nn.inherit.points import Points
from rexnet.nn.network import Network

BATCH_SIZE = 8
"""Images at a time: the maps of more leave the cache."""

NUM_ROWS = 8192
"""Positions of all images together at which a map is compared, about."""


Watch = Callable[[str], Callable[[Tensor], None]]
"""From the name of a map to what is called with it."""


def batches(images: Tensor) -> Iterator[Tensor]:
    """Yield images in parts, laid out as convolutions like them."""
    for part in images.split(BATCH_SIZE):
        yield part.contiguous(memory_format=torch.channels_last)


def positions(height: int, width: int, num_images: int) -> Tensor:
    """Return the positions of a map that are compared, the same at every call."""
    count = min(height * width, max(1, NUM_ROWS // num_images))
    generator = torch.Generator().manual_seed(height * width)
    return torch.randperm(height * width, generator=generator)[:count]


def rows(maps: Tensor, num_images: int) -> Tensor:
    """Return maps (N, channels, H, W) at the compared positions: (N * positions, channels)."""
    if maps.ndim == 2:
        return maps
    height, width = maps.shape[2:]
    chosen = positions(height, width, num_images).to(maps.device)
    return maps.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a network does with some images.

    Attributes:
        maps: Rows of channels at some positions, (images * positions, channels), at every point;
            where only means over all positions are read, a row is an image.
        depthwise: Of what the depthwise batch norm of every block gives, the mean and the variance
            of every channel: (2, channels).
    """

    maps: Points[Tensor]
    depthwise: tuple[Tensor, ...]


@torch.no_grad()
def observe(model: Network, images: Tensor) -> Observed:
    """Run a network on images (N, channels, H, W) and return what it does with them."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        return lambda maps: seen.setdefault(name, []).append(rows(maps, len(images)))

    def add(name: str) -> Callable[[Tensor], None]:
        def sums(maps: Tensor) -> None:
            found = torch.stack([maps.mean((0, 2, 3)), maps.square().mean((0, 2, 3))])
            seen.setdefault(name, []).append(found * len(maps) / len(images))

        return sums

    # Fused, a depthwise convolution would hide what comes before its activation.
    whole = fold(model).to(memory_format=torch.channels_last)
    with watched(whole, keep, add):
        for batch in batches(images):
            whole(batch)
    totals = [torch.stack(seen.pop(f"depthwise {n}")).sum(0) for n in range(len(model.blocks))]
    named = {name: torch.cat(maps) for name, maps in seen.items()}
    return Observed(
        maps=gathered(model, named),
        depthwise=tuple(
            torch.stack([mean, (square - mean.square()).clamp(min=0)]) for mean, square in totals
        ),
    )


def gathered(model: Network, named: Mapping[str, Tensor]) -> Points[Tensor]:
    """Return what has the names of points in its place."""
    count = range(len(model.blocks))
    return Points(
        streams=tuple(named[f"stream {number}"] for number in (*count, len(count))),
        expanded=tuple(named[f"expanded {number}"] for number in count),
        squeezed=tuple(named.get(f"squeezed {number}") for number in count),
        penultimate=named.get("pooled") if model.penultimate is not None else None,
        hidden=named.get("hidden"),
    )


@contextmanager
def watched(model: Network, keep: Watch, add: Watch | None = None) -> Iterator[None]:
    """Call what ``keep`` gives for a name with every map of that name.

    What the depthwise batch norms give is called for by ``add``, if there is one.
    """

    def inputs(module: nn.Module, name: str) -> None:
        call = keep(name)
        handles.append(module.register_forward_pre_hook(lambda _, x: call(x[0])))

    def outputs(module: nn.Module, name: str, keep: Watch = keep) -> None:
        call = keep(name)
        handles.append(module.register_forward_hook(lambda _, _x, y: call(y)))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for number, block in enumerate(parts.blocks(model)):
        inputs(block, f"stream {number}")
        inputs(block.project, f"expanded {number}")
        if add is not None:
            outputs(block.depthwise, f"depthwise {number}", add)
        se = parts.squeeze(block)
        if se is not None:
            inputs(se.expand, f"squeezed {number}")
    outputs(model.blocks[-1], f"stream {len(model.blocks)}")
    if model.hidden is None:
        inputs(model.classifier, "pooled")
    else:
        inputs(model.hidden, "pooled")
        inputs(model.classifier, "hidden")
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
