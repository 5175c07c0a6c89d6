import json
from pathlib import Path

import pytest
from commands import mistaken, refused

from rexnet import families
from rexnet.cli import main as cli
from rexnet.cost import count

MISTAKES = {
    "summary of nothing": (["summary"], ["give a name or the path of a spec"]),
    "backbone of nothing": (
        ["summary", "rexnet_1.0", "--backbone", "rexnet_1.0"],
        ["--backbone goes with --detector ssdlite"],
    ),
    "detector on nothing": (["summary", "--detector", "ssdlite"], ["give --backbone"]),
    "option of list": (["list", "--json"], ["unknown option --json", "rexnet list --help"]),
    "argument": (["list", "all"], ["unexpected argument 'all'"]),
    "model": (["summary", "rexnet_1.O"], ["unknown model 'rexnet_1.O'", "did you mean rexnet_1."]),
    "other model": (["summary", "mobilenet_v3"], ["did you mean mobilenet_v2?"]),
    "width": (["summary", "rexnet_0"], ["rexnet_0"]),
    "no model": (["summary"], ["give a name or the path of a spec"]),
    "no spec": (["summary", "nowhere.json"], ["cannot read the spec nowhere.json"]),
    "resolution": (["summary", "rexnet_1.0", "--resolution", "0"], ["resolution 0", "8 to 4096"]),
    "word for a size": (
        ["summary", "rexnet_1.0", "--resolution", "big"],
        ["'big'", "whole number"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


@pytest.mark.parametrize(
    ("widths", "wanted"),
    [
        ((16, 8, 24), "width 8 of block 2 falls below the 16 of block 1"),
        ((16, 16, 0), "block 3: width 0 must be from 1"),
        ((-4, 16, 16), "block 1: width -4 must be from 1"),
    ],
)
def test_a_spec_whose_widths_fall_or_are_zero_is_refused(widths, wanted, capsys):
    fields = json.loads(families.search_network([8, 8, 8], 10).to_json())
    for block, width in zip(fields["blocks"], widths, strict=True):
        block["width"] = width
    Path("spec.json").write_text(json.dumps(fields), encoding="utf-8")
    message = refused(capsys, "summary", "spec.json")
    assert message.startswith("spec.json: ")
    assert wanted in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"nmae": "x"}'])
def test_a_damaged_spec_is_refused_by_name(text, capsys):
    Path("spec.json").write_text(text, encoding="utf-8")
    assert "spec.json" in refused(capsys, "summary", "spec.json")


@pytest.mark.parametrize("name", ["[bold]", "[/x]"])
def test_any_name_of_a_spec_is_printed_as_it_is(name, capsys):
    spec = families.search_network([8, 8, 8], 10).with_widths([8, 8, 8], name=name)
    Path("spec.json").write_text(spec.to_json(), encoding="utf-8")
    assert cli.main(["summary", "spec.json"]) == 0
    assert f"{name} at 32 x 32" in capsys.readouterr().out


@pytest.mark.parametrize("resolution", [32, 320])
def test_a_summary_at_another_resolution_counts_there(resolution, capsys):
    arguments = ["summary", "rexnet_lite_1.0", "--json", "--resolution", str(resolution)]
    assert cli.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["macs"] == count(families.get("rexnet_lite_1.0"), resolution).macs
    assert summary["resolution"] == resolution


def test_a_layer_table_ends_with_the_totals(capsys):
    assert cli.main(["summary", "rexnet_1.0"]) == 0
    out = capsys.readouterr().out
    assert "4,796,873" in out
    assert "398,370,392" in out
    assert "rexnet_1.0 at 224 x 224" in out


def test_a_late_jump_is_noted_below_the_layers_and_json_stays_json(capsys):
    spec = families.search_network([36, 36, 36, 36, 83], 10)
    Path("spec.json").write_text(spec.to_json(), encoding="utf-8")
    assert cli.main(["summary", "spec.json"]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: the last block makes 100 % of the rise")
    assert cli.main(["summary", "spec.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["widths"] == [36, 36, 36, 36, 83]
    assert cli.main(["summary", "rexnet_1.0"]) == 0
    assert "note: " not in capsys.readouterr().out


def test_the_cost_of_a_detector_is_printed(capsys):
    command = ["summary", "--detector", "ssdlite", "--backbone", "rexnet_1.0", "--resolution"]
    assert cli.main([*command, "320", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["params"], found["macs"]) == (5_688_598, 1_007_918_560)
    assert cli.main(["summary", "--detector", "ssdlite", "rexnet_1.0", "--resolution", "128"]) == 0
    assert "5,688,598" in capsys.readouterr().out
