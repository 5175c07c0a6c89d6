"""Images with boxes as what a detector is trained on: augmented as SSD's are, and packed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rexnet.data.coco.images import CocoImages
from rexnet.data.loader import stacked
from rexnet.preprocessing import Preprocessing


class DetectionSamples:
    """The samples of a training: inputs, and boxes packed by ``packed``.

    Args:
        images: The images with their boxes; crowds are left out.
        preprocessing: What the input is like.
        augment: Change the images as SSD does: colours, zooming out, a crop that keeps a certain
            part of some box, mirror images. Otherwise they are resized alone.
    """

    def __init__(self, images: CocoImages, preprocessing: Preprocessing, *, augment: bool) -> None:
        self._images = images
        self._transform = training_transform(preprocessing) if augment else None
        self._input = Input(preprocessing)

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an input (3, resolution, resolution) and its boxes (boxes, 5)."""
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional as F

        picture, truth = self._images.read(index), self._images.of(index)
        height, width = picture.height, picture.width
        kept = ~truth.crowd
        scale = np.tile((width, height) / self._images.sizes[index], 2)
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy((truth.boxes[kept] * scale).astype(np.float32)),
            format="XYXY",
            canvas_size=(height, width),
        )
        image = tv_tensors.Image(F.pil_to_tensor(picture))
        labels = torch.from_numpy(truth.labels[kept])
        if self._transform is not None:
            image, target = self._transform(image, {"boxes": boxes, "labels": labels})
            boxes, labels = target["boxes"], target["labels"]
        sides = torch.tensor(image.shape[:-3:-1]).repeat(2)
        return self._input(image), torch.cat([labels[:, None] + 1, boxes / sides], 1)

    def batch(self, samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return inputs (N, 3, resolution, resolution) and boxes (N, most boxes, 5)."""
        inputs, boxes = zip(*samples, strict=True)
        return stacked(inputs), torch.nn.utils.rnn.pad_sequence(list(boxes), batch_first=True)


class Input:
    """From an image, uint8 (3, height, width), to an input, whatever its shape."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._side = preprocessing.resolution
        self._mean = torch.tensor(preprocessing.mean).view(-1, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(-1, 1, 1)
        self._mode = preprocessing.interpolation

    def __call__(self, image: Tensor) -> Tensor:
        """Return float32 (3, resolution, resolution), normalised."""
        from torchvision.transforms.v2 import InterpolationMode, functional

        mode = InterpolationMode(self._mode)
        resized = functional.resize_image(image, [self._side, self._side], mode, antialias=True)
        return resized.float().div_(255).sub_(self._mean).div_(self._std)


def training_transform(preprocessing: Preprocessing) -> Any:
    """Return SSD's augmentation of an image with boxes; what is cut off is gone."""
    from torchvision.transforms import v2

    fill = [round(255 * value) for value in preprocessing.mean]
    return v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=fill),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.SanitizeBoundingBoxes(),
        ]
    )
