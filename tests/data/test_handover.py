import io
import os
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from rexnet.data.handover import Parcel


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
