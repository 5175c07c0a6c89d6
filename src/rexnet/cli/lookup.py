"""What the command line names is looked up before torch is loaded: a mistake is told at once.

The jobs look it up again; they are also called without a command line.
"""

from pathlib import Path

from rexnet.data.coco import find_part
from rexnet.data.sources import check_source
from rexnet.detect import recipe as detection_recipes
from rexnet.detect.config import DetectTrainConfig
from rexnet.nn.sources import check_weights, named
from rexnet.studies.config import ActivationStudy, DetectionStudy, FactorStudy
from rexnet.train import recipe as recipes
from rexnet.train.config import TrainConfig

FILES = (".safetensors", ".pth")


def check_training(config: TrainConfig) -> None:
    """Check recipe, network, images and weights of a training.

    Raises:
        UserError: One of them is not there.
    """
    recipe = recipes.load(config.recipe, config.set)
    spec = named(config.model)
    check_source(config.data)
    weights = config.start(recipe)
    # A training that goes on has its own.
    if not (Path(config.out) / "last.pt").exists():
        check_weights(weights, spec)


def check_study(config: ActivationStudy | FactorStudy) -> None:
    """Check recipe, network and images of a study of trainings.

    Raises:
        UserError: One of them is not there.
    """
    recipes.load(config.recipe, config.set)
    if isinstance(config, ActivationStudy):
        named(config.model)
    check_source(config.data)


def check_detection(config: DetectTrainConfig) -> None:
    """Check recipe, backbone, images and weights of the training of a detector.

    Raises:
        UserError: One of them is not there.
    """
    recipe = detection_recipes.load(config.recipe, config.set)
    recipe = recipe.from_scratch() if config.from_scratch else recipe
    if config.data is not None:
        for part in ("train", "val"):
            find_part(config.data, part)
    weights = config.start(recipe)
    if (Path(config.out) / "last.pt").exists():
        weights = None
    check_model(config.backbone, weights)


def check_detection_study(config: DetectionStudy) -> None:
    """Check recipe, backbones, images and weights of a study of detectors.

    Raises:
        UserError: One of them is not there.
    """
    detection_recipes.load(config.recipe, config.set)
    for part in ("train", "val"):
        find_part(config.data, part)
    # Trainings that go on have their own.
    weights = None if Path(config.out).exists() else config.weights
    for backbone in config.backbones:
        check_model(backbone, weights)


def check_model(source: str, weights: str | None = None) -> None:
    """Check a model and its weights: what ``rexnet.deploy.models.load`` takes.

    Whether timm knows a model of its own, timm alone can tell.

    Raises:
        UserError: One of them is not there.
    """
    scheme = source.partition(":")[0]
    if scheme == "timm":
        check_weights(weights, None)
    elif scheme == "hf" and weights is None:
        check_weights(source, None)
    elif weights is not None or not (Path(source).suffix in FILES and Path(source).is_file()):
        check_weights(weights, named(source))
