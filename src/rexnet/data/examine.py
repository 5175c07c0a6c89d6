"""What every image is: read once, whether it is damaged, and facts of those that are not."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.damage import jpeg_damage, png_damage
from rexnet.data.decode import FAINT, shown
from rexnet.data.image_sets import ArrayImages, Checkable

CHUNK = 64
"""Images examined by one task of a thread."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What every image of a set is; of those that are damaged nothing but why.

    Attributes:
        damage: Why an image cannot be read, by its index.
        sizes: Width and height as shown, shape (num_images, 2), int32; 0 of a damaged one.
        flat: Whether all pixels are shown in one colour, shape (num_images,), bool.
        faint: Whether its values differ, but use so little of the range of their bits that it looks
            blank, shape (num_images,), bool.
        transparent: Whether a pixel was transparent, shape (num_images,), bool.
        digests: The same for two images if and, but for a chance of 1 in 10^19, only if they show
            the same, shape (num_images,), uint64; 0 of a damaged one. JPEGs from 256 pixels on are
            compared by their drafts of an eighth, so only with JPEGs.
    """

    damage: dict[int, str] = field(default_factory=dict)
    sizes: NDArray[np.int32]
    flat: NDArray[np.bool_]
    faint: NDArray[np.bool_]
    transparent: NDArray[np.bool_]
    digests: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.digests)

    def of(self, indices: NDArray[np.int64]) -> "Examined":
        """Return the same of some images, sorted by their indices."""
        arrays = {
            f.name: getattr(self, f.name)[indices] for f in fields(self) if f.name != "damage"
        }
        places = {index: place for place, index in enumerate(indices.tolist())}
        damage = {places[i]: why for i, why in self.damage.items() if i in places}
        return Examined(damage=damage, **arrays)


def examine(
    images: Checkable, on_progress: Callable[[int, int], None], *, rank: int = 0, world: int = 1
) -> Examined:
    """Read every image once, or this process's share of them, and return what it is.

    Every file that is cut short is found damaged. Damage in its midst is found as far as the format
    lets anybody see it: always in PNG, nearly always in GIF and, from a kilobyte on, in JPEG,
    seldom in WebP, never in BMP.

    Args:
        images: The images; those in memory are sound.
        on_progress: Called now and then with the number of images that are done and of all.
        rank: The number of this process, from 0.
        world: The number of processes; of so many images each examines one.

    Returns:
        Of the images rank, rank + world, rank + 2 world and so on; see ``woven``.
    """
    count = len(range(rank, len(images), world))
    found = _empty(count)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    pool = ThreadPoolExecutor()
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities, such as EXIF it cannot read, that do no harm.
            warnings.simplefilter("ignore")
            results = pool.map(
                lambda chunk: _look_at_all(images, [rank + world * place for place in chunk]),
                chunks,
            )
            for chunk, part in zip(chunks, results, strict=True):
                _put(found, part, slice(chunk.start, chunk.stop))
                found.damage.update((chunk.start + i, why) for i, why in part.damage.items())
                on_progress(min(chunk.stop * world, len(images)), len(images))
    finally:
        # After an interrupt, do not go through the rest first.
        pool.shutdown(cancel_futures=True)
    return found


def woven(parts: Sequence[Examined]) -> Examined:
    """Return what all images are, from the shares of all processes in the order of their ranks."""
    if len(parts) == 1:
        return parts[0]
    world = len(parts)
    found = _empty(sum(map(len, parts)))
    for rank, part in enumerate(parts):
        _put(found, part, slice(rank, None, world))
        found.damage.update((rank + world * i, why) for i, why in part.damage.items())
    return found


def _empty(count: int) -> Examined:
    return Examined(
        sizes=np.zeros((count, 2), np.int32),
        flat=np.zeros(count, np.bool_),
        faint=np.zeros(count, np.bool_),
        transparent=np.zeros(count, np.bool_),
        digests=np.zeros(count, np.uint64),
    )


def _put(whole: Examined, part: Examined, where: slice) -> None:
    for array in fields(Examined):
        if array.name != "damage":
            getattr(whole, array.name)[where] = getattr(part, array.name)


def _look_at_all(images: Checkable, indices: Sequence[int]) -> Examined:
    if isinstance(images, ArrayImages):
        return _look_at_arrays(images, indices)
    return _look_at_files(images, indices)


def _look_at_arrays(images: ArrayImages, indices: Sequence[int]) -> Examined:
    found, pixels = _empty(len(indices)), images.images[np.array(indices)]
    side = pixels.shape[1]
    found.sizes[:] = side
    colors = pixels.reshape(len(pixels), -1, 3)
    ranges = np.ptp(colors, axis=1).max(1)
    found.flat[:] = ranges == 0
    found.faint[:] = (ranges > 0) & (ranges < FAINT * 255)
    found.digests[:] = [_digest((side, side), image.tobytes()) for image in pixels]
    return found


def _look_at_files(images: Checkable, indices: Sequence[int]) -> Examined:
    found = _empty(len(indices))
    for place, index in enumerate(indices):
        try:
            with open(images.where(index), "rb") as file:
                content = file.read()
            _look_at(content, images.max_megapixels, found, place)
        except OSError as error:
            found.damage[place] = error.strerror or str(error)
        except ValueError as error:
            found.damage[place] = str(error)
    return found


def _look_at(content: bytes, max_megapixels: int, found: Examined, place: int) -> None:
    """Write down what an image is.

    Raises:
        ValueError: It is damaged; the message is the reason.
    """
    image = shown(content, draft=True, max_megapixels=max_megapixels)
    if damage := jpeg_damage(content) or png_damage(content):
        raise ValueError(damage)
    most = _range(image.picture)
    if most < FAINT * 255 and image.picture.size != image.size:
        # Fine patterns are flat in a draft.
        most = _range(shown(content, max_megapixels=None).picture)
    found.sizes[place] = image.size
    found.flat[place] = most == 0
    found.faint[place] = image.faint or 0 < most < FAINT * 255
    found.transparent[place] = image.transparent
    found.digests[place] = _digest(image.size, image.picture.tobytes())


def _range(picture: Any) -> int:
    """Return by how much the values of a picture differ, in the colour in which they do most."""
    return max(high - low for low, high in picture.getextrema())


def _digest(size: tuple[int, int], pixels: bytes) -> int:
    digest = hashlib.blake2b(repr(size).encode(), digest_size=8)
    digest.update(pixels)
    # 0 stands for none.
    return int.from_bytes(digest.digest(), "little") or 1
