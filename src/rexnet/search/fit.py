"""The fit job: from a search's top group to a network on its line."""

import dataclasses
from pathlib import Path

from rexnet import runs
from rexnet.budget import LatencyBudget
from rexnet.channels import LineFit
from rexnet.design import Proposal, largest_inside, priced
from rexnet.errors import UserError
from rexnet.latency import largest, scaled
from rexnet.search.groups import groups
from rexnet.search.predictor import read_predictor
from rexnet.search.results import SearchRun, read_search
from rexnet.spec import NetSpec

NUM_MULTIPLES = 200


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
    that of time by prediction included.

    Raises:
        UserError: It is no run folder of a search, it is damaged, or it cannot be written to.
    """
    search = read_search(folder)
    found = groups(search.rows)
    line = found[0].line
    template = dataclasses.replace(search.template, name=f"{search.template.name}_line")
    proposal = largest_inside(template, line.widths(len(template.blocks)), search.budget)
    proposal, latency_ms = _fast_enough(search, proposal)
    runs.write_text(folder / "spec.json", proposal.spec.to_json() + "\n")
    runs.write_json(
        folder / "fit.json",
        {
            **dataclasses.asdict(line),
            "accuracy": found[0].mean("accuracy"),
            "widths": list(proposal.spec.widths),
            "params": proposal.params,
            "macs": proposal.macs,
            "latency_ms": latency_ms,
            "spec_id": proposal.spec.spec_id,
            "groups": {group.name: dataclasses.asdict(group.line) for group in found},
        },
    )
    return Fit(line=line, proposal=proposal)


def _fast_enough(search: SearchRun, proposal: Proposal) -> tuple[Proposal, float | None]:
    """Return the proposal, shrunk to the budget of time if there is one, and its predicted time."""
    latency = search.identity.get("latency")
    if not latency:
        return proposal, None
    predictor = read_predictor(search.folder)
    wanted = LatencyBudget(latency["budget"]).milliseconds

    def family(multiple: float) -> NetSpec:
        return scaled(proposal.spec, proposal.spec.widths, multiple)

    multiples = [number / NUM_MULTIPLES for number in range(1, NUM_MULTIPLES + 1)]
    multiple = largest(family, multiples, predictor.predict, wanted)
    if multiple is None:
        raise UserError(
            f"no network on the line of {search.folder} is predicted to keep {latency['budget']}"
        )
    spec = family(multiple)
    return priced(spec, search.budget), round(predictor.predict(spec), 6)
