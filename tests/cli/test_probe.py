from pathlib import Path

import pytest
from commands import mistaken
from photographs import write_splits
from probes import probed
from small_models import write_network

from rexnet.cli import main as cli
from rexnet.cli.console import plain_console
from rexnet.cli.probe import print_ranking, rank
from rexnet.train.config import ProbeConfig

PROBE = ["probe", "--model", "rexnet_1.0", "--data", "sample"]

MISTAKES = {
    "nothing": (["probe"], ["give --model and --data"]),
    "no weights": (PROBE, ["rexnet_1.0 is no run folder", "needs --weights"]),
    "no weights of timm": (
        ["probe", "--model", "timm:resnet18", "--data", "sample"],
        ["timm:resnet18 needs --weights timm"],
    ),
    "images": ([*PROBE, "--weights", "W", "--data", "nowhere"], ["no images at 'nowhere'"]),
    "resolution": ([*PROBE, "--resolution", "4"], ["resolution 4 must be from 8 to 4096"]),
    "resolutions": ([*PROBE, "--resolution", "32", "32"], ["--resolution 32 32 has one twice"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    Path("W").mkdir()
    write_network(Path("W"))
    mistaken(capsys, *MISTAKES[mistake])


def test_a_probe_prints_a_line_a_resolution(here, capsys):
    write_network(here / "model")
    write_splits(here / "photos")
    words = ["probe", "--model", "model", "--data", "photos", "--resolution", "32", "24"]
    assert cli.main([*words, "--out", "P", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert "linear probe: top-1 (%)" in out
    assert "Fitted to 5 images, validated on 3" in out
    assert "P/result.json" in out


def test_a_ranking_recommends_the_cheapest_that_is_as_good_but_for_noise(capsys):
    rows = [
        probed(side, top1, macs, num_images=400, num_train=600)
        for side, top1, macs in ((224, 0.71, 400), (160, 0.70, 204), (64, 0.5, 32))
    ]
    print_ranking(plain_console(), rows)
    words = "Take 160 px, within a standard error of 224 px: 51.0 % of the MACs of the largest."
    assert words in capsys.readouterr().out
    print_ranking(plain_console(), rows[:1])
    assert "Take 224 px, the best: 100.0 %" in capsys.readouterr().out


def test_a_ranking_is_printed_of_a_folder(here, capsys):
    write_network(here / "model")
    write_splits(here / "photos")
    rank(ProbeConfig(model="model", data="photos", resolution=(32, 16), workers=0))
    out = capsys.readouterr().out
    assert "Images: photos" in out
    assert "Take " in out
