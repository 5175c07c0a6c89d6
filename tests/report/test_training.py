import pytest

from rexnet import UserError, runs
from rexnet.report.training import (
    confusion,
    curves,
    write_confusion,
    write_curves,
    write_figures,
)

PNG = b"\x89PNG\r\n\x1a\n"


def metrics(count):
    return [
        {
            "epoch": n,
            "lr": 0.1 / n,
            "train_loss": 2 / n,
            "val_loss": 2.1 / n,
            "top1": 0.1 * n,
            "top5": 0.2 * n,
        }
        for n in range(1, count + 1)
    ]


def classes(names, counts):
    return [
        {
            "class": name,
            "num_images": sum(row),
            "top1": 0.5,
            "taken_for": {str(label): count for label, count in enumerate(row) if count},
        }
        for name, row in zip(names, counts, strict=True)
    ]


def test_the_curves_show_every_epoch():
    losses, accuracies, rates = curves(metrics(4)).axes
    assert [line.get_label() for line in losses.lines] == ["train", "val"]
    assert list(losses.lines[0].get_ydata()) == [2, 1, 2 / 3, 0.5]
    assert list(accuracies.lines[0].get_ydata()) == pytest.approx([10, 20, 30, 40])
    assert list(rates.lines[0].get_xdata()) == [1, 2, 3, 4]


def test_the_confusion_picture_shows_shares_of_each_class():
    figure = confusion(classes(["cat", "$dog"], [[3, 1], [0, 4]]))
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "$dog"]
    assert "87.5 % of 8 images" in axes.get_title()


def test_many_classes_are_not_named():
    names = [str(number) for number in range(40)]
    rows = classes(names, [[int(i == j) for j in range(40)] for i in range(40)])
    assert len(confusion(rows).axes[0].texts) == 0


def test_of_very_many_classes_the_most_mistaken_are_drawn():
    rows = [
        {"class": f"c{n}", "num_images": 4, "top1": 1, "taken_for": {str(n): 4}}
        for n in range(1500)
    ]
    rows[700]["taken_for"] = {"700": 1, "1400": 3}
    axes = confusion(rows).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [*(f"c{n}" for n in range(28)), "c700", "c1400"]
    assert axes.images[0].get_array()[28].tolist() == [0] * 28 + [0.25, 0.75]
    assert "top-1 100.0 % of 6000 images\n30 of 1,500 classes" in axes.get_title()


def test_a_folder_whose_counts_are_lists_is_drawn_as_before():
    rows = classes(["cat", "dog"], [[3, 1], [0, 4]])
    old = [{**row, "taken_for": counts} for row, counts in zip(rows, [[3, 1], [0, 4]], strict=True)]
    pictures = [confusion(lines).axes[0] for lines in (rows, old)]
    shares = [axes.images[0].get_array().tolist() for axes in pictures]
    assert shares == [[[0.75, 0.25], [0, 1]]] * 2
    assert pictures[0].get_title() == pictures[1].get_title()


def test_a_class_without_images_is_a_row_of_nothing():
    rows = classes(["cat", "dog"], [[0, 0], [1, 1]])
    assert confusion(rows).axes[0].images[0].get_array().tolist() == [[0, 0], [0.5, 0.5]]


def test_a_training_has_two_figures_drawn_from_its_files_alone(tmp_path):
    runs.write_jsonl(tmp_path / "metrics.jsonl", metrics(2))
    rows = classes(["a", "b"], [[1, 0], [0, 1]])
    runs.write_jsonl(tmp_path / "validation" / "classes.jsonl", rows)
    paths = write_figures(tmp_path)
    assert paths == [tmp_path / "curves.png", tmp_path / "validation" / "confusion.png"]
    assert all(path.read_bytes().startswith(PNG) for path in paths)


def test_the_pictures_are_written_where_the_numbers_are(tmp_path):
    runs.write_jsonl(tmp_path / "metrics.jsonl", metrics(2))
    runs.write_jsonl(tmp_path / "classes.jsonl", classes(["a", "b"], [[1, 0], [0, 1]]))
    assert write_curves(tmp_path) == tmp_path / "curves.png"
    assert write_confusion(tmp_path) == tmp_path / "confusion.png"
    for name in ("curves.png", "confusion.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is empty: nothing has ended yet"),
        ("{", "damaged at line 1 of 1"),
        ('{"epoch": 1}', "has no lr in line 1"),
    ],
)
def test_damaged_numbers_are_told(text, wanted, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=wanted):
        write_curves(tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*classes\.jsonl"):
        write_confusion(tmp_path)
