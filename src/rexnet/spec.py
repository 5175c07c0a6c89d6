"""NetSpec and BlockSpec: a network as data, with validation and JSON."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rexnet.errors import UserError, closest

Activation = Literal[
    "identity", "relu", "relu6", "leaky_relu", "elu", "softplus", "hardswish", "silu"
]
Shortcut = Literal["none", "equal", "pad"]
Padding = Literal["symmetric", "same"]

MAX_WIDTH = 65_536
MAX_CHANNELS = 1_024
MAX_BLOCKS = 1_000

LATER = ("in_channels", "padding", "norm_eps")
"""Fields that ids leave out while they have their defaults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """One block: [1x1 expand] -> kxk depthwise -> [squeeze-excite] -> 1x1 project.

    With ``expansion`` 1 there is no expanding convolution, which makes it MobileNetV1's depthwise
    separable block or MobileNetV2's first block (appendix, Figure A2: MB1, MB6).

    Attributes:
        width: Output channels.
        stride: Stride of the depthwise convolution, 1 or 2.
        expansion: Expanded channels divided by input channels.
        kernel: Side of the depthwise kernel, odd.
        se_divisor: The squeeze has ``floor(expanded / se_divisor)`` channels, at least 1; 0 means
            no SE.
        expand_act: Activation after the expanding convolution.
        depthwise_act: Activation after the depthwise convolution (and SE).
        project_act: Activation after the projecting convolution.
        shortcut: At stride 1, ``pad`` adds the input to the first channels of an output at least
            as wide, ``equal`` only to an output of the same width.
    """

    width: int
    stride: int = 1
    expansion: int = 6
    kernel: int = 3
    se_divisor: int = 0
    expand_act: Activation = "silu"
    depthwise_act: Activation = "relu6"
    project_act: Activation = "identity"
    shortcut: Shortcut = "pad"

    def squeeze_width(self, expanded: int) -> int:
        """Return the channels between the two convolutions of SE."""
        return max(1, expanded // self.se_divisor)

    def has_shortcut(self, width_in: int) -> bool:
        """Tell whether the block adds its input of ``width_in`` channels to its output."""
        if self.stride != 1 or self.shortcut == "none":
            return False
        return width_in == self.width or (self.shortcut == "pad" and width_in < self.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetSpec:
    """A whole classification network as data: every width, stride, expansion and activation.

    ``in_channels`` are those of the images. Of no classes (``num_classes`` 0) there is no
    classifier: the network gives what it would see. ``padding`` is where convolutions of stride 2
    look beyond the image: on all sides alike, or as TensorFlow's ``SAME`` has it, which takes the
    fewest pixels and the odd one at the right and the bottom. ``norm_eps`` is added to the variance
    by every batch norm.

    Raises:
        UserError: A field has a wrong type or value, or the widths fall from block to block.
    """

    name: str
    blocks: tuple[BlockSpec, ...]
    stem_width: int = 32
    stem_stride: int = 2
    stem_act: Activation = "silu"
    penultimate_width: int = 1280
    penultimate_act: Activation = "silu"
    hidden_width: int = 0
    hidden_act: Activation = "relu6"
    num_classes: int = 1000
    dropout: float = 0.2
    resolution: int = 224
    in_channels: int = 3
    padding: Padding = "symmetric"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_types(self, self.name)
        _check_range(self, "stem_width", 1, MAX_WIDTH, self.name)
        _check_range(self, "stem_stride", 1, 2, self.name)
        _check_range(self, "penultimate_width", 0, MAX_WIDTH, self.name)
        _check_range(self, "hidden_width", 0, MAX_WIDTH, self.name)
        _check_range(self, "num_classes", 0, 10**6, self.name)
        _check_range(self, "resolution", 8, 4096, self.name)
        _check_range(self, "in_channels", 1, MAX_CHANNELS, self.name)
        if not 0 < self.norm_eps <= 0.1:
            raise UserError(f"{self.name}: norm_eps {self.norm_eps} must be above 0, at most 0.1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"{self.name}: dropout {self.dropout} must be at least 0 and below 1")
        if not isinstance(self.blocks, tuple) or not all(
            isinstance(block, BlockSpec) for block in self.blocks
        ):
            raise UserError(f"{self.name}: blocks must be a tuple of BlockSpec")
        if not 1 <= len(self.blocks) <= MAX_BLOCKS:
            raise UserError(
                f"{self.name}: {len(self.blocks)} blocks; a network has 1 to {MAX_BLOCKS}"
            )
        for number, block in enumerate(self.blocks, 1):
            where = f"{self.name}, block {number}"
            _check_types(block, where)
            _check_range(block, "width", 1, MAX_WIDTH, where)
            _check_range(block, "stride", 1, 2, where)
            _check_range(block, "expansion", 1, 64, where)
            _check_range(block, "se_divisor", 0, MAX_WIDTH, where)
            if block.kernel not in (3, 5, 7):
                raise UserError(f"{where}: kernel {block.kernel} must be 3, 5 or 7")
        check_widths(self.widths, self.name)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of every block, in order."""
        return tuple(block.width for block in self.blocks)

    @property
    def widths_in(self) -> tuple[int, ...]:
        """Input channels of every block, in order."""
        return (self.stem_width, *self.widths[:-1])

    @property
    def spec_id(self) -> str:
        """Twelve hex digits that depend on the structure alone, not on the name."""
        fields = dataclasses.asdict(self)
        del fields["name"]
        # 0 and 0.0 are equal but print differently.
        fields["dropout"] = float(self.dropout)
        # Specs keep the ids that they had before these fields.
        for field in dataclasses.fields(self):
            if field.name in LATER and fields[field.name] == field.default:
                del fields[field.name]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def with_widths(
        self, widths: tuple[int, ...] | list[int], name: str | None = None
    ) -> "NetSpec":
        """Return the same network with other block widths.

        Raises:
            UserError: The number of widths differs from the number of blocks, or they fall.
        """
        if len(widths) != len(self.blocks):
            raise UserError(
                f"{len(widths)} widths for the {len(self.blocks)} blocks of {self.name}"
            )
        blocks = tuple(
            dataclasses.replace(block, width=int(width))
            for block, width in zip(self.blocks, widths, strict=True)
        )
        return dataclasses.replace(self, name=name or self.name, blocks=blocks)

    def to_json(self, indent: int | None = 1) -> str:
        """Return the spec as JSON text that ``from_json`` reads back to an equal spec."""
        return json.dumps(dataclasses.asdict(self), indent=indent)

    @staticmethod
    def from_json(text: str, source: str = "spec") -> "NetSpec":
        """Read a spec from JSON text; ``source`` names it in errors.

        Raises:
            UserError: The text is no JSON object, or a field is unknown, missing or out of range.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source} is not JSON: {error}") from None
        try:
            fields = _known_fields(NetSpec, fields)
            if not isinstance(fields["blocks"], list):
                raise UserError("blocks must be a list")
            blocks = tuple(BlockSpec(**_known_fields(BlockSpec, b)) for b in fields["blocks"])
            return NetSpec(**(fields | {"blocks": blocks}))
        except UserError as error:
            raise UserError(f"{source}: {error}") from None

    @staticmethod
    def load(path: str | Path) -> "NetSpec":
        """Read a spec from a JSON file.

        Raises:
            UserError: The file cannot be read or does not hold a spec.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read the spec {path}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"cannot read the spec {path}: {error}") from None
        return NetSpec.from_json(text, str(path))


def set_fields(part: NetSpec | BlockSpec) -> dict[str, Any]:
    """Return the fields of a spec that differ from their defaults, as ``from_json`` reads them.

    Fields to come are left out where they have their defaults, so that what names a spec by these
    stays what it is.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name == "blocks":
            found[field.name] = [set_fields(block) for block in value]
        elif value != field.default:
            found[field.name] = value
    return found


def check_widths(widths: tuple[int, ...] | list[int], name: str = "widths") -> None:
    """Check that the widths are positive and never fall (the paper's c_1 <= ... <= c_d).

    Raises:
        UserError: One of them is below 1 or narrower than the one before.
    """
    for number, (before, width) in enumerate(zip((1, *widths), widths, strict=False), 1):
        if width < 1:
            raise UserError(f"{name}: width {width} of block {number} must be at least 1")
        if width < before:
            raise UserError(
                f"{name}: width {width} of block {number} falls below the {before} of block "
                f"{number - 1}; widths must not fall from block to block"
            )


def _known_fields(kind: type, fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise UserError(f"a {kind.__name__} must be a JSON object, not {type(fields).__name__}")
    declared = dataclasses.fields(kind)
    names = [field.name for field in declared]
    for key in fields:
        if key not in names:
            raise UserError(f"unknown field {key!r}{closest(key, names)}")
    for field in declared:
        if field.default is dataclasses.MISSING and field.name not in fields:
            raise UserError(f"field {field.name!r} of the {kind.__name__} is missing")
    return fields


def _check_types(part: "BlockSpec | NetSpec", where: str) -> None:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        choices = get_args(field.type)
        if field.name == "blocks":
            continue
        if field.type is float:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise UserError(f"{where}: {field.name} {value!r} must be a number")
        elif isinstance(field.type, type):
            if not isinstance(value, field.type) or isinstance(value, bool):
                raise UserError(f"{where}: {field.name} {value!r} must be {field.type.__name__}")
        elif value not in choices:
            hint = closest(str(value), choices)
            raise UserError(
                f"{where}: {field.name} {value!r} is not one of {', '.join(choices)}{hint}"
            )


def _check_range(part: "BlockSpec | NetSpec", field: str, low: int, high: int, where: str) -> None:
    value = getattr(part, field)
    if not low <= value <= high:
        raise UserError(f"{where}: {field} {value} must be from {low} to {high}")
