import cifar
import numpy as np
from PIL import Image

from rexnet.data.sources import open_images


def test_the_folder_of_few_images_can_be_trained_on(tmp_path):
    classes = sorted((*cifar.FEW, "apple"))
    labels = np.repeat(np.arange(6), cifar.FEW_TRAIN + cifar.FEW_VAL + 3)
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    images[:] = 40 * labels[:, None, None, None]
    cifar.write_folder(tmp_path, images, labels, classes)
    train, val = open_images(str(tmp_path))
    assert train.classes == cifar.FEW
    assert len(train) == 5 * cifar.FEW_TRAIN
    assert len(val) == 5 * cifar.FEW_VAL
    with Image.open(tmp_path / "val" / "tiger" / "239.jpg") as picture:
        assert abs(int(np.asarray(picture)[0, 0, 0]) - 40 * classes.index("tiger")) < 3
