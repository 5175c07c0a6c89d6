"""What it takes to inherit with images: memory and time, told before they are spent."""

from dataclasses import dataclass

from rexnet import cost
from rexnet.spec import NetSpec

BYTES = 4


MACS_PER_SECOND = 5e9
"""What a core does a second of all that, measured on two processors: 4.3 and 6 thousand million."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What inheriting takes.

    Attributes:
        num_images: Images that are followed through both networks.
        num_bytes: Memory of their maps, where it is most.
        core_seconds: About how long a core takes.
    """

    num_images: int
    num_bytes: int
    core_seconds: float

    @property
    def words(self) -> str:
        """The same in words."""
        return (
            f"inheriting with {self.num_images} images: about {self.num_bytes / 1e9:.1f} GB of "
            f"maps, {self.core_seconds:.0f} s of a core"
        )


def needs(source: NetSpec, spec: NetSpec, num_images: int) -> Needs:
    """Return what it takes to inherit.

    The maps of all images are kept at one place of the network at a time: the input of a block and
    what its depthwise convolution gives.

    Args:
        source: The trained network.
        spec: The network to make, at the resolution of the images.
        num_images: How many there are.
    """
    macs = sum(cost.count(one, spec.resolution).macs for one in (source, spec))
    return Needs(
        num_images=num_images,
        num_bytes=BYTES * num_images * _largest_maps(spec),
        core_seconds=num_images * macs / MACS_PER_SECOND,
    )


def _largest_maps(spec: NetSpec) -> int:
    """Return the values of an image and of its maps where they are most."""
    pixels = spec.in_channels * spec.resolution**2
    side = -(-spec.resolution // spec.stem_stride)
    found, entering = 0, spec.stem_width * side**2
    for width, block in zip(spec.widths_in, spec.blocks, strict=True):
        side = -(-side // block.stride)
        found = max(found, entering + block.expansion * width * side**2)
        entering = block.width * side**2
    return pixels + found
