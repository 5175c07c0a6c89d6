"""Weights at any width: a network cut out of a trained one, or grown from it."""

from rexnet.nn.inherit.make import inherit

__all__ = ["inherit"]
