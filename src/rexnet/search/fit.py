"""The fit job: from a search's top group to a network on its line."""

import dataclasses
from pathlib import Path

from rexnet import runs
from rexnet.channels import LineFit
from rexnet.design import Proposal, largest_inside
from rexnet.report.analysis import groups
from rexnet.report.folder import read_search


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

    The widths of the spec are the line's, all shrunk by one factor if they would pass the budget.

    Raises:
        UserError: It is no run folder of a search, it is damaged, or it cannot be written to.
    """
    search = read_search(folder)
    found = groups(search.rows)
    line = found[0].line
    template = dataclasses.replace(search.template, name=f"{search.template.name}_line")
    proposal = largest_inside(template, line.widths(len(template.blocks)), search.budget)
    runs.write_text(folder / "spec.json", proposal.spec.to_json() + "\n")
    runs.write_json(
        folder / "fit.json",
        {
            **dataclasses.asdict(line),
            "accuracy": found[0].mean("accuracy"),
            "widths": list(proposal.spec.widths),
            "params": proposal.params,
            "macs": proposal.macs,
            "spec_id": proposal.spec.spec_id,
            "groups": {group.name: dataclasses.asdict(group.line) for group in found},
        },
    )
    return Fit(line=line, proposal=proposal)
