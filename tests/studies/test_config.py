import pytest

from rexnet import UserError
from rexnet.studies.config import ActivationStudy, DetectionStudy, FactorStudy


@pytest.mark.parametrize(
    ("kind", "changes", "wanted"),
    [
        (ActivationStudy, {"activations": ("swish",)}, "activation 'swish'"),
        (ActivationStudy, {"activations": ("silu", "silu")}, "must be different"),
        (ActivationStudy, {"activations": ()}, "at least one"),
        (ActivationStudy, {"seeds": 0}, "seeds 0 must be from 1"),
        (ActivationStudy, {"parallel": 0}, "parallel 0 must be from 1"),
        (DetectionStudy, {"backbones": ()}, "at least one"),
        (DetectionStudy, {"backbones": ("a", "a")}, "must be different"),
        (DetectionStudy, {"seeds": 0}, "seeds 0 must be from 1"),
        (DetectionStudy, {"from_scratch": True, "weights": "timm"}, "give no --weights"),
        (FactorStudy, {"seeds": 0}, "seeds 0 must be from 1"),
    ],
)
def test_a_wrong_setting_is_told(kind, changes, wanted):
    given = {"data": "D", "backbones": ("a", "b")} if kind is DetectionStudy else {}
    with pytest.raises(UserError, match=wanted):
        kind(**given | changes)
