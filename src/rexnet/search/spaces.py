"""From the config of a search to its space: the network and the limits that it names."""

import dataclasses
from pathlib import Path

from rexnet.budget import Budget
from rexnet.design import FILL, budget_like
from rexnet.errors import UserError
from rexnet.nn.sources import Weights, find_weights, resolve
from rexnet.search.config import MAX_RESOLUTION, MIN_BLOCKS, SearchConfig
from rexnet.search.space import Space
from rexnet.spec import NetSpec
from rexnet.structure import check_resolution, check_structure

OF_A_NETWORK = ("timm", "pypi")
"""Names of weights that each of several networks has."""


def space_of(config: SearchConfig, num_classes: int, resolution: int) -> Space:
    """Return the space of a resolved config for images of a size and a number of classes.

    Raises:
        UserError: It names a network that is not there, that cannot be searched, or that has not
            the structure of the one to inherit from.
    """
    network = network_of(config)
    space = Space(
        num_blocks=len(network.blocks) if network else config.blocks or 0,
        num_classes=num_classes,
        resolution=resolution,
        budget=_budget(config, num_classes, resolution),
        network=network,
        scale_ends=config.scale_ends,
        fill=config.fill,
        # Searches as strict as they always were have no parameter more.
        slack=round(1 - config.fill, 6) if config.fill < FILL else 0.0,
        vary=config.vary,
    )
    if network and space.varies and not space.expansions:
        raise UserError(
            f"--vary {space.vary} finds nothing to vary: all blocks of {space.template.name} have "
            "the expansion 1, which has no expanding convolution; leave it out"
        )
    if config.init is not None:
        check_structure(origin_of(config)[1], space.template)
    return space


def network_of(config: SearchConfig) -> NetSpec | None:
    """Return the network whose widths a config searches; None for the paper's search network.

    Raises:
        UserError: It is not there, or has too few blocks.
    """
    if config.network is not None:
        network = resolve(config.network)
    elif config.init is not None:
        network = origin_of(config)[1]
    else:
        return None
    if len(network.blocks) < MIN_BLOCKS:
        raise UserError(
            f"{network.name} has {len(network.blocks)} blocks; a search needs at least {MIN_BLOCKS}"
        )
    return network


def origin_of(config: SearchConfig) -> tuple[Weights, NetSpec]:
    """Return the weights that every network of a config inherits, and the network they are of.

    Raises:
        UserError: There are none, or they do not tell their network.
    """
    assert config.init is not None
    network = None if config.network is None else resolve(config.network)
    if network is None and config.init in OF_A_NETWORK:
        raise UserError(f"--init {config.init} needs --network, such as efficientnet_lite0")
    weights = find_weights(config.init, network)
    spec = weights.spec or network
    if spec is None:
        raise UserError(f"{config.init} does not tell its network: give --network")
    return weights, spec


def resolution_of(config: SearchConfig) -> int | None:
    """Return the side in pixels of images in files; None is that of a search without a network.

    Raises:
        UserError: It is too small for the network, or the network's own is too large.
    """
    network = network_of(config)
    if config.resolution is not None and network is not None:
        check_resolution(network, config.resolution)
    if config.resolution is not None or network is None or not Path(config.data).is_dir():
        return config.resolution
    if network.resolution > MAX_RESOLUTION:
        raise UserError(
            f"{network.name} is for images of {network.resolution} px, a search for at most "
            f"{MAX_RESOLUTION}: give --resolution"
        )
    return network.resolution


def check_names(config: SearchConfig) -> None:
    """Check the networks that a config names, before its images are read.

    Raises:
        UserError: One of them is not there, or cannot be used.
    """
    resolution_of(config)
    # Of any images: what they are decides nothing here.
    space_of(config, num_classes=2, resolution=32)


def _budget(config: SearchConfig, num_classes: int, resolution: int) -> Budget:
    """Return the limits of a config; those of a network that it names are counted on the images."""
    budget = config.limits()
    if config.budget.like is None:
        return budget
    like = dataclasses.replace(
        resolve(config.budget.like), num_classes=num_classes, resolution=resolution, in_channels=3
    )
    return budget_like(like, budget)
