"""Recipe of a detector: how it is trained, read from YAML with overrides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rexnet.errors import check_ranges
from rexnet.train.recipe import LoopRecipe, load_as

Loss = Literal["multibox", "focal"]

SHIPPED = ("ssdlite_coco",)
"""The recipes of detection that come with the package."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(LoopRecipe):
    """How a detector is trained.

    Attributes:
        head: What stands on the backbone's maps, a name of ``heads.HEADS``.
        resolution: Side of the input in pixels.
        loss: ``multibox`` (SSD's: cross-entropy of matched anchors and the hardest others, three to
            one) or ``focal`` (sigmoid focal loss).
        augment: Change images as SSD does.
        sync_bn: On GPUs, normalise over the images of all processes.

    Raises:
        UserError: A value is out of range.
    """

    head: str = "ssdlite"
    resolution: int = 320
    loss: Loss = "multibox"
    augment: bool = True
    sync_bn: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, resolution=(64, 2048, "2,048"))

    def from_scratch(self) -> "DetectionRecipe":
        """Return the same from new weights, twice as long (Table A4)."""
        return replace(self, pretrained=False, epochs=2 * self.epochs)


def load(name: str, overrides: Sequence[str] = ()) -> DetectionRecipe:
    """Read a recipe.

    Args:
        name: ssdlite_coco, or the path of a YAML file.
        overrides: ``FIELD=VALUE``, stronger than the file.

    Raises:
        UserError: There is no such recipe, a field is unknown, or a value is wrong.
    """
    return load_as(DetectionRecipe, SHIPPED, name, overrides)
