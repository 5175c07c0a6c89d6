import copy
import dataclasses

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs_of_specs import pairs
from strategies import randomise
from torch import nn

import rexnet
from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.deploy import runtimes
from rexnet.nn.inherit.coupling import couple
from rexnet.nn.inherit.importance import IMPORTANCES
from rexnet.nn.inherit.points import widths
from rexnet.nn.network import Network
from rexnet.preprocessing import Preprocessing

SMALL = NetSpec(
    name="small",
    blocks=(
        BlockSpec(width=8, expansion=1),
        BlockSpec(width=12, stride=2, se_divisor=4),
        BlockSpec(width=14, se_divisor=4, expansion=4),
    ),
    stem_width=8,
    penultimate_width=24,
    num_classes=5,
    resolution=32,
)
NARROW = dataclasses.replace(
    SMALL.with_widths([6, 9, 10], name="narrow"), stem_width=6, penultimate_width=16
)
WIDE = dataclasses.replace(
    SMALL.with_widths([10, 15, 18], name="wide"), stem_width=10, penultimate_width=32
)
MIXED = dataclasses.replace(
    SMALL.with_widths([10, 10, 18], name="mixed"), stem_width=6, penultimate_width=16
)
WITHOUT_IMAGES = [name for name, each in IMPORTANCES.items() if not each.needs_images]


def built(spec, dtype=torch.float32):
    """Return a network in eval mode with random weights and statistics."""
    torch.manual_seed(0)
    model = Network(spec).eval()
    randomise(model)
    return model.to(dtype)


def images(count=2, side=20, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, side, side, generator=generator, dtype=dtype)


def logits(model, x):
    with torch.no_grad():
        return model(x)


def masked(model, slots):
    """Return the whole network with a zero in the place of every channel that is left out."""
    model, have = copy.deepcopy(model), widths(model.spec)
    masks = slots.joined(
        have, lambda kept, count: torch.isin(torch.arange(count), torch.tensor(kept)).double()
    )

    def hide(module, mask):
        module.register_forward_hook(lambda _m, _x, y: y * mask.reshape(1, -1, *[1] * (y.ndim - 2)))

    hide(model.stem_act, masks.streams[0])
    for number, block in enumerate(model.blocks):
        hide(block, masks.streams[number + 1])
        if block.expand is not None:
            hide(block.expand_act, masks.expanded[number])
        hide(block.depthwise, masks.expanded[number])
        hide(block.depthwise_act, masks.expanded[number])
        if block.se is not None:
            hide(block.se.act, masks.squeezed[number])
    if model.penultimate is not None:
        hide(model.penultimate_act, masks.penultimate)
    if model.hidden is not None:
        hide(model.hidden_act, masks.hidden)
    return model


@settings(max_examples=60)
@given(pairs(), st.sampled_from(WITHOUT_IMAGES))
def test_a_network_of_other_widths_is_the_whole_one_with_channels_masked(pair, importance):
    source, spec = pair
    model, x = built(source, torch.double), images(dtype=torch.double)
    scores = IMPORTANCES[importance].score(model, None, None)
    wanted = logits(masked(model, couple(source, spec, scores)), x)
    made = rexnet.inherit(model, spec, importance=importance)
    assert made.spec == spec
    torch.testing.assert_close(logits(made, x), wanted, rtol=1e-8, atol=1e-8)


@settings(max_examples=40)
@given(pairs(wider=True), st.booleans())
def test_a_network_that_is_nowhere_narrower_gives_the_same_logits(pair, with_images):
    source, spec = pair
    model, x = built(source, torch.double), images(dtype=torch.double)
    made = rexnet.inherit(model, spec, images=x if with_images else None)
    torch.testing.assert_close(logits(made, x), logits(model, x), rtol=1e-8, atol=1e-8)


def test_everything_in_a_grown_network_learns():
    made = rexnet.inherit(built(SMALL), WIDE, images=images(16)).train()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    # New channels learn as soon as what reads them is no longer zero.
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(images(16)), torch.arange(16) % 5).backward()
        optimizer.step()
    for name, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all(), name
        each = parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[:, None]
        shifts = name.endswith("se.reduce.bias")
        assert shifts or each.any(1).float().mean() > 0.8, name


@pytest.mark.parametrize("spec", [NARROW, WIDE, MIXED], ids=lambda spec: spec.name)
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_the_same_call_gives_the_same_network_and_the_source_stays(spec, importance):
    model = built(SMALL).train()
    before = copy.deepcopy(model.state_dict())
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(rexnet.inherit(model, spec, images=images(8), importance=importance))
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(tensor.isfinite().all() for tensor in first.values())
    assert model.training
    assert not networks[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_images_bring_a_cut_network_closer_to_the_whole_one():
    model, x = built(SMALL), images(64, 32)
    spec = dataclasses.replace(SMALL.with_widths([8, 11, 13], name="less"), penultimate_width=22)

    def distance(**options):
        made = rexnet.inherit(model, spec, **options)
        return (logits(made, x) - logits(model, x)).square().mean()

    importance = {"importance": "norm"}
    cut = distance(**importance)
    refreshed = distance(images=x, refit=False, **importance)
    assert distance(images=x, **importance) < 0.5 * min(cut, refreshed)


def test_classes_are_kept_where_their_number_is_and_rows_where_it_is_asked_for():
    model = built(SMALL)
    model.classes = tuple("abcde")
    assert rexnet.inherit(model, WIDE).classes == tuple("abcde")
    fewer = dataclasses.replace(WIDE, num_classes=3)
    new, kept = (rexnet.inherit(model, fewer, keep_classifier=keep) for keep in (False, True))
    assert (new.classes, kept.classes) == ((), ("a", "b", "c"))
    x = images()
    torch.testing.assert_close(logits(kept, x), logits(model, x)[:, :3], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(logits(new, x), logits(model, x)[:, :3], atol=1e-3)
    none = rexnet.inherit(model, dataclasses.replace(NARROW, num_classes=0), images=images(8))
    assert logits(none, x).shape == (2, 16)
    grown = rexnet.inherit(none, dataclasses.replace(NARROW, num_classes=4), images=images(8))
    assert logits(grown, x).shape == (2, 4)


def test_preprocessing_is_the_models_at_the_resolution_of_the_spec():
    model = built(SMALL)
    model.preprocessing = Preprocessing(resolution=40, crop=0.9, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert rexnet.inherit(model, NARROW).preprocessing == model.preprocessing
    larger = rexnet.inherit(model, dataclasses.replace(NARROW, resolution=48)).preprocessing
    assert larger == dataclasses.replace(model.preprocessing, resolution=48)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"importance": "magnitud"}, "did you mean magnitude"),
        ({"importance": "taylor"}, "importance 'taylor' needs images"),
        ({"images": torch.zeros(8, 1, 9, 9)}, r"shape \(N, 3, H, W\)"),
        ({"images": torch.zeros(8, 3, 9, 9, dtype=torch.uint8)}, "uint8"),
        ({"images": torch.zeros(1, 3, 9, 9)}, "1 image has no statistics"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(options, words):
    with pytest.raises(UserError, match=words):
        rexnet.inherit(built(SMALL), NARROW, **options)


def test_a_classifier_to_keep_needs_the_classes():
    more = dataclasses.replace(NARROW, num_classes=9)
    with pytest.raises(UserError, match="9 classes, small 5"):
        rexnet.inherit(built(SMALL), more, keep_classifier=True)
    with pytest.raises(UserError, match="2 blocks, the source 3"):
        rexnet.inherit(built(SMALL), dataclasses.replace(NARROW, blocks=NARROW.blocks[:2]))


def test_an_inherited_network_is_saved_loaded_and_exported_like_any_other(tmp_path):
    made, x = rexnet.inherit(built(SMALL), MIXED, images=images(16, 32)), images(1, 32)
    rexnet.save_pretrained(made, tmp_path / "model")
    assert torch.equal(logits(rexnet.load_model(tmp_path / "model"), x), logits(made, x))
    runtime, path = runtimes.RUNTIMES["onnxruntime"], tmp_path / "model.onnx"
    runtimes.write(runtime, runtime.form(made), path, size=(3, 32, 32))
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), logits(made, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rexnet_lite_1.0", "rexnet_plain"])
def test_families_inherit_from_each_other(name):
    spec = families.get(name)
    narrow = dataclasses.replace(
        spec.with_widths([max(1, width // 3) for width in spec.widths], "narrow"),
        stem_width=spec.stem_width if name != "rexnet_lite_1.0" else 16,
    )
    torch.manual_seed(0)
    made = rexnet.inherit(Network(narrow), spec, images=images(4, 32))
    assert logits(made, images(2, 32)).isfinite().all()
