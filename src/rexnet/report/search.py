"""The report of a search: one self-contained page and its figures."""

from collections.abc import Callable
from pathlib import Path

from rexnet import runs
from rexnet.report import figures, text
from rexnet.report.pages import environment
from rexnet.search.groups import complete, groups, noise
from rexnet.search.results import SearchRun, read_search


def write_report(folder: Path) -> list[Path]:
    """Draw a search's run folder and return the files written.

    They are ``report.html``, ``profile.png`` and ``profile.svg`` in the folder itself.

    Raises:
        UserError: It is no such folder, a file in it is damaged, or it cannot be written to.
    """
    search = read_search(folder)
    figure = figures.search_figure(groups(search.rows), search.rows, _title(search))
    png, svg = figures.render(figure, "png"), figures.render(figure, "svg")
    paths = [folder / "report.html", folder / "profile.png", folder / "profile.svg"]
    runs.write_bytes(paths[1], png)
    runs.write_bytes(paths[2], svg)
    runs.write_text(paths[0], page(search, svg.decode()))
    return paths


def _title(search: SearchRun) -> str:
    space, data = search.space, search.identity["data"]
    limits = _limits(search, text.millions, "({})")
    return (
        f"{len(complete(search.rows))} networks of {space.num_blocks} blocks on {data['name']}: "
        f"at most {' and '.join(limits)}"
    )


def _limits(search: SearchRun, number: Callable[[int], str], aside: str) -> list[str]:
    """Return what networks are limited to, in words.

    Args:
        search: The search.
        number: Writes a count.
        aside: The form of what is said of the classifier.
    """
    counted = "with" if search.budget.count_classifier else "without"
    words = {"params": f"params {aside.format(f'{counted} the classifier')}", "macs": "MACs"}
    found = [f"{number(limit)} {words[field]}" for field, limit in search.budget.limits.items()]
    latency = search.identity.get("latency")
    return [*found, str(latency["budget"])] if latency else found


def page(search: SearchRun, svg: str) -> str:
    """Return the page of a search as HTML, with its figure, an SVG, in it."""
    found, ranked = groups(search.rows), complete(search.rows)
    best = ranked[0]
    held_out = search.identity["data"]["num_held_out"]
    # Of a share p of n images, the binomial standard error is sqrt(p (1 - p) / n).
    counting_error = (best["accuracy"] * (1 - best["accuracy"]) / held_out) ** 0.5
    return (
        environment()
        .get_template("search.html")
        .render(
            title=_title(search),
            figure=svg[svg.index("<svg") :],
            search=search,
            data=search.identity["data"],
            space=search.identity["space"],
            protocol=search.identity["protocol"],
            sampler=search.identity["sampler"],
            budget=search.budget,
            limits=_limits(search, "{:,}".format, "{}"),
            groups=found,
            ranked=ranked,
            unranked=[row for row in search.rows if row["state"] != "complete"],
            best=best,
            widest=max(max(row["widths"]) for row in search.rows),
            noise=noise(search.rows),
            counting_error=counting_error,
            gap=found[0].mean("accuracy") - found[-1].mean("accuracy"),
            seconds=sum(row["seconds"] for row in search.rows),
        )
    )
