"""Detectors: heads on any backbone, training, average precision."""
