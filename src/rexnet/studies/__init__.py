"""Studies: many trainings, or many layers, and the table or the figure that they make."""

from collections.abc import Mapping
from typing import Any

from rexnet.studies import activations, detection, factors
from rexnet.studies.study import TrainingStudy

STUDIES: Mapping[str, TrainingStudy[Any]] = {
    "activations": activations.STUDY,
    "detection": detection.STUDY,
    "factors": factors.STUDY,
}
"""The studies of trainings by name. No module of theirs imports torch before it is run."""
