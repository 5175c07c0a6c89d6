"""What a network keeps at any width: its structure, which weights can be inherited in."""

import dataclasses
import math

from rexnet.errors import UserError
from rexnet.spec import BlockSpec, NetSpec

FREE_OF_NETWORK = {
    "name", "blocks", "stem_width", "penultimate_width", "hidden_width", "num_classes", "dropout",
    "resolution",
}  # fmt: skip
FREE_OF_BLOCK = {"width", "expansion", "se_divisor", "shortcut"}
"""The fields in which a spec may differ from its source's; all others are the structure."""


def check_resolution(spec: NetSpec, resolution: int) -> None:
    """Check that a pixel of the last map is not more than the whole image.

    Raises:
        UserError: The side is less than what the strides divide it by.
    """
    stride = spec.stem_stride * math.prod(block.stride for block in spec.blocks)
    if resolution < stride:
        raise UserError(
            f"resolution {resolution} leaves nothing of the maps of {spec.name}, which divides "
            f"the side by {stride}; give at least {stride}"
        )


def same_widths(source: NetSpec, spec: NetSpec) -> bool:
    """Tell whether two networks have the same channels everywhere but at the classifier."""
    return _widths(source) == _widths(spec)


def check_structure(source: NetSpec, spec: NetSpec) -> None:
    """Check that ``spec`` is ``source`` with other widths.

    Raises:
        UserError: It has another structure; the first difference is named.
    """
    start = f"{spec.name} cannot inherit from {source.name}: "
    _check_fields(source, spec, FREE_OF_NETWORK, f"{start}its")
    for field in ("penultimate_width", "hidden_width"):
        if bool(getattr(source, field)) != bool(getattr(spec, field)):
            raise UserError(
                f"{start}its {field} is {getattr(spec, field)}, that of the source "
                f"{getattr(source, field)}; both must be 0 or neither"
            )
    if len(source.blocks) != len(spec.blocks):
        raise UserError(
            f"{start}it has {len(spec.blocks)} blocks, the source {len(source.blocks)}; "
            "give a spec with as many"
        )
    pairs = zip(source.blocks, spec.blocks, source.widths_in, spec.widths_in, strict=True)
    for number, (theirs, ours, width_theirs, width_ours) in enumerate(pairs, 1):
        _check_block(theirs, ours, f"{start}block {number}")
        adds = theirs.has_shortcut(width_theirs)
        if adds != ours.has_shortcut(width_ours):
            raise UserError(
                f"{start}block {number} "
                + (
                    "does not add its input, that of the source does: give it the shortcut "
                    f"{theirs.shortcut!r} and a width that takes it"
                    if adds
                    else "adds its input, that of the source does not: set its shortcut to none"
                )
            )


def _check_fields(
    source: NetSpec | BlockSpec, spec: NetSpec | BlockSpec, free: set[str], start: str
) -> None:
    for field in dataclasses.fields(source):
        theirs, ours = getattr(source, field.name), getattr(spec, field.name)
        if field.name not in free and theirs != ours:
            raise UserError(
                f"{start} {field.name} is {ours}, that of the source {theirs}; make them the same"
            )


def _check_block(source: BlockSpec, spec: BlockSpec, start: str) -> None:
    _check_fields(source, spec, FREE_OF_BLOCK, f"{start}: its")
    if (source.expansion == 1) != (spec.expansion == 1):
        raise UserError(
            f"{start}: its expansion is {spec.expansion}, that of the source {source.expansion}; "
            "both must be 1 or neither"
        )
    if bool(source.se_divisor) != bool(spec.se_divisor):
        raise UserError(
            f"{start}: its se_divisor is {spec.se_divisor}, that of the source "
            f"{source.se_divisor}; both must be 0 or neither"
        )


def _widths(spec: NetSpec) -> list[tuple[int, ...]]:
    ends = (spec.stem_width, spec.penultimate_width, spec.hidden_width)
    blocks = zip(spec.widths_in, spec.blocks, strict=True)
    return [ends, *((b.width, b.expansion * width, b.se_divisor) for width, b in blocks)]
