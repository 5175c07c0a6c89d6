"""From a picture to a model's input: augmented to train on, plain to evaluate."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Transform = Callable[["Image"], "Tensor"]
"""From an RGB picture to float32 of shape (channels, resolution, resolution)."""

PAD_SHARE = 8
"""Side of a padded crop divided by the pixels that are reflected at each border."""

RAND_AUGMENT = re.compile(
    r"rand(-(m\d{1,2}|n([1-9]|1[0-4])|mstd\d+(\.\d+)?|mmax\d{1,2}|p(0|1|0\.\d+)|inc[01]"
    r"|t(weights|3a|3aw)))*",
    re.ASCII,
)
"""What timm reads; at most 14 operations, as many as its smallest weighted set has."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How images are changed at random while a model is trained.

    Attributes:
        crop: ``resized`` (a part of random size and shape, resized), ``padded`` (the shorter side
            resized to the resolution, an eighth of that reflected at each border, as 4 of 32
            pixels, then a random crop: for small images) or ``none`` (as in evaluation).
        scale: Smallest and largest share of the area that a ``resized`` crop takes.
        flip: Probability of a mirror image.
        rand_augment: RandAugment in timm's words, such as ``rand-m9-mstd0.5``; empty for none.
        random_erasing: Probability that a rectangle is replaced by noise.

    Raises:
        UserError: A value is out of range.
    """

    crop: Literal["resized", "padded", "none"] = "resized"
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    rand_augment: str = ""
    random_erasing: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in ("resized", "padded", "none"):
            raise UserError(f"crop {self.crop!r} is not one of resized, padded, none")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"scale {self.scale} must be two numbers, 0 < smallest <= largest <= 1")
        for name in ("flip", "random_erasing"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name} {value} must be from 0 to 1")
        if self.rand_augment and not RAND_AUGMENT.fullmatch(self.rand_augment):
            raise UserError(
                f"rand_augment {self.rand_augment!r} is not in timm's form: rand and, each after a "
                "dash, any of m9 (magnitude), n2 (operations, 1 to 14), mstd0.5, mmax10, p0.5, "
                "inc1, tweights"
            )


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation) -> Transform:
    """Return what makes an augmented input of a picture.

    It draws from the global generators of ``random``, numpy and torch.

    Raises:
        UserError: The input has neither 1 nor 3 channels.
    """
    from torchvision import transforms

    steps: list[Any] = _crop(preprocessing, augmentation)
    if augmentation.flip:
        steps.append(transforms.RandomHorizontalFlip(augmentation.flip))
    if augmentation.rand_augment:
        steps.append(_rand_augment(preprocessing, augmentation.rand_augment))
    steps.append(_Normalised(preprocessing))
    if augmentation.random_erasing:
        # Of the area and shape, and with the noise, of timm's mode "pixel".
        steps.append(
            transforms.RandomErasing(
                augmentation.random_erasing, (0.02, 1 / 3), (0.3, 1 / 0.3), value="random"
            )
        )
    return transforms.Compose(steps)


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return what makes the input of a picture that ``preprocessing`` describes.

    The shorter side becomes floor(resolution / crop) pixels, as in timm.

    Raises:
        UserError: The input has neither 1 nor 3 channels.
    """
    from torchvision import transforms

    return transforms.Compose([*_centre(preprocessing), _Normalised(preprocessing)])


def _crop(preprocessing: Preprocessing, augmentation: Augmentation) -> list[Any]:
    from torchvision import transforms

    side = preprocessing.resolution
    if augmentation.crop == "none":
        return _centre(preprocessing)
    if augmentation.crop == "padded":
        return [_resize(preprocessing, side), _PaddedCrop(side)]
    mode = transforms.InterpolationMode(preprocessing.interpolation)
    return [transforms.RandomResizedCrop(side, augmentation.scale, interpolation=mode)]


def _centre(preprocessing: Preprocessing) -> list[Any]:
    from torchvision import transforms

    side = preprocessing.resolution
    shorter = math.floor(side / preprocessing.crop)
    return [_resize(preprocessing, shorter), transforms.CenterCrop(side)]


def _resize(preprocessing: Preprocessing, shorter: int) -> Any:
    from torchvision import transforms

    mode = transforms.InterpolationMode(preprocessing.interpolation)
    return transforms.Resize(shorter, interpolation=mode)


def _rand_augment(preprocessing: Preprocessing, words: str) -> Any:
    from PIL import Image
    from timm.data.auto_augment import rand_augment_transform

    # The settings of timm's create_transform; pictures have three channels until normalised.
    fill = [min(255, round(255 * value)) for value in preprocessing.mean]
    settings = {
        "translate_const": int(preprocessing.resolution * 0.45),
        "img_mean": tuple(fill * 3)[:3],
        "interpolation": Image.Resampling[preprocessing.interpolation.upper()],
    }
    augment = rand_augment_transform(words, settings)
    for operation in augment.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterized
    return augment


def _posterized(picture: "Image", bits: int, **_: Any) -> "Image":
    """Keep 1 to 8 bits: timm asks for 0 where it is strongest, which Pillow may refuse."""
    from PIL import ImageOps

    return ImageOps.posterize(picture, min(8, max(1, bits)))


class _PaddedCrop:
    """A random square of a picture whose borders are reflected by an eighth of its side."""

    def __init__(self, side: int) -> None:
        self._offsets = np.arange(side)
        self._pad = side // PAD_SHARE

    def __call__(self, picture: "Image") -> "Image":
        from PIL import Image

        pixels = np.asarray(picture)
        rows, columns = (self._places(length) for length in pixels.shape[:2])
        return Image.fromarray(pixels[rows[:, None], columns])

    def _places(self, length: int) -> Any:
        """Return which of ``length`` rows or columns the crop takes."""
        start = random.randint(-self._pad, length + self._pad - len(self._offsets))
        places = np.abs(self._offsets + start)
        return np.minimum(places, 2 * (length - 1) - places)


class _Normalised:
    """A picture as float32 (channels, height, width), channels last in memory, normalised."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        import torch

        if preprocessing.num_channels not in (1, 3):
            raise UserError(
                f"an input of {preprocessing.num_channels} channels cannot be made of a picture; "
                "mean and std must have 3 numbers, or 1 for grey"
            )
        self._mode = "RGB" if preprocessing.num_channels == 3 else "L"
        self._mean = torch.tensor(preprocessing.mean).view(-1, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(-1, 1, 1)

    def __call__(self, picture: "Image") -> "Tensor":
        import torch

        pixels = np.array(picture.convert(self._mode))
        height, width = pixels.shape[:2]
        values = torch.from_numpy(pixels.reshape(height, width, -1)).permute(2, 0, 1)
        return values.float().div_(255).sub_(self._mean).div_(self._std)
