"""Folders and files of photographs, made of the images of the sample."""

import numpy as np
import pytest
from PIL import Image

from rexnet import UserError
from rexnet.data.sample import read_sample

PIXELS = read_sample()[0]


def picture(number, side=64):
    """Return a photograph of the sample, enlarged, as a picture."""
    image = Image.fromarray(PIXELS[number])
    return image.resize((side, side + 10), Image.Resampling.BICUBIC)


def write_classes(folder, counts, suffix=".jpg"):
    """Write a folder of class folders with so many images each."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(number).save(folder / name / f"{number:03}{suffix}")
    return folder


def write_splits(folder, train=None, val=None, validation="val"):
    """Write a folder with a part to train on and one to validate on."""
    write_classes(folder / "train", {"cat": 3, "dog": 2} if train is None else train)
    write_classes(folder / validation, {"cat": 1, "dog": 2} if val is None else val)
    return folder


def write_npz(path, **arrays):
    """Write 40 images of two classes but for ``arrays``; None leaves an array out."""
    good = {"images": PIXELS[:40], "labels": np.arange(40) % 2}
    np.savez(path, **{key: value for key, value in (good | arrays).items() if value is not None})
    return path


def refusal(function, *arguments):
    """Return the one line with which a call is refused."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    message = str(error.value)
    assert "\n" not in message
    return message
