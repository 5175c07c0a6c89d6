"""Networks that give feature maps in place of logits."""

from collections.abc import Sequence

from torch import Tensor, nn

from rexnet.errors import UserError
from rexnet.nn.network import Feature, Network, stages


class FeatureNetwork(nn.Module):
    """The stem and the blocks of a network up to the last map asked for, as ``features_only``.

    There is a map at every stride, the output of the last block there, or of the stem: for ReXNet
    at 2, 4, 8, 16 and 32. Its parameters are those of the network and keep their names.

    Args:
        model: The network, which shares its modules.
        out_indices: The maps to return, counted from 0 at the smallest stride, or from -1 at the
            largest; all by default. They are returned in the order of their strides.

    Attributes:
        spec: The whole network as data.
        preprocessing: What an image goes through before the network sees it.
        feature_info: timm's ``FeatureInfo``: ``channels()`` and ``reduction()`` of the maps.

    Raises:
        UserError: An index is out of range, or there is none.
    """

    def __init__(self, model: Network, out_indices: Sequence[int] | None = None) -> None:
        from timm.models import FeatureInfo

        super().__init__()
        maps = stages(model.spec)
        indices = _indices(out_indices, maps, model.spec.name)
        self.spec = model.spec
        self.preprocessing = model.preprocessing
        self.stem = model.stem
        self.stem_act = model.stem_act
        self.blocks = model.blocks[: maps[indices[-1]].block]
        self.feature_info = FeatureInfo(model.feature_info, indices)
        self._taps = {maps[index].block for index in indices}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, channels, H, W) to maps (N, width, H / stride, W / stride)."""
        x = self.stem_act(self.stem(x))
        maps = [x] if 0 in self._taps else []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self._taps:
                maps.append(x)
        return maps


def _indices(chosen: Sequence[int] | None, maps: Sequence[Feature], name: str) -> tuple[int, ...]:
    count = len(maps)
    if chosen is None:
        return tuple(range(count))
    for index in chosen:
        if index not in range(-count, count):
            raise UserError(
                f"out_indices {index} must be from {-count} to {count - 1}: {name} has {count} "
                f"maps, of strides {', '.join(str(stage.stride) for stage in maps)}"
            )
    if not chosen:
        raise UserError("out_indices is empty; give one or more, or leave it out for all maps")
    return tuple(sorted({index % count for index in chosen}))
