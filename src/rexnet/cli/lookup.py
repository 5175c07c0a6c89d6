"""What the command line names is looked up before torch is loaded: a mistake is told at once.

The jobs look it up again; they are also called without a command line.
"""

from pathlib import Path

from rexnet.data.coco.layouts import find_part
from rexnet.data.sources import check_source
from rexnet.detect import heads
from rexnet.detect import recipe as detection_recipes
from rexnet.detect.config import DetectTrainConfig
from rexnet.detect.recipe import DetectionRecipe
from rexnet.nn.sources import check_model, check_trained, find, find_start, resolve
from rexnet.train import recipe as recipes
from rexnet.train.config import ProbeConfig, TrainConfig, find_teacher
from rexnet.train.recipe import Recipe


def check_training(config: TrainConfig) -> Recipe:
    """Check recipe, network, images, weights and teacher of a training, and return the recipe.

    Raises:
        UserError: One of them is not there.
    """
    recipe = recipes.load(config.recipe, config.set)
    known = find(config.model).timm
    check_source(config.data)
    find_teacher(recipe)
    weights = config.start(recipe)
    spec = None if known else resolve(config.model, weights)
    # A training that goes on has its own.
    if (Path(config.out) / "last.pt").exists():
        weights = None
    if spec is None:
        check_model(config.model, weights)
    elif weights is not None:
        find_start(weights, recipes.adapted(spec, recipe))
    return recipe


def check_probe(config: ProbeConfig) -> None:
    """Check network, weights and images of a probe.

    Raises:
        UserError: One of them is not there.
    """
    check_trained(config.model, config.weights)
    check_source(config.data)


def check_detection(config: DetectTrainConfig) -> DetectionRecipe:
    """Check recipe, backbone, images and weights of a detector's training; return the recipe.

    Raises:
        UserError: One of them is not there.
    """
    recipe = detection_recipes.load(config.recipe, config.set)
    recipe = recipe.from_scratch() if config.from_scratch else recipe
    heads.check(recipe.head)
    if config.data is not None:
        for part in ("train", "val"):
            find_part(config.data, part)
    weights = config.start(recipe)
    if (Path(config.out) / "last.pt").exists():
        weights = None
    check_model(config.backbone, weights)
    return recipe
