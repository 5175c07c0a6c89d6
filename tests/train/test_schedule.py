import math

import pytest
import torch
from torch import nn

from rexnet import UserError
from rexnet.train.recipe import LoopRecipe, Recipe
from rexnet.train.schedule import make_optimizer, make_scheduler

pytestmark = pytest.mark.numeric


def test_a_warm_up_may_start_above_zero():
    recipe = LoopRecipe(epochs=4, warmup_epochs=2, warmup_start=0.25, lr=0.4, lr_batch_size=512)
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    scheduler = make_scheduler(optimizer, recipe, 10)
    rates = []
    for step in range(21):
        scheduler.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.25)
    assert rates[20] == pytest.approx(0.4)


def test_the_schedule_is_a_linear_warm_up_and_a_cosine_to_zero():
    recipe = Recipe(epochs=10, warmup_epochs=2, lr=0.5, batch_size=256)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.peak_lr)
    scheduler = make_scheduler(optimizer, recipe, 100)
    for step in (0, 1, 50, 199, 200, 333, 600, 999):
        scheduler.step_update(step)
        cosine = 0.25 * 0.5 * (1 + math.cos(math.pi * (step - 200) / 800))
        wanted = 0.25 * step / 200 if step < 200 else cosine
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted, rel=1e-9)


def test_weight_decay_spares_biases_and_batch_norms():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = make_optimizer(model, Recipe(weight_decay=1e-3))
    decayed = {
        p.ndim > 1: group["weight_decay"]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert decayed == {True: 1e-3, False: 0.0}
    assert all(group["nesterov"] for group in optimizer.param_groups)


def test_an_unknown_optimizer_is_told():
    with pytest.raises(UserError, match="optimizer 'sdg'"):
        make_optimizer(nn.Linear(2, 2), Recipe(optimizer="sdg"))
