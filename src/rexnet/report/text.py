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


def duration(seconds: float) -> str:
    """Return a duration: 75 -> ``1:15``, 4000 -> ``1:06:40``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
