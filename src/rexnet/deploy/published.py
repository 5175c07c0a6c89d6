"""What the paper printed of its networks: Table A1 (appendix, B.3)."""

from dataclasses import dataclass

FIRST = "rexnet_1.0"
"""The network to whose time the others' are compared."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of Table A1, at 224 pixels.

    Attributes:
        top1: Percent of ImageNet's validation images.
        macs: As printed, in billions.
        params: As printed, in millions.
        cpu_milliseconds: For one image on a Xeon E5-2630 v4.
        gpu_milliseconds: For 64 images on a V100.
    """

    top1: float
    macs: str
    params: str
    cpu_milliseconds: int
    gpu_milliseconds: int


def _row(top1: float, macs: str, params: str, cpu: int, gpu: int) -> Published:
    return Published(
        top1=top1, macs=macs, params=params, cpu_milliseconds=cpu, gpu_milliseconds=gpu
    )


A1 = {
    "rexnet_plain": _row(74.8, "0.56B", "3.4M", 22, 10),
    "rexnet_0.9": _row(77.2, "0.35B", "4.1M", 46, 20),
    "rexnet_1.0": _row(77.9, "0.40B", "4.8M", 47, 21),
    "rexnet_1.1": _row(78.6, "0.48B", "5.6M", 51, 24),
    "rexnet_1.2": _row(79.0, "0.57B", "6.6M", 53, 26),
    "rexnet_1.3": _row(79.5, "0.66B", "7.6M", 55, 28),
    "rexnet_1.4": _row(79.8, "0.76B", "8.6M", 57, 30),
    "rexnet_1.5": _row(80.3, "0.86B", "9.7M", 59, 31),
    "rexnet_2.0": _row(81.6, "1.5B", "16M", 69, 40),
    "rexnet_2.2": _row(81.7, "1.8B", "19M", 73, 46),
    "rexnet_3.0": _row(82.8, "3.4B", "34M", 96, 61),
}


def milliseconds(name: str, device: str) -> int | None:
    """Return the published time of a network, or None of one that is not in the table.

    Args:
        name: Of this package.
        device: cpu or cuda.
    """
    row = A1.get(name)
    if row is None:
        return None
    return row.cpu_milliseconds if device == "cpu" else row.gpu_milliseconds


def ratio(name: str, device: str) -> float | None:
    """Return the published time of a network over that of rexnet_1.0, if it is in the table."""
    mine, first = milliseconds(name, device), milliseconds(FIRST, device)
    assert first is not None
    return None if mine is None else mine / first
