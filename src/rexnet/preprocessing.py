"""Preprocessing: how an image becomes the input that a model's weights were trained for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

from rexnet.errors import UserError

INTERPOLATIONS = ("bilinear", "bicubic")

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize the shorter side to ``resolution / crop``, cut out the centre, then normalise.

    The defaults are those of the official weights.

    Attributes:
        resolution: Side of the input in pixels.
        crop: Side of the centre crop divided by the resized shorter side, above 0 and at most 1.
        interpolation: ``bilinear`` or ``bicubic``.
        mean: Subtracted from each channel of an image in 0 to 1.
        std: Divided by, for each channel.

    Raises:
        UserError: A value is out of range.
    """

    resolution: int = 224
    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 8 <= self.resolution <= 4096:
            raise UserError(f"resolution {self.resolution} must be from 8 to 4096 pixels")
        if not 0 < self.crop <= 1:
            raise UserError(f"crop {self.crop} must be above 0 and at most 1")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
            )
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(
                f"mean {self.mean} and std {self.std} must have a number a channel, std above 0"
            )

    @property
    def num_channels(self) -> int:
        """Channels of the input."""
        return len(self.mean)

    def with_channels(self, num_channels: int) -> "Preprocessing":
        """Return the same for images of ``num_channels`` channels.

        One channel takes the averages of ``mean`` and ``std``; other numbers repeat them in turn.
        """
        if num_channels == self.num_channels:
            return self
        if num_channels == 1:
            return replace(
                self, mean=(sum(self.mean) / len(self.mean),), std=(sum(self.std) / len(self.std),)
            )
        mean, std = (tuple(islice(cycle(v), num_channels)) for v in (self.mean, self.std))
        return replace(self, mean=mean, std=std)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "Preprocessing":
        """Read the fields of a timm ``pretrained_cfg``: input_size, crop_pct, mean, std.

        Raises:
            UserError: A field is missing or out of range, or the crop is not a central one.
        """
        crop_mode = config.get("crop_mode", "center")
        if crop_mode != "center":
            raise UserError(f"crop_mode {crop_mode!r} of the preprocessing must be 'center'")
        try:
            return Preprocessing(
                resolution=int(config["input_size"][-1]),
                crop=float(config["crop_pct"]),
                interpolation=str(config["interpolation"]),
                mean=tuple(map(float, config["mean"])),
                std=tuple(map(float, config["std"])),
            )
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"field {error} of the preprocessing is missing") from None
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"the preprocessing has a field of a wrong type: {error}") from None

    def to_config(self) -> dict[str, Any]:
        """Return the fields of a timm ``pretrained_cfg``, which ``from_config`` reads back."""
        return {
            "input_size": [self.num_channels, self.resolution, self.resolution],
            "crop_pct": self.crop,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }
