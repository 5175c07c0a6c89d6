"""The report of a search: one self-contained page and its figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rexnet import runs
from rexnet.report import figures, text
from rexnet.report.pages import environment
from rexnet.report.surface import surface_figure
from rexnet.search.groups import complete, groups, noise
from rexnet.search.results import SearchRun, read_search
from rexnet.search.surface.answer import FILE
from rexnet.search.surface.judgement import Judgement, is_by_surface, judge


def write_report(folder: Path) -> list[Path]:
    """Draw a search's run folder and return the files written.

    They are ``report.html``, ``profile.png`` and ``profile.svg`` in the folder itself, and of a
    search by surface ``surface.png``.

    Raises:
        UserError: It is no such folder, a file in it is damaged, or it cannot be written to.
    """
    search = read_search(folder)
    judgement = judge(search) if is_by_surface(search) else None
    rows = judgement.as_rows() if judgement else search.rows
    measure = "predicted accuracy" if judgement else "held-out accuracy"
    figure = figures.search_figure(groups(rows), rows, _title(search, judgement), measure)
    svg = figures.render(figure, "svg")
    files = {"profile.png": figures.render(figure, "png"), "profile.svg": svg}
    below = ""
    if judgement:
        figure = surface_figure(judgement)
        files["surface.png"] = figures.render(figure, "png")
        below = figures.render(figure, "svg").decode()
    for name, content in files.items():
        runs.write_bytes(folder / name, content)
    report = folder / "report.html"
    runs.write_text(report, page(search, svg.decode(), judgement, below))
    return [report, *(folder / name for name in files)]


def _title(search: SearchRun, judgement: Judgement | None = None) -> str:
    """Return what was searched; of a surface, what it predicts."""
    space, data = search.space, search.identity["data"]
    limits = _limits(search, text.millions, "({})")
    trained = len(complete(search.rows))
    networks = f"{trained} networks of {space.num_blocks} blocks on {data['name']}"
    if judgement:
        networks = f"{len(judgement.shapes)} networks, predicted by the surface through {networks}"
    return f"{networks}: at most {' and '.join(limits)}"


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


def page(
    search: SearchRun, svg: str, judgement: Judgement | None = None, surface_svg: str = ""
) -> str:
    """Return the page of a search as HTML, with its figures in it.

    Args:
        search: The search.
        svg: Its figure.
        judgement: What its surface says, of a search by surface.
        surface_svg: The figure of that.
    """
    found = groups(judgement.as_rows() if judgement else search.rows)
    ranked = complete(search.rows)
    best = ranked[0]
    held_out = search.identity["data"]["num_held_out"]
    # Of a share p of n images, the binomial standard error is sqrt(p (1 - p) / n).
    counting_error = (best["accuracy"] * (1 - best["accuracy"]) / held_out) ** 0.5
    return (
        environment()
        .get_template("search.html")
        .render(
            title=_title(search, judgement),
            figure=_inline(svg),
            judgement=judgement,
            chance=judgement.chance() if judgement else None,
            surface_figure=_inline(surface_svg) if judgement else "",
            answer=_answer(search.folder) if judgement else None,
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


def _inline(svg: str) -> str:
    return svg[svg.index("<svg") :]


def _answer(folder: Path) -> dict[str, Any] | None:
    """Return the answer of a search, if it has come to one."""
    path = folder / FILE
    return runs.read_json(path) if path.exists() else None
