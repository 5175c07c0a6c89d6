import pytest
import timm

from rexnet import UserError
from rexnet.nn import timm_names
from rexnet.nn.timm_names import check_name, is_known


def test_the_names_read_are_those_that_timm_knows():
    for name in timm.list_models():
        assert is_known(name), name
    assert not is_known("resnet")


@pytest.mark.parametrize("model", ["resnet50", "tf_efficientnet_lite0", "test_vit"])
def test_the_tags_read_are_those_that_timm_knows(model):
    tags = timm.list_models(f"{model}.*", pretrained=True)
    assert tags
    for name in tags:
        check_name(name)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("efficientnet_b00", r"no model 'efficientnet_b00' \(did you mean efficientnet_b0\?\)"),
        ("resnet50.a1_in", r"no weights 'resnet50\.a1_in' \(did you mean resnet50\.a1_in1k\?\)"),
        ("", "no model ''"),
    ],
)
def test_what_timm_does_not_know_is_told_with_what_comes_nearest(name, wanted):
    with pytest.raises(UserError, match=f"^timm knows {wanted}") as error:
        check_name(name)
    assert "\n" not in str(error.value)


def test_where_timms_files_cannot_be_read_timm_itself_is_left_to_tell(monkeypatch):
    monkeypatch.setattr(timm_names, "_sources", lambda: ())
    check_name("nothing")
