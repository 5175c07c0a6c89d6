from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure
from PIL import Image

from rexnet.report.figures import render
from rexnet.report.lettering import caption_font, lettered, titled
from rexnet.report.training import confusion

NAMES = ["cat", "çà été", "caf\udce9", "\U00012000 cuneiform", "\udcff\udcfe"]


def confused(names):
    return [
        {"class": name, "num_images": 1, "top1": 0, "taken_for": [1] * len(names)} for name in names
    ]


def test_a_name_without_a_font_is_its_number_and_bytes_that_are_no_text_are_replaced():
    shown, _ = lettered(NAMES)
    assert shown == ["cat", "çà été", "caf\ufffd", "3", "\ufffd\ufffd"]
    assert titled("on \U00012000\udcff")[0] == "on \ufffd\ufffd"
    assert caption_font("\U00012000", 11) is None
    assert caption_font("çà été 50", 11).getlength("ç") > 0


@pytest.mark.parametrize(
    "names", [NAMES, ["猫", "🐈‍⬛", "a\tb", "قط", "$x$", "a\nb", ""], ["a" * 250, "b" * 250]]
)
def test_any_name_can_be_drawn(names):
    # A character without a font is a warning, and so an error.
    assert Image.open(BytesIO(render(confusion(confused(names)), "png"))).width > 100


def test_a_font_of_this_machine_is_taken_for_what_the_default_one_lacks(monkeypatch):
    (font,) = [f for f in font_manager.fontManager.ttflist if f.name == "STIXGeneral"][:1]
    default = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    own = sorted(set(font_manager.get_font(font.fname).get_charmap()) - set(default))
    name = chr(next(code for code in own if 0x2000 < code < 0x2FFF))
    (shown,), style = lettered([name])
    assert shown == name
    with rc_context(style):
        figure = Figure(figsize=(1, 1))
        figure.text(0.1, 0.1, name)
    pixels = np.asarray(Image.open(BytesIO(render(figure, "png"))).convert("L"))
    assert pixels.min() < 128
    assert Path(caption_font(name, 11).path).exists()
