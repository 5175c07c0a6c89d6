from pathlib import Path

import pytest
from commands import mistaken, refused

from rexnet import NetSpec, families, runs
from rexnet.cli import design
from rexnet.cli import main as cli
from rexnet.cost import count

MISTAKES = {
    "design": (["design"], ["give --params, --macs, --latency", "--budget like:"]),
    "design like": (["design", "--budget", "like:rexnet_9.9x"], ["unknown model 'rexnet_9.9x'"]),
    "design ends": (["design", "--macs", "1G", "--scale_ends"], ["--scale_ends needs --network"]),
    "design network": (
        ["design", "--macs", "1G", "--network", "mobilenet_v2", "--blocks", "9"],
        ["leave out --blocks"],
    ),
    "design unit": (["design", "--params", "4.8X", "--macs", "1M"], ["--params", "'4.8X'"]),
    "design too small": (
        ["design", "--params", "1k", "--macs", "1k"],
        ["no network fits params 1,000 and MACs 1,000", "raise the budget"],
    ),
    "design blocks": (["design", "--params", "4M", "--macs", "1G", "--blocks", "0"], ["0 blocks"]),
    "design classes": (
        ["design", "--params", "4M", "--macs", "1G", "--classes", "0"],
        ["num_classes 0"],
    ),
    "redesign": (["redesign"], ["give a name or the path of a spec"]),
    "redesign name": (["redesign", "mobilenet_v9"], ["'mobilenet_v9' (did you mean mobilenet_v"]),
    "redesign budget": (
        ["redesign", "mobilenet_v1", "--budget", "half"],
        ["--budget", "'half' is not one of 'same'"],
    ),
    "redesign out": (
        ["redesign", "mobilenet_v1", "--out", "."],
        ["cannot write .: Is a directory"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


def test_a_design_keeps_its_budget_and_its_file(capsys):
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    printed = capsys.readouterr().out
    spec = NetSpec.load("spec.json")
    total = count(spec)
    assert f"{total.params:,} params, {total.macs:,} MACs, written to spec.json" in printed
    assert 0.9 * 4_800_000 < total.params <= 4_800_000
    assert 0.9 * 400_000_000 < total.macs <= 400_000_000
    before = Path("spec.json").read_bytes()
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    assert "spec.json holds another network" in refused(
        capsys, "design", "--params", "5M", "--macs", "400M"
    )
    assert Path("spec.json").read_bytes() == before


def designed(*arguments, out="spec.json"):
    """Design a network and return its spec."""
    assert cli.main(["design", *arguments, "--out", out]) == 0
    return NetSpec.load(out)


def test_one_limit_is_enough_and_a_network_may_set_both():
    params, macs = count(families.get("rexnet_0.6")).params, count(families.get("rexnet_0.6")).macs
    one = count(designed("--macs", "219M", out="one.json"))
    assert 0.9 * 219e6 < one.macs <= 219e6
    both = designed("--budget", "like:rexnet_0.6", out="both.json")
    assert both == designed("--params", str(params), "--macs", str(macs), out="both.json")
    assert both == designed("--budget=like:rexnet_0.6", out="both.json")


def test_a_line_is_laid_in_any_network_for_its_images():
    sizes = ("--classes", "10", "--resolution", "96")
    line = designed("--network", "mobilenet_v2", "--macs", "40M", *sizes)
    assert (line.name, line.num_classes, line.resolution) == ("mobilenet_v2_line", 10, 96)
    assert 0.9 * 40e6 < count(line).macs <= 40e6
    assert (line.stem_width, line.penultimate_width) == (32, 1280)
    # Of the stage-wise network every first block of a stage adds nothing.
    assert [block.shortcut for block in line.blocks if block.stride == 1].count("none") == 3
    thin = designed(
        *("--network", "mobilenet_v2", "--macs", "10M", "--scale-ends", *sizes), out="thin.json"
    )
    assert thin.stem_width < 32
    assert thin.penultimate_width < 1280


def test_a_template_whose_widths_fall_is_refused_in_a_line(capsys):
    fields = families.get("mobilenet_v1").to_json().replace('"width": 64', '"width": 640')
    Path("falls.json").write_text(fields, encoding="utf-8")
    message = refused(capsys, "design", "--network", "falls.json", "--macs", "40M")
    assert "falls.json: mobilenet_v1: width 128 of block 2 falls below the 640" in message


def test_a_design_with_a_waist_is_noted_in_one_line(capsys):
    designed("--params", "4.8M", "--macs", "400M", out="usual.json")
    assert "note: " not in capsys.readouterr().out
    spec = designed("--params", "30M", "--macs", "400M")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("written to spec.json")
    assert lines[1].startswith("note: the first block is a waist, 1 wide between 32 and ")
    assert (len(lines), spec.widths[0]) == (2, 1)


def redesign(*arguments):
    """Redesign a backbone and time nothing, which takes longest."""
    parsed = cli.parse(["redesign", *arguments])
    design.redesign(parsed.redesign, benchmark=lambda backbone, line: None)


def test_a_redesign_shows_both_networks_and_keeps_a_file_of_another(capsys):
    redesign("mobilenet_v2")
    printed = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    assert "3,504,872" in printed
    assert "uses 95.9 % of the params and 99.8 % of the MACs of mobilenet_v2." in printed
    assert "padded" in printed
    redesign("mobilenet_v1", "--out", "spec.json")
    printed = capsys.readouterr().out
    spec, total = NetSpec.load("spec.json"), count(families.get("mobilenet_v1"))
    assert f"{count(spec).params:,}" in printed
    assert f"{total.params:,}" in printed
    assert "padded" not in printed
    before = Path("spec.json").read_bytes()
    redesign("mobilenet_v1", "--out", "spec.json")
    message = refused(capsys, "redesign", "mobilenet_v2", "--out", "spec.json")
    assert "spec.json holds another network; give another --out" in message
    assert Path("spec.json").read_bytes() == before


def test_a_redesign_takes_a_run_folder_and_says_what_a_line_cannot_use(capsys):
    Path("run").mkdir()
    # Most params are in the last width, of which a line has less.
    spec = families.search_network((8, 8, 8, 8, 8, 8, 400), 10)
    runs.write_text(Path("run/spec.json"), spec.to_json())
    redesign("run")
    printed = capsys.readouterr().out
    assert "cannot use up both" in printed
    assert "note: search_7b: the last block makes 100 % of the rise of the widths" in printed
