"""The validation and the prediction job: a trained model on labelled images, or on any image."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from rexnet import runs
from rexnet.data import in_memory
from rexnet.data.corrupt import checked, refuse, unusable
from rexnet.data.decode import MAX_MEGAPIXELS
from rexnet.data.examine import Examined
from rexnet.data.findings import Seen, surveyed
from rexnet.data.folders import composed, is_class_folder
from rexnet.data.held_out import are_of_one, without_corrupt
from rexnet.data.image_sets import FileImages, Images
from rexnet.data.loader import LabelledImages, counted, evaluation_batches, stacked
from rexnet.data.named import Unread, in_batches
from rexnet.data.sources import open_folder, open_images
from rexnet.data.survey import OnSurvey, ignore
from rexnet.data.transforms import evaluation_transform
from rexnet.errors import UserError, not_lost
from rexnet.nn.classifiers import Classifier, identity_of, load_classifier, quick
from rexnet.nn.hub import imagenet_classes, imagenet_ids
from rexnet.nn.sources import check_trained
from rexnet.nn.weights import digest
from rexnet.runs.progress import OnProgress, counting
from rexnet.train.config import ValidateConfig, num_readers
from rexnet.train.distributed import joined
from rexnet.train.evaluate import Evaluation, evaluate, write_evaluation
from rexnet.train.images import examined, held_out_before
from rexnet.train.run_folder import opened_validation, settings_of, validated_on

PREDICTED = 32
"""Images that are predicted at a time."""


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A validation: on what, with which result, and where it is written."""

    images: str
    evaluation: Evaluation
    classes: tuple[str, ...]
    folder: Path


def validate(
    config: ValidateConfig, on_progress: OnProgress, on_survey: OnSurvey = ignore
) -> Validated:
    """Evaluate a model and write ``result.json`` and ``classes.jsonl``.

    Args:
        config: What to evaluate.
        on_progress: Called while images are checked, and again while they are evaluated.
        on_survey: Called with what the images are, before they are evaluated.

    Raises:
        UserError: The model, the weights or the data cannot be had or do not belong together, or
            the folder holds something else.
    """
    model = trained(config.model, config.weights)
    source, parts, chosen = _images(config)
    images = parts[chosen]
    identity = {
        "model": identity_of(model),
        "weights": digest(model),
        "data": {"name": images.name, "fingerprint": images.fingerprint()},
    }
    parts = tuple(relabelled(part, model).limited(config.max_megapixels) for part in parts)
    opened = opened_validation(
        config.model, config.out, source, identity, is_own=config.weights is None
    )
    with joined(config.device) as world, opened if world.leads else nullcontext(Path()) as place:
        folder = world.from_leader(place)
        on_read = counting(on_progress, "images", line=False)
        look = partial(examined, world=world, on_progress=on_read)
        images = _sound(config, parts, chosen, look, on_survey if world.leads else ignore)
        readers = num_readers(
            config.workers, world.device.type, world.size, from_files=isinstance(images, FileImages)
        )
        batches = evaluation_batches(
            LabelledImages(images, evaluation_transform(model.preprocessing)),
            batch_size=config.batch_size,
            rank=world.rank,
            world=world.size,
            num_workers=readers,
            pin_memory=world.device.type == "cuda",
        )
        told = counted(batches, len(images), on_read)
        model.to(memory_format=torch.channels_last).to(world.device)
        found = evaluate(model, told, world)
        validated = Validated(
            images=images.name, evaluation=found, classes=images.classes, folder=folder
        )
        if world.leads:
            with not_lost(validated):
                write_evaluation(folder, found, images.classes)
    return validated


def predict(
    model: Classifier, files: Sequence[str], num_classes: int, max_megapixels: int = MAX_MEGAPIXELS
) -> Iterator[tuple[str, list[tuple[str, float]] | Unread]]:
    """Yield each image's path and its likeliest classes with their probabilities.

    Args:
        model: A trained network; a copy with folded batch norms is what predicts.
        files: Files of images; one that cannot be read stops nothing.
        num_classes: Classes to name.
        max_megapixels: Most millions of pixels of an image.
    """
    names = model.classes or tuple(map(str, range(model.num_classes)))
    fused = quick(model)

    def likeliest(inputs: list[Tensor]) -> list[list[tuple[str, float]]]:
        with torch.inference_mode():
            probabilities = fused(stacked(inputs)).float().softmax(1)
        best = probabilities.topk(min(num_classes, len(names)))
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [[(names[i], value) for i, value in zip(*row, strict=True)] for row in rows]

    prepare = evaluation_transform(model.preprocessing)
    return in_batches(files, prepare, likeliest, PREDICTED, max_megapixels)


def trained(model: str, weights: str | None) -> Classifier:
    """Return a trained model: whole from a folder or the hub, or a network with weights.

    Raises:
        UserError: It cannot be had, a name comes without weights, or it has no classifier.
    """
    check_trained(model, weights)
    network = load_classifier(model, weights)
    if not network.num_classes:
        raise UserError(f"{model} has no classifier: it gives features, and cannot name a class")
    return network


def relabelled(images: Images, model: Classifier) -> Images:
    """Return ``images`` with the labels of ``model``, by the names of their classes.

    Folders named by WordNet ids, as ImageNet's are, fit a model of ImageNet's classes. Of a model
    without names numbers are the indices of its classes, and other classes are in its order.

    Raises:
        UserError: The images have classes that the model does not know, or whose order is not
            known.
    """
    num_classes, classes = model.num_classes, model.classes
    if images.classes == classes:
        return images
    if not classes and _are_indices(images.classes, num_classes):
        classes = tuple(map(str, range(num_classes)))
    if images.classes == classes:
        return images
    if not classes and len(images.classes) == num_classes:
        _check_order(images)
        return images
    known = labels_of(classes)
    unknown = [name for name in images.classes if composed(name) not in known]
    if unknown:
        few = ", ".join(classes[:3]) or f"{num_classes} without names"
        raise UserError(
            f"{images.name} has classes that the model does not know: {', '.join(unknown[:3])} "
            f"({len(unknown)} of {len(images.classes)}); the model's are {few}, ..."
        )
    labels = np.array([known[composed(name)] for name in images.classes])[images.labels]
    return replace(images, labels=labels, classes=classes)


def labels_of(classes: tuple[str, ...]) -> dict[str, int]:
    """Return labels by the ``composed`` names of a model's classes, and by ImageNet's ids."""
    known = {composed(name): label for label, name in enumerate(classes)}
    if len(classes) == len(imagenet_ids()) and classes == imagenet_classes():
        known |= {name: label for label, name in enumerate(imagenet_ids())}
    return known


def _are_indices(names: tuple[str, ...], num_classes: int) -> bool:
    """Tell whether names are numbers from 0 to less than the number of classes."""
    return all(
        name.isascii() and name.isdigit() and name == str(int(name)) and int(name) < num_classes
        for name in names
    )


def _check_order(images: Images) -> None:
    """Check that the order of classes with numbers in their names, for a model without, is plain.

    Raises:
        UserError: It is another one by the numbers than by the letters.
    """
    if list(images.classes) != sorted(images.classes):
        # Not the order of folders, but one that was given.
        return
    by_number = sorted(images.classes, key=_by_number)
    if by_number != list(images.classes):
        letters, numbers = next(
            pair for pair in zip(images.classes, by_number, strict=True) if pair[0] != pair[1]
        )
        raise UserError(
            f"{images.name}: the model has no names of classes, and in the place where by letters "
            f"{letters!r} stands, by numbers {numbers!r} does; name the folders 0 to "
            f"{len(images.classes) - 1}, the indices of the model's classes"
        )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what sorts names by the numbers in them."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() and part.isascii() else (0, part) for part in parts]


def _images(config: ValidateConfig) -> tuple[str, tuple[Images, ...], int]:
    """Return where the images are, their parts, and the index of the part to evaluate.

    The parts are two where one was held out of the other, and else one.
    """
    settings = settings_of(Path(config.model))
    own = str(settings["data"]) if settings else None
    source = config.data or own
    if source is None:
        raise UserError("give --data: what to evaluate on")
    if config.part == "all":
        return source, (open_folder(Path(source)),), 0
    is_own = own is not None and Path(source).resolve() == Path(own).resolve()
    if config.part == "auto" and not is_own and is_class_folder(Path(source)):
        # Of the images that a model was trained on a part was held out; others are whole.
        parts = _divided_alike(config.model, source)
        return (source, parts, 1) if parts else (source, (open_folder(Path(source)),), 0)
    parts, chosen = open_images(source), int(config.part != "train")
    return (source, parts, chosen) if are_of_one(*parts) else (source, (parts[chosen],), 0)


def _divided_alike(run: str, source: str) -> tuple[Images, Images] | None:
    """Return the parts of ``source`` if the second is what a run or a search was validated on."""
    known, searched = validated_on(Path(run)), Path(run) / "search.json"
    if known is None and not searched.is_file():
        return None
    try:
        parts = open_images(source)
        if known is None:
            return parts if _searched(Path(run), source, sum(map(len, parts))) else None
    except UserError:
        # What cannot be divided was not trained on.
        return None
    return parts if parts[1].fingerprint() == known else None


def _searched(folder: Path, source: str, num_images: int) -> bool:
    """Tell whether a search was on ``source``, wherever it lay then.

    Raises:
        UserError: The images cannot be read.
    """
    data = runs.read_json(folder / "search.json")["data"]
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    skips = bool(settings.get("skip_corrupt"))
    if data["num_train"] + data["num_held_out"] != num_images and not skips:
        return False
    found = in_memory.load(source, settings["resolution"], skip_corrupt=skips)
    return bool(found.fingerprint() == data["fingerprint"])


def _sound(
    config: ValidateConfig,
    parts: tuple[Images, ...],
    chosen: int,
    look: Callable[[Images], Examined],
    on_survey: OnSurvey,
) -> Images:
    """Return the chosen part without corrupt images; what is held out is so as in a training.

    Raises:
        UserError: Images are corrupt and not to be skipped.
    """
    images, seen = parts[chosen], look(parts[chosen])
    part = Seen(title="val", images=images, examined=seen, skipped=config.skip_corrupt)
    on_survey(surveyed([part]))
    if len(parts) == 1:
        return checked(images, seen, config.skip_corrupt)[0]
    if not config.skip_corrupt:
        refuse([(images, seen)])
    if chosen == 1 and not seen.damage:
        return images
    other = look(parts[1 - chosen])
    train, val = parts
    found = (other, seen) if chosen else (seen, other)
    corrupt = list(unusable(train, found[0])), list(unusable(val, found[1]))
    rest = train.without(corrupt[0]), val.without(corrupt[1])
    exchange = not held_out_before(Path(config.model), rest)
    return without_corrupt((train, val), corrupt, exchange=exchange)[chosen]
