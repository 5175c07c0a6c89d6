import math

import pytest
import torch
from torch import nn

from rexnet import UserError
from rexnet.train.recipe import LoopRecipe, Recipe
from rexnet.train.state import State, make_optimizer, make_scheduler

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")


def state(**changes):
    torch.manual_seed(0)
    recipe = LoopRecipe(**{"epochs": 2, "warmup_epochs": 1, "ema": 0.5} | changes)
    return State(nn.Linear(2, 2), recipe, steps_per_epoch=3, seed=5, device=CPU)


def step(state):
    """Take one step of a training."""
    state.scheduler.step_update(state.step)
    state.model(torch.ones(4, 2)).square().sum().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    if state.ema:
        state.ema.update(state.model, step=state.step)


def test_what_is_saved_goes_on_as_if_it_had_not_been(tmp_path):
    one = state()
    step(one)
    step(one)
    one.losses, one.seconds, one.history = [0.5, 0.25], 7.5, [{"epoch": 1, "top1": 0.5}]
    one.save(tmp_path / "last.pt")
    other = state()
    with torch.no_grad():
        other.model.weight.fill_(9)
    other.load(tmp_path / "last.pt")
    assert (other.step, other.losses, other.seconds) == (2, [0.5, 0.25], 7.5)
    assert other.history == one.history
    for found in (one, other):
        step(found)
    assert other.lr == one.lr
    assert torch.equal(other.model.weight, one.model.weight)
    assert torch.equal(other.kept.weight, one.kept.weight)


def test_the_moving_average_is_kept_if_there_is_one():
    with_average, without = state(), state(ema=0.0)
    assert with_average.kept is not with_average.model
    assert without.kept is without.model


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
