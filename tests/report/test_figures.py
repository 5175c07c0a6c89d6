from xml.etree import ElementTree

import numpy as np
import pytest
from toys import failed, made_up_rows

from rexnet.report.figures import COLORS, render, search_figure
from rexnet.search.groups import complete, groups

PNG = b"\x89PNG\r\n\x1a\n"


def drawn(rows, title="a search"):
    return search_figure(groups(rows), rows, title)


def legend_of(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def some_rows(count):
    """Return rows of which two were not trained to the end, if there are enough."""
    rows = made_up_rows(count)
    if count > 4:
        rows[1] = failed(rows[1], "diverged", "loss nan")
        rows[3] = failed(rows[3], "died", "exit code -9")
    return rows


def test_the_legend_names_the_groups_with_their_size_accuracy_and_cost():
    rows = made_up_rows(40)
    legend = legend_of(drawn(rows))
    assert len(legend) == 4
    for text, group in zip(legend, groups(rows), strict=False):
        assert text.startswith(f"{group.name}, n=4: ")
        assert f" {100 * group.mean('accuracy'):.1f} ± " in text
        assert text.count("M params") == text.count("M MACs") == 1
    assert legend[3] == "fitted line of the group"


def test_a_group_is_drawn_as_mean_band_and_line_over_the_block_index():
    rows = made_up_rows(40)
    profile = drawn(rows).axes[0]
    for number, group in enumerate(groups(rows)):
        mean, line = profile.lines[2 * number : 2 * number + 2]
        np.testing.assert_array_equal(mean.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(mean.get_ydata(), group.widths.mean(0))
        np.testing.assert_allclose(line.get_ydata(), group.line.widths(5))
        assert mean.get_color() == line.get_color() == COLORS[number]
        band = profile.collections[number].get_paths()[0].vertices
        heights = group.widths.mean(0) + group.widths.std(0)
        np.testing.assert_allclose(band[:, 1].max(), heights.max())
    assert "channels" in profile.get_ylabel()
    assert profile.get_xlabel() == "block index"


@pytest.mark.parametrize(("place", "key"), [(1, "macs"), (2, "params")])
def test_every_trained_network_is_a_dot_of_accuracy_over_cost(place, key):
    rows = some_rows(30)
    axes = drawn(rows).axes[place]
    dots = np.concatenate([part.get_offsets() for part in axes.collections])
    wanted = [(row[key] / 1e6, 100 * row["accuracy"]) for row in complete(rows)]
    np.testing.assert_allclose(sorted(dots.tolist()), sorted(wanted))
    assert "millions" in axes.get_xlabel()


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_searches_of_any_size_are_drawn(count):
    figure = drawn(some_rows(count))
    assert len(legend_of(figure)) == 4
    assert render(figure, "png").startswith(PNG)


def test_a_group_of_one_network_claims_no_error():
    assert "±" not in "".join(legend_of(drawn(made_up_rows(3))))


def test_the_same_rows_give_the_same_bytes():
    for kind in ("svg", "png"):
        first, second = (render(drawn(made_up_rows(12)), kind) for _ in range(2))
        assert first == second


def test_the_svg_is_an_xml_picture_that_loads_nothing():
    root = ElementTree.fromstring(render(drawn(made_up_rows(12)), "svg"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith(("href", "src")):
                assert value.startswith("#")


@pytest.mark.parametrize("title", ["5 $ and 7 $", "$x^$", r"\frac{", "50 % _of_ a^b & <c>"])
def test_any_title_is_drawn_as_it_is(title):
    figure = drawn(made_up_rows(3), title)
    assert figure.get_suptitle() == title
    assert render(figure, "svg").startswith(b"<?xml")
