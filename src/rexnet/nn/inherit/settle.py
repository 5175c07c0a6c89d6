"""What follows a cut: statistics of batch norms and a refit of weights, layer by layer."""

import torch
from torch import Tensor, nn

from rexnet.nn.blocks import Block
from rexnet.nn.inherit import parts, refit, statistics
from rexnet.nn.inherit.coupling import Slots
from rexnet.nn.inherit.observe import Observed, batches, rows
from rexnet.nn.inherit.points import Points, widths
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network


class Settling:
    """Follows images through a cut network and sets its layers right on the way.

    Every layer is fitted to what the whole network gives, from what the layers before it give now,
    so errors do not add up. Where no channel is left out so far, what was there stays as it is.

    Args:
        model: The cut network.
        source: The network that it was cut out of.
        slots: The source's channel of every channel.
        observed: What the source does with the same images.
        refits: Whether weights are refitted; else statistics are refreshed only.
    """

    def __init__(
        self,
        model: Network,
        source: Network,
        slots: Points[Slots],
        observed: Observed,
        *,
        refits: bool,
    ) -> None:
        self._model, self._source, self._slots = model, source, slots
        self._observed, self._depthwise = observed.maps, observed.depthwise
        self._refits = refits
        self._have = widths(source.spec)
        self._lossy, self._num_images = False, 0

    @torch.no_grad()
    def run(self, images: Tensor) -> None:
        """Follow preprocessed images (N, channels, H, W) from the stem to the head."""
        self._num_images = len(images)
        model, slots = self._model, self._slots.streams[0]
        x = [model.stem.conv(batch) for batch in batches(images)]
        statistics.from_maps(model.stem.norm, x, self._stale(slots, self._have.streams[0]))
        x = [model.stem_act(model.stem.norm(part)) for part in x]
        self._leave_out(slots, self._have.streams[0])
        for number, block in enumerate(parts.blocks(model)):
            x = self._block(number, block, x)
        self._head(x)

    def _block(self, number: int, block: Block, x: list[Tensor]) -> list[Tensor]:
        """Set a block right and return its output."""
        slots, width = self._slots.expanded[number], self._have.expanded[number]
        if block.expand is not None:
            theirs = parts.blocks(self._source)[number].expand
            if theirs is not None and self._lossy and self._refits:
                whole = _given(theirs, self._observed.streams[number])
                target = whole[:, [slot for slot in slots if slot >= 0]]
                refit.refit(block.expand, self._rows(x), target, _places(slots, width))
            statistics.from_inputs(block.expand, x, self._stale(slots, width))
        z = [block.depthwise.conv(block.expanded(part)) for part in x]
        statistics.from_maps(block.depthwise.norm, z, self._stale(slots, width))
        if self._lossy and self._refits:
            places = _places(slots, width)
            wanted = self._depthwise[number][:, [slots[place] for place in places]]
            statistics.match(block.depthwise.norm, wanted, places)
        self._leave_out(slots, width)
        # In place of each other: together they would be most of the memory.
        for index, part in enumerate(z):
            z[index] = block.depthwise.norm(part)
        se = parts.squeeze(block)
        if se is not None:
            self._squeeze(number, se, z)
        for index, part in enumerate(z):
            z[index] = block.depthwise_act(part)
        self._project(number, block, x, z)
        for index, part in enumerate(z):
            y = block.project_act(block.project.norm(part))
            z[index] = y if block.shortcut is None else block.shortcut(y, x[index])
        return z

    def _squeeze(self, number: int, se: SqueezeExcite, z: list[Tensor]) -> None:
        """Set SE right and apply it."""
        slots, width = self._slots.squeezed[number], self._have.squeezed[number]
        assert slots is not None
        assert width is not None
        means = torch.cat([part.mean((2, 3), keepdim=True) for part in z])
        statistics.from_maps(se.norm, [se.reduce(means)], self._stale(slots, width))
        self._leave_out(slots, width)
        for index, part in enumerate(z):
            z[index] = se(part)

    def _project(self, number: int, block: Block, x: list[Tensor], z: list[Tensor]) -> None:
        """Set a projection right and replace what it reads by what its convolution gives."""
        slots, width = self._slots.streams[number + 1], self._have.streams[number + 1]
        if self._lossy and self._refits:
            theirs, places = parts.blocks(self._source)[number], _places(slots, width)
            kept = [slots[place] for place in places]
            if isinstance(block.project_act, nn.Identity):
                target = self._observed.streams[number + 1][:, kept]
                # What the shortcut brings is not the source's: the projection makes up for it.
                if block.shortcut is not None:
                    added = self._rows(x)
                    missing = len(slots) - added.shape[1]
                    target = target - nn.functional.pad(added, (0, missing))[:, places]
            else:
                target = _given(theirs.project, self._observed.expanded[number])[:, kept]
            refit.refit(block.project, self._rows(z), target, places)
        for index, part in enumerate(z):
            z[index] = block.project.conv(part)
        statistics.from_maps(block.project.norm, z, self._stale(slots, width))
        self._leave_out(slots, width)

    def _head(self, x: list[Tensor]) -> None:
        model = self._model
        if model.penultimate is not None:
            x = self._penultimate(model.penultimate, x)
        slots, width = self._slots.hidden, self._have.hidden
        if model.hidden is not None and model.hidden_norm is not None:
            assert slots is not None
            assert width is not None
            pooled = torch.cat([part.mean((2, 3)) for part in x])
            given = model.hidden(pooled)
            statistics.from_maps(model.hidden_norm, [given], self._stale(slots, width))

    def _penultimate(self, layer: ConvNorm, x: list[Tensor]) -> list[Tensor]:
        slots, width = self._slots.penultimate, self._have.penultimate
        theirs = self._source.penultimate
        assert slots is not None
        assert width is not None
        assert theirs is not None
        if self._lossy and self._refits:
            whole = _given(theirs, self._observed.streams[-1])
            target = whole[:, [slot for slot in slots if slot >= 0]]
            refit.refit(layer, self._rows(x), target, _places(slots, width))
        statistics.from_inputs(layer, x, self._stale(slots, width))
        self._leave_out(slots, width)
        return [self._model.penultimate_act(layer(part)) for part in x]

    def _rows(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([rows(part, self._num_images) for part in maps])

    def _stale(self, slots: Slots, width: int) -> list[int]:
        """Return the channels whose statistics are not those of the source."""
        if self._lossy:
            return list(range(len(slots)))
        known = set(_places(slots, width))
        return [place for place in range(len(slots)) if place not in known]

    def _leave_out(self, slots: Slots, width: int) -> None:
        self._lossy = self._lossy or not set(range(width)) <= set(slots)


def _given(layer: ConvNorm, x: Tensor) -> Tensor:
    """Return what a 1x1 convolution and its batch norm give for rows (rows, channels)."""
    return layer(x[:, :, None, None]).flatten(1)


def _places(slots: Slots, width: int) -> list[int]:
    """Return where the channels stand that the source has, too."""
    return [place for place, slot in enumerate(slots) if 0 <= slot < width]
