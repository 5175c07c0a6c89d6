"""The fit job: from a search's top group to a network on its line."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rexnet import channels, runs
from rexnet.budget import LatencyBudget
from rexnet.channels import LineFit
from rexnet.design import Proposal, largest_inside, priced
from rexnet.errors import UserError
from rexnet.latency import largest, scaled_widths
from rexnet.search.groups import Group, groups
from rexnet.search.predictor import read_predictor
from rexnet.search.results import SearchRun, read_search
from rexnet.search.surface.judgement import ranked
from rexnet.spec import NetSpec

NUM_MULTIPLES = 200

MOST = 1.25
"""Times the line is widened at most under a budget of time alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A line and the network on it.

    Attributes:
        line: The line through the top group.
        proposal: The widest network on that line inside the budget.
    """

    line: LineFit
    proposal: Proposal


def fit(folder: Path) -> Fit:
    """Fit a line to the top tenth of a search and write ``fit.json`` and ``spec.json`` beside it.

    The widths of the spec are the line's, all shrunk by one factor if they would pass the budget,
    that of time by prediction included. Where expansions vary, they are the group's mean, rounded.
    Of a search by surface the top tenth is of the networks that it predicts.

    Raises:
        UserError: It is no run folder of a search, it is damaged, or it cannot be written to.
    """
    search = read_search(folder)
    found = groups(ranked(search))
    line = found[0].line
    template, expansions = _expanded(search, found[0])
    proposal, latency_ms = _inside(search, template, line.widths(search.space.num_blocks))
    runs.write_text(folder / "spec.json", proposal.spec.to_json() + "\n")
    runs.write_json(
        folder / "fit.json",
        {
            **dataclasses.asdict(line),
            "accuracy": found[0].mean("accuracy"),
            "widths": list(proposal.spec.widths),
            **expansions,
            "params": proposal.params,
            "macs": proposal.macs,
            "latency_ms": latency_ms,
            "spec_id": proposal.spec.spec_id,
            "groups": {group.name: dataclasses.asdict(group.line) for group in found},
        },
    )
    return Fit(line=line, proposal=proposal)


def _expanded(search: SearchRun, top: Group) -> tuple[NetSpec, dict[str, list[int]]]:
    """Return the template of the fit, and its expansions where they vary: the group's mean."""
    space = search.space
    template = dataclasses.replace(space.template, name=f"{space.template.name}_line")
    if not space.varies:
        return template, {}
    mean = np.mean([row["expansions"] for row in top.rows], axis=0)
    expansions = np.rint(mean).astype(int).tolist()
    return channels.with_expansions(template, expansions), {"expansions": expansions}


def _inside(
    search: SearchRun, template: NetSpec, profile: Sequence[float]
) -> tuple[Proposal, float | None]:
    """Return the widest network of a profile inside the limits, and its predicted time if limited.

    Raises:
        UserError: No multiple of the profile is predicted to keep the time.
    """
    space = search.space
    latency = search.identity.get("latency")
    # Where the time alone says how wide networks are, the line may be below it.
    most = 1.0 if space.budget.limits else MOST
    if space.budget.limits:
        proposal = largest_inside(template, profile, space.budget, scale_ends=space.scale_ends)
        profile = proposal.spec.widths
        if not latency:
            return proposal, None
    assert latency

    def family(multiple: float) -> NetSpec:
        widths = scaled_widths(profile, multiple)
        return channels.with_block_widths(template, widths, space.scale_ends)

    predictor = read_predictor(search.folder)
    wanted = LatencyBudget(latency["budget"]).milliseconds
    multiples = [most * number / NUM_MULTIPLES for number in range(1, NUM_MULTIPLES + 1)]
    multiple = largest(family, multiples, predictor.predict, wanted)
    if multiple is None:
        raise UserError(
            f"no network on the line of {search.folder} is predicted to keep {latency['budget']}"
        )
    spec = family(multiple)
    return priced(spec, space.budget), round(predictor.predict(spec), 6)
