"""One panel of Figure A1 in one go: the search of a preset, then its claim with several seeds.

All options but those below are those of ``rexnet search``. The trials and the trainings of the
claim end in ``results/``; a panel that was stopped goes on. Run:

    python tools/panel.py --preset a --data cifar10 --strategy tpe --trials 40 --epochs 1 \
        --out runs/panel-a
    python tools/panel.py --preset a --data cifar10 --epochs 30 --repeats 3 --device cuda \
        --workers 8 --out runs/panel-a
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import yaml
from trainings import Arm, Lab, provenance, run

from rexnet import NetSpec, channels, paper, runs
from rexnet.cli import main as cli
from rexnet.data import in_memory
from rexnet.design import propose
from rexnet.search.results import SearchRun, read_search

RESULTS = Path(__file__).parents[1] / "results"

TABLE_3 = {name: (row.best, row.worst) for name, row in paper.TABLE_3.items()}
"""The best and the worst network that the paper prints for each budget."""


def main() -> None:
    """Search, train the networks of the claim, and write both to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=TABLE_3, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, default=5, help="Trainings a network of the claim")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments, rest = parser.parse_known_args()
    options = ["--preset", arguments.preset, "--out", arguments.out, *rest]
    if code := cli.main(["search", *options]):
        sys.exit(code)
    folder = Path(arguments.out)
    search = read_search(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    stem = "" if config["data"] == "cifar10" else f"_{Path(config['data']).stem}"
    name = f"{arguments.preset}{stem}"
    header = {
        **provenance(),
        "command": f"rexnet search {' '.join(options)}",
        **runs.read_json(folder / "search.json"),
        **{name: search.environment[name] for name in ("python", "num_cores", "packages")},
        **search.result,
    }
    runs.write_jsonl(arguments.results / f"channel_search_{name}.jsonl", [header, *search.rows])
    lab = Lab(
        images=in_memory.load(config["data"], config["resolution"]),
        workers=config["workers"],
        device=config["device"],
    )
    arm = Arm(
        group="claim",
        widths=claimed(arguments.preset, search),
        protocol=replace(search.identity["protocol"], repeats=1),
        num_seeds=arguments.seeds,
    )
    lab.train(arm, arguments.results / f"claim_{name}.jsonl")


def claimed(preset: str, search: SearchRun) -> dict[str, tuple[int, ...]]:
    """Return the networks that the claim compares: line, stages, the paper's Table 3."""
    best, worst = TABLE_3[preset]
    return {
        "fitted line": NetSpec.load(search.folder / "spec.json").widths,
        "stage-wise": propose(
            search.template, channels.stage_wise(search.template), search.budget
        ).spec.widths,
        "Table 3, best": best,
        "Table 3, worst": worst,
    }


if __name__ == "__main__":
    run(main)
