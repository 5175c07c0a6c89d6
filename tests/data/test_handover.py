import io
import os
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from rexnet.data.handover import Parcel

SMALL_SHM = """
from rexnet.data.loader import LabelledImages, evaluation_batches
from rexnet.data.sources import open_images
from rexnet.data.transforms import evaluation_transform
from rexnet.preprocessing import Preprocessing

transform = evaluation_transform(Preprocessing(resolution=64))
samples = LabelledImages(open_images("sample")[1], transform)
batches = evaluation_batches(samples, batch_size=128, num_workers=1)
print(*next(batches)[0].shape)
"""


def delivered(*tensors):
    """Return tensors as a queue between processes hands them over, here within one."""
    sent = io.BytesIO(ForkingPickler.dumps(Parcel(tensors)))
    return ForkingPickler.loads(sent.getbuffer())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(4, 3, 5, 7),
        torch.randn(4, 3, 5, 7).contiguous(memory_format=torch.channels_last),
        torch.arange(5),
        torch.randn(3, 4).T,
        torch.randn(9, 4)[2::3],
        torch.zeros(4, 0, 5),
        torch.tensor(7.0),
    ],
    ids=("plain", "channels last", "labels", "transposed", "rows left out", "empty", "number"),
)
def test_tensors_arrive_as_they_were(tensor):
    first, second, third = delivered(torch.arange(3), tensor, torch.arange(3.0))
    assert torch.equal(second, tensor)
    assert second.dtype == tensor.dtype
    assert torch.equal(first, torch.arange(3))
    assert torch.equal(third, torch.arange(3.0))


def test_channels_stay_last():
    sent = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    (arrived,) = delivered(sent)
    assert arrived.stride() == sent.stride()


@pytest.mark.parametrize("is_memory", [True, False])
def test_what_arrives_needs_no_dev_shm_and_may_be_written_to(is_memory, monkeypatch):
    if not is_memory:
        # As in a Python that was built for an old system, or another one than Linux.
        monkeypatch.delattr(os, "memfd_create", raising=False)
    (arrived,) = delivered(torch.zeros(4))
    assert not arrived.is_shared()
    arrived += 1
    assert arrived.tolist() == [1, 1, 1, 1]


def test_batches_larger_than_dev_shm_come_all_the_same():
    mounted = "mount -t tmpfs -o size=1m none /dev/shm"
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*apart, mounted], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a /dev/shm of their own")
    command = [*apart, f'{mounted} && exec "$@"', "sh", sys.executable, "-c", SMALL_SHM]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (found.stdout, found.returncode) == ("128 3 64 64\n", 0), found.stderr
