"""Numbers as people read them."""


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage without the sign: 0.4123 -> ``41.2``."""
    return f"{100 * share:.{digits}f}"


def share(value: float | None) -> str:
    """Return a share as a percentage without the sign; ``-`` if it is not known."""
    return "-" if value is None else percent(value)


def millions(count: float) -> str:
    """Return a count in millions with three significant digits: 204_300 -> ``0.204M``."""
    value = count / 1e6
    return f"{value:.3g}M" if value < 1000 else f"{value:.0f}M"
