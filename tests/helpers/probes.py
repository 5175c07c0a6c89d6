"""Results of linear probes, shared by the tests of what ranks and prints them."""

import numpy as np

from rexnet.train.probe import ProbeResult


def probed(resolution, top1, macs, num_images=100, num_train=100):
    """Return what a probe of two classes might have found."""
    return ProbeResult(
        resolution=resolution,
        top1=top1,
        top5=1.0,
        num_images=num_images,
        num_train=num_train,
        strength=0.01,
        macs=macs,
        seconds=1.0,
        weight=np.zeros((2, 1), np.float32),
        bias=np.zeros(2, np.float32),
    )
