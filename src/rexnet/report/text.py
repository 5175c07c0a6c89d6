"""Numbers as people read them."""

from collections.abc import Mapping


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


def gain(found: Mapping[str, float]) -> str:
    """Return a gain with its interval in percentage points: ``+0.4 (0.1 to 0.7)``."""
    mean, low, high = (100 * found[name] + 0.0 for name in ("mean", "low", "high"))
    return f"{mean:+.1f} ({low:.1f} to {high:.1f})"
