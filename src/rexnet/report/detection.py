"""The figures of a detector's training and the page of its validation, from their folders."""

import base64
import hashlib
import itertools
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from rexnet import runs
from rexnet.data.decode import read_upright
from rexnet.errors import UserError
from rexnet.report.figures import STYLE, render
from rexnet.report.lettering import as_text, caption_font
from rexnet.report.pages import environment

SHOWN = 24
"""Images on a page."""

SIDE = 420
"""The longer side of an image there, in pixels."""

CAPTION = 11
"""The height of letters beside boxes, in pixels."""

SHOWS = "rexnet-shows"
"""Name of the text in a picture that says which image it shows."""

DIGITS = 16
"""Hex digits of the digest there."""

HEAD = 1024
"""Bytes at the beginning of a picture that hold this text."""

RIGHT, WRONG, MISSED, CROWD = "#2ca02c", "#d62728", "#ffb000", "#b0b0b0"


def write_figures(folder: Path) -> list[Path]:
    """Draw all figures and the page of the complete training in ``folder``; return their paths.

    Raises:
        UserError: A file of the training is missing, damaged or empty, or an image cannot be read.
    """
    return [write_curves(folder), *write_page(folder / "validation")]


def write_curves(folder: Path) -> Path:
    """Draw ``curves.png`` of the training in ``folder`` and return its path.

    Raises:
        UserError: ``metrics.jsonl`` is missing, damaged or empty.
    """
    path = folder / "curves.png"
    runs.write_bytes(path, render(curves(_rows(folder / "metrics.jsonl")), "png"))
    return path


def write_page(folder: Path) -> list[Path]:
    """Draw ``report.html`` and ``precision.png`` of the validation in ``folder``.

    The page shows the images with the most mistakes first: the truth on the left, what was found on
    the right.

    Raises:
        UserError: A file of the validation is missing or damaged, or an image cannot be read.
    """
    figure = precision(_rows(folder / "curve.jsonl"))
    rows = _rows(folder / "images.jsonl")
    classes = _rows(folder / "classes.jsonl")
    numbers = {row["class"]: number for number, row in enumerate(classes)}
    rows.sort(key=lambda row: (-row["missed"] - row["wrong"], row["image_id"]))
    paths = [folder / "report.html", folder / "precision.png"]
    page = (
        environment()
        .get_template("detection.html")
        .render(
            result=runs.read_json(folder / "result.json"),
            classes=classes,
            figure=_embedded(render(figure, "png"), "png"),
            images=list(_pictures(rows[:SHOWN], numbers)),
            num_images=len(rows),
            colors={"right": RIGHT, "wrong": WRONG, "missed": MISSED, "crowd": CROWD},
        )
    )
    runs.write_text(paths[0], page)
    runs.write_bytes(paths[1], render(figure, "png"))
    return paths


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw loss, average precision and the learning rate over epochs."""
    epochs = [row["epoch"] for row in rows]
    panels = {"training loss": ("train_loss",), "AP (%)": ("ap", "ap50", "ap75"), "lr": ("lr",)}
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        for axes, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            scale = 100 if title.startswith("AP") else 1
            for name in names:
                values = [scale * row[name] for row in rows]
                axes.plot(epochs, values, "o-", markersize=3, label=name)
            axes.set_ylabel(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(names) > 1:
                axes.legend(frameon=False)
    return figure


def precision(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the mean precision of the classes over recall."""
    names = {"ap50": "IoU 0.5", "ap75": "IoU 0.75", "ap": "IoU 0.5 to 0.95"}
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for key, title in names.items():
            values = [100 * row[key] for row in rows]
            label = f"{title} (mean {sum(values) / len(values):.1f})"
            axes.plot([100 * row["recall"] for row in rows], values, label=label)
        axes.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(0, 100), ylim=(0, 100))
        axes.legend(frameon=False)
    return figure


def caption_of(row: Mapping[str, Any], number: int | None) -> str:
    """Return the class of a box as a picture can show it, or else its number, and its score."""
    name = as_text(row["class"])
    shown = name if caption_font(name, CAPTION) else f"class {number}"
    return f"{shown} {100 * row['score']:.0f}" if "score" in row else shown


def draw(picture: Image.Image, boxes: Sequence[tuple[Sequence[float], str, str]]) -> Image.Image:
    """Return the picture with boxes (x1, y1, x2, y2 in its pixels), colours and captions."""
    picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for box, color, caption in boxes:
        pen.rectangle([round(edge) for edge in box], outline=color, width=2)
        if caption:
            font = caption_font(caption, CAPTION)
            left, top = max(0, box[0]), max(0, box[1] - 13)
            pen.rectangle(pen.textbbox((left + 1, top), caption, font=font), fill=color)
            pen.text((left + 1, top), caption, fill="black", font=font)
    return picture


class Pictures:
    """Pictures with boxes in a folder; none is written over an image or another file.

    The picture of an image has its name, with the ending ``.png``. Where that is taken, it ends in
    ``-2``, ``-3`` and so on. A picture knows which image it shows, by a digest of its path, and
    takes the place of an earlier one of the same image only.

    Args:
        folder: Where they are written.
        images: Paths of all images, none of which is written to.

    Raises:
        UserError: The folder cannot be made.
    """

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        try:
            # Before names are looked for in it: new/.. is a folder only once there is new.
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None
        self._folder = folder
        self._images = {_file(path) for path in images}
        self._stems: dict[str, _Stem] = {}

    def write(self, path: str, found: Sequence[Mapping[str, Any]]) -> Path:
        """Write a picture with the boxes of what was found on an image, and return its path.

        Raises:
            UserError: The image cannot be read, or the folder cannot be written to.
        """
        boxes = [
            (row["box"], RIGHT, caption_of(row, row.get("category_id"))) for row in reversed(found)
        ]
        words, buffer = PngInfo(), BytesIO()
        words.add_text(SHOWS, _digest(path))
        draw(read_upright(path, max_megapixels=None), boxes).save(buffer, "PNG", pnginfo=words)
        target = self._place(path)
        runs.write_bytes(target, buffer.getvalue())
        return target

    def _place(self, path: str) -> Path:
        name = Path(path).stem
        stem = self._stems.setdefault(name, _Stem(self._folder, name))
        return stem.place(_digest(path), self._images)


class _Stem:
    """The pictures in a folder whose images have one name; each is looked at once.

    Args:
        folder: Where they are.
        name: The name, without an ending.
    """

    def __init__(self, folder: Path, name: str) -> None:
        endings = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        self._names = (folder / f"{name}{ending}.png" for ending in endings)
        self._earlier: dict[str, Path] = {}

    def place(self, digest: str, images: Container[tuple[int, int] | None]) -> Path:
        """Return where the picture of an image goes: over its own earlier one, or a free name."""
        while digest not in self._earlier:
            place = next(self._names)
            # A link that leads nowhere is something, too.
            if not os.path.lexists(place):
                self._earlier[digest] = place
            elif not place.is_symlink() and _file(str(place)) not in images:
                self._earlier.setdefault(_shown(place), place)
        return self._earlier[digest]


def is_picture(path: Path, folder: Path) -> bool:
    """Tell whether a file is a picture that ``Pictures`` wrote to a folder."""
    return os.path.realpath(path.parent) == os.path.realpath(folder) and bool(_shown(path))


def _shown(path: Path) -> str:
    """Return the digest of the image that a picture shows; empty if it is none of ``Pictures``."""
    try:
        with path.open("rb") as file:
            _, mark, rest = file.read(HEAD).partition(f"{SHOWS}\0".encode())
    except OSError:
        return ""
    return rest[:DIGITS].decode("latin-1") if mark else ""


def _digest(path: str) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:DIGITS]


def _file(path: str) -> tuple[int, int] | None:
    """Return what is the same for all names of a file; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _pictures(
    rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        upright = read_upright(row["path"], max_megapixels=None)
        upright.thumbnail((SIDE, SIDE))
        scale = upright.width / row["size"][0], upright.height / row["size"][1]

        def placed(box: Sequence[float], by: tuple[float, float] = scale) -> list[float]:
            return [edge * by[place % 2] for place, edge in enumerate(box)]

        truth = [
            (placed(t["box"]), _truth_color(t), caption_of(t, numbers.get(t["class"])))
            for t in row["truth"]
        ]
        found = [
            (
                placed(f["box"]),
                RIGHT if f["right"] else WRONG,
                caption_of(f, numbers.get(f["class"])),
            )
            # The highest score is drawn last, on top.
            for f in reversed(row["found"])
        ]
        yield {
            "name": Path(row["path"]).name,
            "missed": row["missed"],
            "wrong": row["wrong"],
            "truth": _jpeg(draw(upright, truth)),
            "found": _jpeg(draw(upright, found)),
        }


def _truth_color(truth: Mapping[str, Any]) -> str:
    if truth["crowd"]:
        return CROWD
    return MISSED if truth["missed"] else RIGHT


def _jpeg(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return _embedded(buffer.getvalue(), "jpeg")


def _embedded(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = runs.read_jsonl(path)
    if not rows:
        raise UserError(f"{path} is empty; run the job that writes it again")
    return rows
