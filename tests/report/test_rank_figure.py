import pytest

from rexnet.rank.published import READ
from rexnet.report.rank import rank_figure, write_figure


@pytest.fixture
def rows():
    return [
        {
            "architecture": architecture,
            "function": function,
            "ratio": ratio,
            "mean": 0.5 + ratio / 3,
            "stderr": 0.01,
        }
        for architecture in ("pointwise", "depthwise")
        for function in ("linear", "silu")
        for ratio in (0.1, 0.5)
    ]


def test_there_is_a_panel_an_architecture_and_a_line_a_function(rows):
    figure = rank_figure(rows, READ)
    assert [axes.get_title()[:3] for axes in figure.axes] == ["(a)", "(d)"]
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["linear", "SiLU"]
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert lines[0] == pytest.approx([0.5 + 0.1 / 3, 0.5 + 0.5 / 3])
    crosses = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert crosses[1] == [0.958, 0.991]


def test_the_figure_is_written_as_png_and_svg(rows, tmp_path):
    paths = write_figure(tmp_path, "rank", rank_figure(rows, READ))
    assert [path.name for path in paths] == ["rank.png", "rank.svg"]
    assert all(path.stat().st_size > 5000 for path in paths)
