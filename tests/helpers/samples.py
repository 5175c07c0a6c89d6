"""Images and transforms for tests of batches, which show what was read, drawn and by whom."""

import os
import random
import signal

import numpy as np
import torch

from rexnet import UserError
from rexnet.data.image_sets import ArrayImages


def numbered(count):
    """Return images of one colour each, which is their number and their label."""
    colours = np.arange(count)
    images = np.broadcast_to(colours[:, None, None, None].astype(np.uint8), (count, 8, 8, 3))
    return ArrayImages(
        name="colours", classes=tuple(map(str, colours)), labels=colours, images=images
    )


def colour(picture):
    """Return the colour of a picture as its input, of shape (1, 1, 1)."""
    return torch.tensor(picture.getpixel((0, 0))[0], dtype=torch.float32).reshape(1, 1, 1)


def draw(picture):
    """Return its colour and a number from each global generator as the input of a picture."""
    numbers = random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002
    return torch.tensor([colour(picture).item(), *numbers]).reshape(4, 1, 1)


def die(picture):
    """Kill the process that reads."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(picture):
    """Fail as a bug does."""
    raise ZeroDivisionError("a bug")


def count_threads(picture):
    """Return the number of torch's threads as an input, of shape (1, 1, 1)."""
    return torch.tensor(float(torch.get_num_threads())).reshape(1, 1, 1)


def failure(batches, kind=UserError):
    """Return the message with which ``batches`` fail.

    Unlike pytest.raises it keeps no traceback, which would leave the workers to the collector of
    garbage.
    """
    try:
        list(batches)
    except kind as error:
        return str(error)
    raise AssertionError("no error")


def labels_of(batches):
    """Return the labels of all batches, in order."""
    return [label for _, y in batches for label in y.tolist()]
