import numpy as np
import pytest
import torch
from candidates import SPEC
from torch import nn

from rexnet.nn.network import Network
from rexnet.search.candidates.optimizer import Average, make_optimizer, norm_biases
from rexnet.search.candidates.protocol import Protocol


def test_only_biases_of_batch_norms_have_a_higher_rate():
    model = Network(SPEC)
    groups = make_optimizer(model, Protocol(norm_bias_lr=8.0)).param_groups
    assert [group["factor"] for group in groups] == [1.0, 1.0, 8.0]
    faster = {id(p) for p in groups[2]["params"]}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert faster == {id(norm.bias) for norm in norms}
    every = [id(p) for group in groups for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters())


def test_without_a_higher_rate_there_are_the_groups_of_earlier_searches():
    groups = make_optimizer(Network(SPEC), Protocol()).param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4, 0.0]
    assert len(norm_biases(Network(SPEC))) > 0


def test_an_average_keeps_a_share_of_itself_every_step():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    average, wanted, statistic = Average(model, 0.75), 1.0, 0.0
    for value in (2.0, 5.0, -1.0):
        with torch.no_grad():
            model[0].weight.fill_(value)
            model[1].running_mean.fill_(value)
        average.update()
        wanted, statistic = (0.75 * known + 0.25 * value for known in (wanted, statistic))
    average.take()
    assert model[0].weight.item() == pytest.approx(wanted)
    assert model[1].running_mean.item() == pytest.approx(statistic)


def test_without_a_decay_the_last_weights_stay():
    model = nn.Linear(2, 2)
    before = model.weight.detach().numpy().copy()
    average = Average(model, 0.0)
    average.update()
    average.take()
    np.testing.assert_array_equal(model.weight.detach().numpy(), before)
    assert average.state == []
