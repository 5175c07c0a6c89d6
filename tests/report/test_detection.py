import base64
import os
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from rexnet import UserError, runs
from rexnet.report.detection import (
    Pictures,
    curves,
    draw,
    is_picture,
    precision,
    write_curves,
    write_figures,
    write_page,
)

RECALLS = [{"recall": r / 100, "ap50": 1 - r / 100, "ap75": 0.5, "ap": 0.25} for r in range(101)]


def line(number, missed, wrong, path):
    box = {"class": "cat", "box": [10, 10, 30, 30]}
    return {
        "image_id": number,
        "path": str(path),
        "size": [80, 40],
        "missed": missed,
        "wrong": wrong,
        "truth": [box | {"crowd": False, "missed": missed > 0}],
        "found": [box | {"score": 0.9, "right": wrong == 0}],
    }


def validation(folder, lines):
    result = dict.fromkeys(("ap", "ap50", "ap75", "ap_medium", "ap_large"), 0.25)
    runs.write_json(folder / "result.json", {**result, "ap_small": None})
    classes = [
        {"class": "cat<b>", "num_boxes": 2, "ap": 0.5},
        {"class": "d", "num_boxes": 0, "ap": None},
    ]
    runs.write_jsonl(folder / "classes.jsonl", classes)
    runs.write_jsonl(folder / "curve.jsonl", RECALLS)
    runs.write_jsonl(folder / "images.jsonl", lines)


def test_the_page_shows_the_worst_images_first(tmp_path):
    for name in "ab":
        Image.new("RGB", (40, 20), "blue").save(tmp_path / f"{name}.png")
    lines = [line(1, 0, 0, tmp_path / "a.png"), line(2, 1, 2, tmp_path / "b.png")]
    validation(tmp_path, lines)
    page, figure = write_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.index("b.png: 1 missed, 2 wrong") < text.index("a.png: 0 missed, 0 wrong")
    assert "cat&lt;b&gt;" in text
    assert "AP small</th><td>-" in text
    assert str(tmp_path) not in text
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("crowd", "missed", "color"),
    [(True, False, (176, 176, 176)), (False, True, (255, 176, 0)), (False, False, (44, 160, 44))],
)
def test_the_truth_is_drawn_as_found_missed_or_a_crowd(tmp_path, crowd, missed, color):
    Image.new("RGB", (80, 40)).save(tmp_path / "a.png")
    row = line(1, int(missed), 0, tmp_path / "a.png")
    row["truth"][0]["crowd"] = crowd
    validation(tmp_path, [row])
    page, _ = write_page(tmp_path)
    encoded = re.search(r'base64,([^"]+)" alt="Truth"', page.read_text(encoding="utf-8"))
    assert encoded
    with Image.open(BytesIO(base64.b64decode(encoded[1]))) as picture:
        drawn = picture.convert("RGB").getpixel((10, 20))
    # JPEG keeps colours nearly; the three are further apart.
    assert drawn == pytest.approx(color, abs=60)


def test_boxes_are_drawn_where_they_are():
    picture = draw(Image.new("RGB", (60, 40), "black"), [([10, 12, 50, 30], "#ff0000", "")])
    red = [(x, y) for x in range(60) for y in range(40) if picture.getpixel((x, y)) == (255, 0, 0)]
    assert min(x for x, _ in red) == 10
    assert max(x for x, _ in red) == 50
    assert min(y for _, y in red) == 12
    assert max(y for _, y in red) == 30
    assert (30, 20) not in red


ROW = {"class": "cat", "box": [10, 12, 50, 30], "score": 0.5}


def image(path, color="blue"):
    """Make an image of one colour and return its path."""
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (60, 40), color).save(path)
    return str(path)


def names(folder, images, inputs=None):
    """Return the names of the pictures that one call writes of some images."""
    pictures = Pictures(folder, inputs or images)
    return [pictures.write(path, [ROW]).name for path in images]


def test_a_picture_is_written_under_the_name_of_its_image(tmp_path):
    path = image(tmp_path / "x.jpg")
    assert names(tmp_path / "out", [path]) == ["x.png"]
    with Image.open(tmp_path / "out" / "x.png") as picture:
        assert picture.size == (60, 40)
        assert picture.getpixel((10, 20)) != picture.getpixel((30, 20))


def test_two_images_of_one_name_have_two_pictures_the_same_ones_again(tmp_path):
    folder = tmp_path / "out"
    a, b = image(tmp_path / "a" / "1.jpg", "blue"), image(tmp_path / "b" / "1.jpg", "red")
    c = image(tmp_path / "b" / "1.png", "green")
    assert names(folder, [a, b, c, a]) == ["1.png", "1-2.png", "1-3.png", "1.png"]
    # In another order, alone and by other spellings; a picture of another image is left.
    assert names(folder, [c, b]) == ["1-3.png", "1-2.png"]
    os.symlink(tmp_path / "b", tmp_path / "link")
    assert names(folder, [f"{tmp_path}/a/../link/1.jpg"]) == ["1-2.png"]
    colors = []
    for name in ("1.png", "1-2.png", "1-3.png"):
        with Image.open(folder / name) as picture:
            colors.append(picture.getpixel((30, 38)).index(max(picture.getpixel((30, 38)))))
    assert colors == [2, 0, 1]


@pytest.mark.parametrize("out", [".", "./sub/..", "link"])
def test_an_image_is_never_written(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(".", "link")
    image(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    assert names(Path(out), ["photo.png"]) == ["photo-2.png"]
    assert names(Path(out), ["./photo.png"]) == ["photo-2.png"]
    # The picture as an image, and what it shows, in one call.
    assert names(Path(out), ["photo.png", "photo-2.png"]) == ["photo-3.png", "photo-2-2.png"]
    assert (tmp_path / "photo.png").read_bytes() == before


def test_links_and_files_of_others_are_left(tmp_path):
    path, folder = image(tmp_path / "x.jpg"), tmp_path / "out"
    folder.mkdir()
    os.link(image(tmp_path / "other.png"), folder / "x.png")
    os.symlink(tmp_path / "other.png", folder / "x-2.png")
    os.symlink(tmp_path / "nothing", folder / "x-3.png")
    (folder / "x-4.png").mkdir()
    with pytest.raises(UserError, match=r"cannot write to .*other\.png"):
        Pictures(tmp_path / "other.png", [path])
    (folder / "x-5.png").write_text("mine", encoding="utf-8")
    before = (tmp_path / "other.png").read_bytes()
    assert names(folder, [path]) == ["x-6.png"]
    assert (tmp_path / "other.png").read_bytes() == before
    assert not (tmp_path / "nothing").exists()


def test_many_images_of_one_name_are_each_looked_for_once(tmp_path):
    folder = tmp_path / "out"
    images = [image(tmp_path / str(number) / "x.jpg") for number in range(40)]
    wanted = ["x.png", *(f"x-{number}.png" for number in range(2, 41))]
    assert names(folder, images) == wanted
    assert names(folder, images[::-1]) == wanted[::-1]
    assert len(list(folder.iterdir())) == 40


def test_pictures_are_told_from_images(tmp_path):
    folder = tmp_path / "out"
    mine = image(folder / "mine.png")
    names(folder, [image(tmp_path / "x.jpg")])
    assert is_picture(folder / "x.png", folder)
    assert is_picture(folder / ".." / "out" / "x.png", folder)
    assert not is_picture(Path(mine), folder)
    assert not is_picture(folder / "x.png", tmp_path)


def test_the_curves_show_every_epoch(tmp_path):
    row = {"ap": 0.1, "ap50": 0.2, "ap75": 0.05, "lr": 0.1, "train_loss": 2.0}
    rows = [{"epoch": number, **row} for number in (1, 2, 3)]
    losses, precisions, rates = curves(rows).axes
    assert list(losses.lines[0].get_ydata()) == [2, 2, 2]
    assert [item.get_label() for item in precisions.lines] == ["ap", "ap50", "ap75"]
    assert list(precisions.lines[1].get_ydata()) == pytest.approx([20, 20, 20])
    assert list(rates.lines[0].get_xdata()) == [1, 2, 3]
    runs.write_jsonl(tmp_path / "metrics.jsonl", rows)
    assert write_curves(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_a_training_has_its_curves_and_the_page_of_its_validation(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    validation(tmp_path / "validation", [line(1, 0, 0, tmp_path / "a.png")])
    row = {"ap": 0.1, "ap50": 0.2, "ap75": 0.05, "lr": 0.1, "train_loss": 2.0}
    runs.write_jsonl(tmp_path / "metrics.jsonl", [{"epoch": 1, **row}])
    names = ("curves.png", "validation/report.html", "validation/precision.png")
    assert write_figures(tmp_path) == [tmp_path / name for name in names]
    assert all((tmp_path / name).stat().st_size for name in names)


def test_the_precision_is_told_with_its_mean():
    (axes,) = precision(RECALLS).axes
    assert [item.get_label() for item in axes.lines] == [
        "IoU 0.5 (mean 50.0)",
        "IoU 0.75 (mean 50.0)",
        "IoU 0.5 to 0.95 (mean 25.0)",
    ]


def test_a_validation_without_images_is_told(tmp_path):
    validation(tmp_path, [])
    with pytest.raises(UserError, match=r"images\.jsonl"):
        write_page(tmp_path)
