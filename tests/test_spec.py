import dataclasses
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ANY_CHANNELS, specs

from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.spec import LATER, MAX_BLOCKS, check_widths

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
)

NET_CHANGES = {
    "stem_width": 9,
    "stem_stride": 1,
    "stem_act": "relu",
    "penultimate_width": 0,
    "penultimate_act": "relu",
    "hidden_width": 64,
    "hidden_act": "elu",
    "num_classes": 10,
    "dropout": 0.5,
    "resolution": 32,
    "in_channels": 1,
    "padding": "same",
    "norm_eps": 1e-3,
}
BLOCK_CHANGES = {
    "width": 13,
    "stride": 2,
    "expansion": 5,
    "kernel": 5,
    "se_divisor": 0,
    "expand_act": "relu",
    "depthwise_act": "silu",
    "project_act": "silu",
    "shortcut": "none",
}


def changed(**fields):
    """Return the JSON text of SMALL with some of its fields replaced."""
    return json.dumps(json.loads(SMALL.to_json()) | fields)


def with_block(**fields):
    """Return the JSON text of SMALL with some fields of its first block replaced."""
    content = json.loads(SMALL.to_json())
    content["blocks"][0] |= fields
    return json.dumps(content)


def without(field):
    """Return the JSON text of SMALL with a field left out."""
    content = json.loads(SMALL.to_json())
    del content[field]
    return json.dumps(content)


@settings(deadline=None, max_examples=100)
@given(specs(in_channels=ANY_CHANNELS), st.sampled_from((None, 1, 4)))
def test_json_reads_back_to_an_equal_spec(spec, indent):
    again = NetSpec.from_json(spec.to_json(indent))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.spec_id == spec.spec_id


@settings(deadline=None, max_examples=50)
@given(specs(in_channels=ANY_CHANNELS), specs(in_channels=ANY_CHANNELS))
def test_spec_id_is_equal_only_for_equal_structures(one, other):
    same = dataclasses.replace(one, name="") == dataclasses.replace(other, name="")
    assert (one.spec_id == other.spec_id) == same


def test_load_reads_what_to_json_wrote(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(SMALL.to_json(), encoding="utf-8")
    assert NetSpec.load(path) == NetSpec.load(str(path)) == SMALL


def test_fields_left_out_take_their_defaults():
    spec = NetSpec.from_json('{"name": "a", "blocks": [{"width": 8}]}')
    assert spec == NetSpec(name="a", blocks=(BlockSpec(width=8),))


def test_widths_in_are_the_stem_and_the_blocks_before():
    assert SMALL.widths == (8, 12)
    assert SMALL.widths_in == (8, 8)


def test_spec_id_is_twelve_hex_digits_and_leaves_the_name_out():
    assert len(SMALL.spec_id) == 12
    assert int(SMALL.spec_id, 16) >= 0
    assert dataclasses.replace(SMALL, name="other").spec_id == SMALL.spec_id


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(NetSpec)][2:])
def test_spec_id_depends_on_every_field_of_the_network(field):
    other = dataclasses.replace(SMALL, **{field: NET_CHANGES[field]})
    assert other.spec_id != SMALL.spec_id


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(BlockSpec)])
def test_spec_id_depends_on_every_field_of_a_block(field):
    block = dataclasses.replace(SMALL.blocks[1], **{field: BLOCK_CHANGES[field]})
    assert block != SMALL.blocks[1]
    other = dataclasses.replace(SMALL, blocks=(SMALL.blocks[0], block))
    assert other.spec_id != SMALL.spec_id


def test_specs_written_before_a_field_keep_their_ids_and_read_as_its_default():
    assert families.get("rexnet_1.0").spec_id == "536cb13e1c9a"
    assert SMALL.spec_id == "4483fd372a60"
    for field in LATER:
        assert NetSpec.from_json(without(field)) == SMALL


def test_spec_id_is_the_same_in_another_process():
    code = "from rexnet import families; print(families.get('rexnet_1.3').spec_id)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.strip() == families.get("rexnet_1.3").spec_id


def test_equal_specs_have_equal_ids_whatever_the_type_of_their_numbers():
    whole, real = (dataclasses.replace(SMALL, dropout=value) for value in (0, 0.0))
    assert whole == real
    assert whole.spec_id == real.spec_id


def test_with_widths_changes_the_widths_and_nothing_else():
    wider = SMALL.with_widths([16, 20], "wider")
    assert (wider.widths, wider.name) == ((16, 20), "wider")
    assert wider.with_widths(SMALL.widths, "small") == SMALL
    assert SMALL.with_widths(SMALL.widths).name == "small"


@pytest.mark.parametrize(
    ("widths", "reason"),
    [
        ((8, 12, 16), "3 widths for the 2 blocks of small"),
        ((12, 8), "width 8 of block 2 falls below the 12 of block 1"),
        ((0, 8), "width 0"),
    ],
)
def test_with_widths_refuses_widths_that_do_not_fit(widths, reason):
    with pytest.raises(UserError, match=reason):
        SMALL.with_widths(widths)


@pytest.mark.parametrize(
    ("widths", "reason"),
    [
        ((16, 24, 20), "width 20 of block 3 falls below the 24 of block 2"),
        ((0, 4), "width 0 of block 1 must be at least 1"),
        ((4, -1), "width -1 of block 2 must be at least 1"),
    ],
)
def test_check_widths_names_the_block_and_the_width(widths, reason):
    with pytest.raises(UserError, match=reason):
        check_widths(widths)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "a NetSpec must be a JSON object, not list"),
        ("7", "a NetSpec must be a JSON object, not int"),
        (changed(steem_width=8), r"unknown field 'steem_width' \(did you mean stem_width\?\)"),
        (changed(zzzz=1), "unknown field 'zzzz'"),
        (with_block(widht=8), r"unknown field 'widht' \(did you mean width\?\)"),
        (without("name"), "field 'name' of the NetSpec is missing"),
        (without("blocks"), "field 'blocks' of the NetSpec is missing"),
        ('{"name": "a", "blocks": [{}]}', "field 'width' of the BlockSpec is missing"),
        (changed(blocks={}), "blocks must be a list"),
        (changed(blocks=[8]), "a BlockSpec must be a JSON object, not int"),
        (changed(blocks=[]), f"0 blocks; a network has 1 to {MAX_BLOCKS}"),
        (changed(blocks=[{"width": 8}] * 1001), f"1001 blocks; a network has 1 to {MAX_BLOCKS}"),
        (changed(blocks=[{"width": 8}, {"width": 7}]), "width 7 of block 2 falls below the 8"),
        (changed(name=5), "name 5 must be str"),
        (changed(stem_width="32"), "stem_width '32' must be int"),
        (changed(stem_width=32.0), r"stem_width 32\.0 must be int"),
        (changed(stem_width=True), "stem_width True must be int"),
        (changed(num_classes=None), "num_classes None must be int"),
        (changed(dropout="0.2"), "dropout '0.2' must be a number"),
        (changed(dropout=True), "dropout True must be a number"),
        (changed(stem_width=0), "stem_width 0 must be from 1 to 65536"),
        (changed(stem_width=65537), "stem_width 65537 must be from 1 to 65536"),
        (changed(stem_stride=3), "stem_stride 3 must be from 1 to 2"),
        (changed(penultimate_width=-1), "penultimate_width -1 must be from 0"),
        (changed(hidden_width=-1), "hidden_width -1 must be from 0"),
        (changed(num_classes=-1), "num_classes -1 must be from 0 to 1000000"),
        (changed(resolution=7), "resolution 7 must be from 8 to 4096"),
        (changed(in_channels=0), "in_channels 0 must be from 1 to 1024"),
        (changed(in_channels=1025), "in_channels 1025 must be from 1 to 1024"),
        (changed(in_channels="1"), "in_channels '1' must be int"),
        (changed(dropout=1), "dropout 1 must be at least 0 and below 1"),
        (changed(dropout=-0.5), r"dropout -0\.5 must be at least 0 and below 1"),
        (changed(dropout=float("nan")), "dropout nan must be at least 0 and below 1"),
        (changed(stem_act="sillu"), r"stem_act 'sillu' is not one of .*\(did you mean silu\?\)"),
        (changed(hidden_act=None), "hidden_act None is not one of identity, relu"),
        (with_block(width=0), "block 1: width 0 must be from 1"),
        (with_block(stride=4), "block 1: stride 4 must be from 1 to 2"),
        (with_block(expansion=0), "block 1: expansion 0 must be from 1 to 64"),
        (with_block(se_divisor=-1), "block 1: se_divisor -1 must be from 0"),
        (with_block(kernel=4), "block 1: kernel 4 must be 3, 5 or 7"),
        (with_block(expand_act="relu66"), r"expand_act 'relu66' .*\(did you mean relu6\?\)"),
        (with_block(shortcut="padd"), r"shortcut 'padd' .*\(did you mean pad\?\)"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(text, reason):
    with pytest.raises(UserError, match=rf"^my\.json.*{reason}"):
        NetSpec.from_json(text, "my.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.json", "binary.json", "."):
        with pytest.raises(UserError, match=rf"cannot read the spec .*{name}"):
            NetSpec.load(tmp_path / name)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(SMALL.to_json()[:-10], encoding="utf-8")
    with pytest.raises(UserError, match=r"cut\.json is not JSON"):
        NetSpec.load(path)
