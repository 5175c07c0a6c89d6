"""Turn archives of CIFAR sheets into .npz files, the images of the package, or an image folder.

An archive is a zip of sheets (00.webp, 01.webp, ...) with labels.npy and classes.txt (CIFAR-10), or
fine.npy and fine_classes.txt (CIFAR-100). Usage:

    python tools/cifar.py npz OUT.npz ARCHIVE.zip [ARCHIVE.zip ...]
    python tools/cifar.py sample FOLDER ARCHIVE.zip [ARCHIVE.zip ...]
    python tools/cifar.py folder FOLDER ARCHIVE.zip [ARCHIVE.zip ...]

`rexnet search --data cifar10` reads data/cifar10-train.npz, `--data cifar100` reads
data/cifar100-train.npz. The folder, of CIFAR-100, has five classes with a few images each, to
fine-tune on.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rexnet.data.sample import read_sheet, write_sheet

SAMPLE_TRAIN, SAMPLE_HELD_OUT = 400, 100

FEW = ("bicycle", "orange", "rocket", "sunflower", "tiger")
FEW_TRAIN, FEW_VAL = 80, 160


def read_archive(path: str) -> tuple[NDArray[np.uint8], NDArray[Any], list[str]]:
    """Return the images (N, 32, 32, 3), the labels (N,) and the class names of one archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        sheets = sorted(name for name in names if name.endswith(".webp"))
        images = np.concatenate([read_sheet(io.BytesIO(archive.read(name))) for name in sheets])
        prefix = "fine" if "fine.npy" in names else ""
        labels = np.load(io.BytesIO(archive.read(f"{prefix or 'labels'}.npy")))
        text = archive.read(f"{prefix}_classes.txt" if prefix else "classes.txt").decode()
    return images, labels, text.split()


def write_sample(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[Any], classes: list[str]
) -> None:
    """Write the first 500 images of every class: 4,000 to train on, then 1,000 held out."""
    by_class = [np.flatnonzero(labels == label) for label in range(len(classes))]
    train = np.sort(np.concatenate([where[:SAMPLE_TRAIN] for where in by_class]))
    last = SAMPLE_TRAIN + SAMPLE_HELD_OUT
    held_out = np.sort(np.concatenate([where[SAMPLE_TRAIN:last] for where in by_class]))
    chosen = np.concatenate([train, held_out])
    for number, start in enumerate(range(0, len(chosen), 1000)):
        write_sheet(folder / f"{number:02}.webp", images[chosen[start : start + 1000]])
    np.save(folder / "labels.npy", labels[chosen].astype(np.uint8))
    (folder / "classes.txt").write_text("\n".join(classes) + "\n")


def write_folder(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[Any], classes: list[str]
) -> None:
    """Write the first images of a few classes of CIFAR-100 as JPEGs: 400 for train, 800 for val."""
    for name in FEW:
        where = np.flatnonzero(labels == classes.index(name))[: FEW_TRAIN + FEW_VAL]
        for number, index in enumerate(where):
            part = folder / ("train" if number < FEW_TRAIN else "val") / name
            part.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index]).save(part / f"{number:03}.jpg", quality=95)


def main(kind: str, out: str, *archives: str) -> None:
    """Read the archives in the order given and write one file or folder."""
    parts = [read_archive(path) for path in archives]
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    classes = parts[0][2]
    if kind == "npz":
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        np.savez(out, images=images, labels=labels, classes=np.array(classes))
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        write = write_sample if kind == "sample" else write_folder
        write(Path(out), images, labels, classes)
    print(f"{out}: {len(images):,} images of {len(classes)} classes read")


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("npz", "sample", "folder"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
