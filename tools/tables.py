"""The tables and figures of docs/results/channel-search.md, from the files in results/.

python tools/tables.py                         prints the tables
python tools/tables.py --figures docs/images   draws the figures
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import claim_tables
import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats
from trainings import Row, accuracies

from rexnet import cost, runs
from rexnet.families import search_network
from rexnet.paper import TABLE_3
from rexnet.report import figures
from rexnet.search.groups import Group, groups
from rexnet.search.study import PRUNERS

RESULTS = Path(__file__).parents[1] / "results"

FULL = 45_000
"""Training images of CIFAR-10 of which none is left out."""

MIN_RANKED = 4
"""Networks whose order is worth a correlation."""


def main() -> None:
    """Print the tables, or draw the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path)
    arguments = parser.parse_args()
    if arguments.figures:
        _, *searched = runs.read_jsonl(arguments.results / "channel_search_a.jsonl")
        title = f"{len(searched)} networks of budget a on CIFAR-10, 1 epoch each"
        panel = figures.search_figure(groups(searched), searched, title)
        strategies = best_so_far(runs.read_jsonl(arguments.results / "samplers.jsonl"))
        for name, figure in (("channel-search-a", panel), ("samplers", strategies)):
            runs.write_bytes(arguments.figures / f"{name}.png", figures.render(figure, "png"))
        return
    for title, header, rows in tables(arguments.results):
        print(f"{title}\n\n{markdown(header, rows)}\n")


def tables(results: Path) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield title, header and rows of every table."""
    study = runs.read_jsonl(results / "protocol_study.jsonl")
    _, *searched = runs.read_jsonl(results / "channel_search_a.jsonl")
    yield "settings", *settings_table(study)
    yield "lengths", *lengths_table(study)
    yield "agreement", *agreement_table(study, searched)
    yield "groups", *groups_table(groups(searched))
    claim = runs.read_jsonl(results / "claim_a.jsonl")
    yield "claim", *claim_table(claim)
    yield "differences", *differences_table(claim)
    for data in ("cifar100", "cifar10"):
        trained = results / f"claim_{data}.jsonl"
        if trained.exists():
            for title, (header, found) in claim_tables.tables(runs.read_jsonl(trained)).items():
                yield f"{title}, {data}", header, found
    strategies = runs.read_jsonl(results / "samplers.jsonl")
    yield "samplers", *strategies_table(strategies)
    yield "pruners", *pruners_table(strategies)


Table = tuple[Sequence[str], list[list[str]]]


def settings_table(rows: list[Row]) -> Table:
    """Compare batch sizes and learning rates on one network."""
    found = []
    for row in {(r["protocol"]["batch_size"], r["protocol"]["lr"]) for r in of(rows, "settings")}:
        (values,) = accuracies(of(rows, "settings"), batch_size=row[0], lr=row[1]).values()
        found.append([str(row[0]), str(row[1]), spread(values), str(len(values))])
    found.sort(key=lambda row: (int(row[0]), float(row[1])))
    return ("batch", "lr", "accuracy (%)", "n"), found


def lengths_table(rows: list[Row]) -> Table:
    """Show the six networks after each length of training."""
    lengths = [
        accuracies(of(rows, "lengths", "settings"), num_train=n, epochs=e, batch_size=64, lr=0.1)
        for n, e in ((FULL, 1), (15_000, 3))
    ]
    found = []
    for name in lengths[0]:
        widths = next(row["widths"] for row in rows if row["network"] == name)
        cells = [spread(values[name]) if name in values else "" for values in lengths]
        found.append([name, "-".join(map(str, widths)), *cells])
    return ("network", "widths", "45,000 images x 1 epoch", "15,000 images x 3 epochs"), found


def agreement_table(rows: list[Row], searched: list[Row]) -> Table:
    """Show how the search's order of the drawn networks agrees with other trainings."""
    # By widths: a network that the study knows by another name is not trained again.
    first = {tuple(row["widths"]): row["accuracy"] for row in searched}
    again, longer = (
        {
            tuple(row["widths"]): row["accuracy"]
            for row in of(rows, "lengths", "again", "longer")
            if row["num_train"] == FULL
            and (row["protocol"]["epochs"], row["protocol"]["seed"]) == key
        }
        for key in ((1, 1), (3, 0))
    )
    both = {key: (first[key] + again[key]) / 2 for key in again if key in first}
    found = []
    for title, left, right in (
        ("1 epoch, seed 0, and seed 1", first, again),
        ("1 epoch, seed 0, and 3 epochs", first, longer),
        ("1 epoch, seed 1, and 3 epochs", again, longer),
        ("1 epoch, mean of both seeds, and 3 epochs", both, longer),
    ):
        keys = [key for key in left if key in right]
        if len(keys) < MIN_RANKED:
            continue
        rho = stats.spearmanr([left[key] for key in keys], [right[key] for key in keys]).statistic
        found.append([title, f"{rho:.2f}", str(len(keys))])
    return ("order of", "Spearman", "networks"), found


def groups_table(found: list[Group]) -> Table:
    """Show accuracy and line of every group beside Table 3."""
    rows, printed = [], TABLE_3["a"]
    groups_there = (printed.top, printed.middle, printed.bottom)
    for group, (paper, error) in zip(found, groups_there, strict=True):
        line = group.line
        rows.append(
            [
                group.name,
                str(len(group.rows)),
                f"{100 * group.mean('accuracy'):.1f} ± {100 * (group.stderr('accuracy') or 0):.1f}",
                f"{paper} ± {error}",
                "-".join(f"{width:.0f}" for width in group.widths.mean(0)),
                f"{line.slope:.1f} ± {line.slope_stderr or 0:.1f}",
                f"{line.r2:.3f}",
                f"{line.r2_each:.3f}",
            ]
        )
    header = ("group", "n", "accuracy (%)", "Table 3 (%)", "mean widths", "slope", "R²", "mean R²")
    return header, rows


def claim_table(rows: list[Row]) -> Table:
    """Show accuracy and cost of the networks of the claim."""
    found = []
    for name, values in accuracies(rows, group="claim").items():
        widths = next(row["widths"] for row in rows if row["network"] == name)
        total = cost.count(search_network(widths, num_classes=1))
        params = total.params - cost.classifier_params(search_network(widths, 1), widths[-1])
        found.append(
            [
                name,
                "-".join(map(str, widths)),
                f"{params / 1e3:.0f}k",
                f"{total.macs / 1e6:.1f}M",
                spread(values),
                str(len(values)),
            ]
        )
    return ("network", "widths", "params", "MACs", "accuracy (%)", "n"), found


def differences_table(rows: list[Row]) -> Table:
    """Show by how much linear networks beat others, with 95 % intervals (Welch)."""
    found = accuracies(rows, group="claim")
    cells = []
    for left in ("fitted line", "Table 3, best"):
        for right in ("stage-wise", "Table 3, worst"):
            test = stats.ttest_ind(found[left], found[right], equal_var=False)
            low, high = test.confidence_interval(0.95)
            difference = np.mean(found[left]) - np.mean(found[right])
            cells.append(
                [
                    f"{left} - {right}",
                    f"{100 * difference:+.2f}",
                    f"{100 * low:+.2f} to {100 * high:+.2f}",
                    f"{test.pvalue:.2f}",
                ]
            )
    return ("difference", "points", "95 % interval", "p"), cells


def strategies_table(rows: list[Row]) -> Table:
    """Show the best of every strategy, as found and trained again."""
    again = accuracies(rows, group="again")
    found = []
    for name, group in (("TPE", "TPE"), ("random", "random"), ("line", None)):
        widths = next(r["widths"] for r in rows if r["network"] == name and r["group"] == "again")
        best = running_best(rows, group) if group else []
        at = [f"{100 * best[n - 1]:.1f}" if best else "" for n in (5, 10, len(best))]
        trained = str(len(best)) if best else "0"
        found.append([name, trained, *at, "-".join(map(str, widths)), spread(again[name])])
    header = ("strategy", "trainings", "best of 5", "of 10", "of all", "its widths", "again (%)")
    return header, found


def pruners_table(rows: list[Row]) -> Table:
    """Replay the pruners, network after network, on scores of trainings that went to the end."""
    found = []
    for group in ("random", "TPE"):
        trained = of(rows, group)
        ranked = sorted(range(len(trained)), key=lambda i: -trained[i]["accuracy"])
        top = ranked[: max(len(ranked) // 10, 1)]
        for pruner in ("halving", "median"):
            epochs = replay(trained, pruner)
            full = trained[0]["protocol"]["epochs"]
            survivors = [i for i in ranked if epochs[i] == full]
            found.append(
                [
                    pruner,
                    group,
                    f"{100 * (1 - sum(epochs) / full / len(epochs)):.0f} %",
                    f"{len(survivors)} of {len(trained)}",
                    f"{len(set(top) & set(survivors))} of {len(top)}",
                    str(ranked.index(survivors[0]) + 1),
                ]
            )
    header = ("pruner", "proposals", "epochs saved", "left", "of the top 10 %", "best left, rank")
    return header, found


def replay(rows: list[Row], pruner: str) -> list[int]:
    """Return after how many epochs each training ends under a pruner."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=PRUNERS[pruner]())
    epochs = []
    for row in rows:
        trial = study.ask()
        for epoch, accuracy in enumerate(row["epoch_accuracies"], 1):
            trial.report(accuracy, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                epochs.append(epoch)
                break
        else:
            study.tell(trial, row["accuracy"])
            epochs.append(row["protocol"]["epochs"])
    return epochs


def running_best(rows: list[Row], group: str) -> list[float]:
    """Return the best accuracy of a group after each training."""
    found: list[float] = np.maximum.accumulate([r["accuracy"] for r in of(rows, group)]).tolist()
    return found


def best_so_far(rows: list[Row]) -> Figure:
    """Draw best accuracy against trials, with the line's as a level."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for group, color in (("TPE", "#d62728"), ("random", "#1f77b4")):
        values = 100 * np.array(running_best(rows, group))
        axes.step(range(1, len(values) + 1), values, where="post", color=color, label=group)
        points = [100 * row["accuracy"] for row in of(rows, group)]
        axes.plot(range(1, len(points) + 1), points, ".", color=color, alpha=0.4)
    axes.plot([], [], ".", color="#555555", alpha=0.4, label="a network")
    line = accuracies(rows, group="again")["line"]
    axes.axhline(100 * float(np.mean(line)), color="#555555", ls="--", label="line, no search")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("networks trained")
    axes.set_ylabel("held-out accuracy (%), best so far")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def of(rows: list[Row], *names: str) -> list[Row]:
    """Return the rows of groups."""
    return [row for row in rows if row["group"] in names]


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in percent."""
    mean = f"{100 * float(np.mean(values)):.1f}"
    return f"{mean} ± {100 * float(np.std(values, ddof=1)):.1f}" if len(values) > 1 else mean


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    main()
