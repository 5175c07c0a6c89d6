import numpy as np
from torch import nn

from rexnet.deploy import runtimes
from rexnet.deploy.runtimes.executorch import EXECUTORCH


def test_a_file_takes_as_many_images_as_it_says(tmp_path):
    path = tmp_path / "model.pte"
    runtimes.write(EXECUTORCH, nn.ReLU().eval(), path, size=(1, 2, 2))
    images = np.random.default_rng(0).standard_normal((EXECUTORCH.max_batch, 1, 2, 2))
    images = images.astype(np.float32)
    (found,) = runtimes.run(EXECUTORCH, path, 1)(images)
    np.testing.assert_array_equal(found, np.maximum(images, 0))
