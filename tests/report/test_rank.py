import pytest

from rexnet.report.rank import network_figure, rank_figure, write_figure


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
    figure = rank_figure(rows)
    assert [axes.get_title()[:3] for axes in figure.axes] == ["(a)", "(d)"]
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["linear", "SiLU"]
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert lines[0] == pytest.approx([0.5 + 0.1 / 3, 0.5 + 0.5 / 3])
    crosses = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert crosses[1] == [0.958, 0.991]


def test_the_figure_is_written_as_png_and_svg(rows, tmp_path):
    paths = write_figure(tmp_path, "rank", rank_figure(rows))
    assert [path.name for path in paths] == ["rank.png", "rank.svg"]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_the_blocks_of_a_network_are_drawn_whole():
    rows = [
        {
            "block": block,
            "ratio": 0.8,
            "effective_rank_ratio": 0.5,
            "rank_ratio": 1.0,
            "nuclear_norm": 60.0 - block,
            "singular_values": [3.0, 2.0, 1.0],
        }
        for block in (1, 2, 0)
    ]
    _, shares, norms = network_figure(rows, "a_network $ of [mine]").axes
    for axes in (shares, norms):
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > max(max(line.get_ydata()) for line in axes.lines)
        assert all(tick == round(tick) for tick in axes.get_xticks())
    assert list(norms.lines[0].get_ydata()) == [59, 58]
