from candidates import PROTOCOL
from torch import nn

from rexnet.search.candidates.optimizer import make_optimizer


def test_batch_norm_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, spared = make_optimizer(model, PROTOCOL).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in spared["params"]] == [1] * 4
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
