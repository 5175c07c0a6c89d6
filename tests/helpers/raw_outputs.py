"""What the heads of a small SSDLite might give."""

import torch
from torch.nn import functional as F

from rexnet.detect.heads.anchors import anchors
from rexnet.detect.heads.boxes import Raw

PLACES = anchors((4, 2, 1, 1, 1, 1))


def targets(*images):
    """Pack lists of (label, box)."""
    rows = [torch.tensor([[label, *box] for label, box in image]).view(-1, 5) for image in images]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def random_raw(num_images=2, num_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = num_images, len(PLACES)
    return Raw(
        torch.randn(*shape, num_classes + 1, generator=generator),
        torch.randn(*shape, 4, generator=generator),
    )


def encoded(found):
    """Return what heads would give that find exactly ``found``: (labels, offsets)."""
    labels, offsets = found
    return Raw(20 * F.one_hot(labels, 4).float(), offsets)
