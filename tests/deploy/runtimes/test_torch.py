import numpy as np
import pytest
import torch
from small_models import network
from torch import nn

from rexnet import UserError
from rexnet.deploy import parity
from rexnet.deploy.runtimes.torch import GRAPHS, TORCH_COMPILE, module_call, module_run

pytestmark = pytest.mark.numeric

SIZE = (3, 32, 32)


def test_a_lower_precision_is_computed_in():
    model, images = network(), parity.batches(SIZE)
    lower = module_run(model, precision="bfloat16")
    found = parity.compare(module_run(model), lower, images)
    assert 1e-4 < found.difference < 0.5
    assert lower(images[0])[0].dtype == np.float32


def test_images_on_a_device_give_what_images_in_memory_give():
    model, images = network(), parity.batches(SIZE)[1]
    (theirs,) = module_run(model)(images)
    (ours,) = module_call(model, images)()
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_what_cannot_be_compiled_is_told_in_one_line():
    class Counting(nn.Module):
        def forward(self, x):
            return x * len([row for row in x if row.sum() > 0])

    run = TORCH_COMPILE.run(Counting().eval(), 1, "float32")
    with pytest.raises(UserError, match=r"^torch cannot compile it: [^\n]+$"):
        run(parity.batches(SIZE)[1])


def test_many_models_of_a_class_are_compiled_while_they_are_timed():
    before = torch._dynamo.config.recompile_limit
    with TORCH_COMPILE.session():
        assert torch._dynamo.config.recompile_limit == GRAPHS
    assert torch._dynamo.config.recompile_limit == before
