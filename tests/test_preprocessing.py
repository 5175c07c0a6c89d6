import json

import pytest
import timm

from rexnet import UserError
from rexnet.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

CONFIG = Preprocessing().to_config()
ODD = Preprocessing(
    resolution=96, crop=0.95, interpolation="bilinear", mean=(0.1, 0.2), std=(0.3, 0.4)
)


@pytest.mark.parametrize("preprocessing", [Preprocessing(), ODD])
def test_a_config_reads_back_to_an_equal_one_through_json(preprocessing):
    config = json.loads(json.dumps(preprocessing.to_config()))
    assert Preprocessing.from_config(config) == preprocessing


def test_the_defaults_are_those_that_timm_states_for_the_official_weights():
    config = timm.get_pretrained_cfg("rexnet_100").to_dict()
    assert Preprocessing.from_config(config) == Preprocessing()


@pytest.mark.parametrize(
    ("num_channels", "mean", "std"),
    [
        (1, (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)),
        (2, IMAGENET_MEAN[:2], IMAGENET_STD[:2]),
        (3, IMAGENET_MEAN, IMAGENET_STD),
        (4, (*IMAGENET_MEAN, 0.485), (*IMAGENET_STD, 0.229)),
        (7, (*IMAGENET_MEAN, *IMAGENET_MEAN, 0.485), (*IMAGENET_STD, *IMAGENET_STD, 0.229)),
    ],
)
def test_other_channels_average_or_repeat_the_statistics(num_channels, mean, std):
    changed = Preprocessing(resolution=96).with_channels(num_channels)
    assert changed == Preprocessing(resolution=96, mean=mean, std=std)
    assert changed.num_channels == num_channels
    assert changed.to_config()["input_size"] == [num_channels, 96, 96]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"resolution": 7}, "resolution 7 must be from 8 to 4096 pixels"),
        ({"crop": 0}, "crop 0 must be above 0 and at most 1"),
        ({"crop": 1.1}, r"crop 1\.1 must be above 0 and at most 1"),
        ({"interpolation": "cubic"}, "interpolation 'cubic' is not one of bilinear, bicubic"),
        ({"mean": (), "std": ()}, "must have a number a channel, std above 0"),
        ({"mean": (0.5,)}, "must have a number a channel, std above 0"),
        ({"std": (0.2, 0.2, 0.0)}, "must have a number a channel, std above 0"),
    ],
)
def test_values_out_of_range_are_named(fields, reason):
    with pytest.raises(UserError, match=reason):
        Preprocessing(**fields)


@pytest.mark.parametrize("field", CONFIG)
def test_a_missing_field_of_a_config_is_named(field):
    config = {name: value for name, value in CONFIG.items() if name != field}
    with pytest.raises(UserError, match=f"field '{field}' of the preprocessing is missing"):
        Preprocessing.from_config(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crop_mode": "squash"}, "crop_mode 'squash' of the preprocessing must be 'center'"),
        ({"mean": 0.5}, "wrong type: 'float' object is not iterable"),
        ({"crop_pct": "most"}, "wrong type: could not convert string to float: 'most'"),
        ({"input_size": []}, "wrong type: list index out of range"),
        ({"crop_pct": 2}, r"crop 2\.0 must be above 0 and at most 1"),
    ],
)
def test_a_damaged_config_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        Preprocessing.from_config(CONFIG | changes)
