"""What training, evaluation, files and deployment know of a detector, whatever its head."""

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from rexnet.detect.backbone import Backbone
from rexnet.detect.recipe import Loss
from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The detections on one image, the highest score first.

    Attributes:
        boxes: Shape (boxes, 4): x1, y1, x2, y2, in 0 to 1.
        scores: Shape (boxes,).
        labels: Shape (boxes,), int64, from 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module, ABC):
    """A backbone and a head on its maps. A head is a final class of this kind.

    Args:
        backbone: Gives the first two maps.
        classes: Names of the classes.
        category_ids: Their ids in the annotations; from 1 by default.
        preprocessing: What an image goes through: whatever its shape it is resized to the square of
            the resolution, and normalised.
        criterion: What it is trained with, the recipe's ``loss``.

    Raises:
        UserError: There is no class, or the resolution is out of range.
    """

    architecture: ClassVar[str]
    """The name of the head in ``config.json``, and in the mapping of all heads."""

    outputs: ClassVar[tuple[str, ...]]
    """The names of what ``forward`` gives, in order."""

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        category_ids: Sequence[int] | None = None,
        *,
        preprocessing: Preprocessing,
        criterion: Loss = "multibox",
    ) -> None:
        resolution = preprocessing.resolution
        if not classes:
            raise UserError("a detector needs at least one class")
        if not 64 <= resolution <= 2048:
            raise UserError(f"resolution {resolution} of a detector must be from 64 to 2,048")
        super().__init__()
        self.backbone, self.preprocessing, self.criterion = backbone, preprocessing, criterion
        self.classes = tuple(classes)
        self.category_ids = tuple(category_ids or range(1, len(classes) + 1))

    def forward(self, x: Tensor) -> Any:
        """Map images (N, 3, resolution, resolution) to ``outputs``, a tuple of tensors."""
        return self.heads(self.backbone(x))

    @abstractmethod
    def heads(self, maps: Sequence[Tensor]) -> Any:
        """Map the backbone's maps to ``outputs``."""

    @abstractmethod
    def loss(self, raw: Any, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            raw: What ``forward`` gave in training.
            targets: Shape (N, boxes, 5): a label from 1, or 0 where there is no box, and the box,
                x1, y1, x2, y2, in 0 to 1.
        """

    @abstractmethod
    def detections(self, raw: Any, *, score: float) -> list[Detections]:
        """Return what was found on each image.

        Args:
            raw: What ``forward`` gave.
            score: The lowest score to be kept.
        """

    def all_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the backbone's maps and those that the head makes of them."""
        return [*maps]

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """What leads from ``outputs`` to boxes and is the same for all images, by name."""
        return {}

    def config(self) -> dict[str, Any]:
        """Return what ``from_config`` builds the detector from, but for its weights; JSON."""
        spec = self.backbone.spec
        return {
            "architecture": self.architecture,
            "backbone": self.backbone.name,
            "spec": None if spec is None else json.loads(spec.to_json()),
            "num_classes": len(self.classes),
            "label_names": list(self.classes),
            "category_ids": list(self.category_ids),
            "loss": self.criterion,
            "pretrained_cfg": self.preprocessing.to_config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """Build a detector with new weights on a backbone.

        Raises:
            KeyError: A field is missing.
            UserError: A value is out of range.
        """
        return cls(
            backbone,
            config["label_names"],
            config["category_ids"],
            preprocessing=Preprocessing.from_config(config["pretrained_cfg"]),
            criterion=config["loss"],
        )


def of_detector(preprocessing: Preprocessing, resolution: int) -> Preprocessing:
    """Return the preprocessing of a detector on a backbone: its mean and std, the whole image.

    Raises:
        UserError: The resolution is out of range.
    """
    return dataclasses.replace(
        preprocessing, resolution=resolution, crop=1.0, interpolation="bilinear"
    )
