"""What can be measured and exported: networks, trained models, detectors and models of timm."""

from dataclasses import dataclass, replace

from torch import nn

from rexnet import cost
from rexnet.detect.detector import Detector
from rexnet.detect.hub import load_detector
from rexnet.errors import UserError
from rexnet.nn.classifiers import Classifier, counted_macs, load_classifier
from rexnet.nn.create import create_model
from rexnet.nn.network import Network
from rexnet.nn.sources import find
from rexnet.nn.timm_models import timm_model
from rexnet.preprocessing import Preprocessing
from rexnet.spec import NetSpec


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model with what it needs.

    Attributes:
        name: What it was asked for by.
        module: In evaluation mode; maps images (N, channels, side, side) to its outputs.
        preprocessing: What an image goes through before the model sees it.
        classes: The names of the classes; empty if they are not known.
        outputs: The names of what the module gives: logits; of a detector logits and offsets.
        trained: Whether the weights are more than random.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("logits",)
    trained: bool = False

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        side = self.preprocessing.resolution
        return self.preprocessing.num_channels, side, side

    @property
    def params(self) -> int:
        """Learnable parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        if isinstance(self.module, Network):
            return cost.count(self.module.spec, self.preprocessing.resolution).macs
        return counted_macs(self.module, self.size)


def load(source: str, weights: str | None = None) -> Model:
    """Return the model that ``source`` names, in evaluation mode.

    Args:
        source: A name of ``rexnet list``, a spec in JSON, a run folder, a model folder, a file of
            weights that carries its spec, ``hf:USER/REPO``, or ``timm:NAME`` for a model of timm.
        weights: What ``create_model`` takes; of a model of timm ``timm``, or a file of timm's. By
            default those of a trained source, else random ones: the run folder of a search is its
            best network.

    Raises:
        UserError: There is no such model, or its weights cannot be had.
    """
    found = find(source)
    if found.timm is not None:
        if found.weights is None:
            return _of_timm(source, weights)
        return _described(source, load_classifier(source, weights), True)
    if weights is not None or found.weights is None:
        return _described(source, create_model(source, weights).eval(), weights is not None)
    if found.kind == "detector":
        return _described(source, load_detector(found.weights.path.parent), True)
    return _described(source, load_classifier(source), True)


def of_spec(spec: NetSpec) -> Model:
    """Return the network of ``spec`` with random weights."""
    return _described(spec.name, create_model(spec).eval(), False)


def at_resolution(model: Model, resolution: int | None) -> Model:
    """Return the model for images of another side, in pixels.

    Raises:
        UserError: The resolution is out of range, or the model is a detector of another one.
    """
    if resolution is None or resolution == model.preprocessing.resolution:
        return model
    if isinstance(model.module, Detector):
        raise UserError(
            f"{model.name} is a detector for {model.preprocessing.resolution} pixels, which cannot "
            f"be changed to {resolution}"
        )
    preprocessing = replace(model.preprocessing, resolution=resolution)
    return replace(model, preprocessing=preprocessing)


def _of_timm(source: str, weights: str | None) -> Model:
    from timm.data import resolve_model_data_config

    module = timm_model(source.partition(":")[2], weights).eval()
    preprocessing = Preprocessing.from_config(resolve_model_data_config(module))
    trained = weights is not None
    return Model(name=source, module=module, preprocessing=preprocessing, trained=trained)


def _described(name: str, module: Classifier | Detector, trained: bool) -> Model:
    outputs = module.outputs if isinstance(module, Detector) else ("logits",)
    return Model(
        name=name,
        module=module,
        preprocessing=module.preprocessing,
        classes=module.classes,
        outputs=outputs,
        trained=trained,
    )
