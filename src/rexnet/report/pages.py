"""What all pages share: the templates and how numbers stand in them."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from rexnet.report import text
from rexnet.runs.progress import duration


def environment() -> Environment:
    """Return what renders the templates of all pages."""
    found = Environment(
        loader=PackageLoader("rexnet.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "percent": text.percent,
        "share": text.share,
        "millions": text.millions,
        "duration": duration,
        "gain": text.gain,
    }
    return found
