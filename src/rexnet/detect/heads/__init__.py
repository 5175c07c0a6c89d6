"""Detector heads: what turns the maps of a backbone into boxes and scores."""

from rexnet.detect.detector import Detector
from rexnet.detect.heads.ssdlite import SSDLite

HEADS: dict[str, type[Detector]] = {SSDLite.architecture: SSDLite}
"""The heads by name, as recipes and ``config.json`` name them."""
