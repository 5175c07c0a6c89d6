from dataclasses import dataclass
from typing import Literal

import pytest

from rexnet import UserError
from rexnet.errors import check_ranges
from rexnet.runs.options import explained, read


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a toy is made."""

    lr: float = 0.1
    epochs: int = 3
    crop: Literal["none", "padded"] = "none"
    flips: bool = False

    def __post_init__(self):
        check_ranges(self, epochs=(1, 9))


def test_arguments_are_stronger_than_a_file(tmp_path):
    (tmp_path / "toy.yaml").write_text("lr: 0.5\nepochs: 5\n", encoding="utf-8")
    found = read(Options, [f"--config={tmp_path / 'toy.yaml'}", "--epochs=7", "--crop=padded"])
    assert found == Options(lr=0.5, epochs=7, crop="padded")


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("--epoch=7", r"^unknown option --epoch \(did you mean --epochs\?\)$"),
        ("epochs", "^unexpected argument 'epochs'$"),
        ("--epochs=many", "^--epochs: 'many' must be a whole number$"),
        ("--lr=fast", "^--lr: 'fast' must be a number$"),
        ("--crop=half", "^--crop: 'half' is not one of 'none', 'padded'$"),
        ("--flips=perhaps", "^--flips: 'perhaps' must be true or false$"),
        ("--epochs=0", "^epochs 0 must be from 1 to 9$"),
    ],
)
def test_a_mistake_is_told_in_one_line(argument, wanted):
    with pytest.raises(UserError, match=wanted):
        read(Options, [argument])


def test_other_messages_are_put_into_one_line():
    assert explained("what\n  it\nsays", []) == "what it says"
