"""The command ``rexnet``: one verb a job; a job is imported when it is asked for."""

import dataclasses
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import register_type

from rexnet import __version__, cost, families
from rexnet.design import Budget, design
from rexnet.errors import UserError, closest
from rexnet.search.config import BudgetConfig, Count, SearchConfig
from rexnet.spec import NetSpec

Verb = Callable[[Namespace], None]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a user's mistake, in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parser, verbs = _parsers()
        try:
            parsed = parser.parse_args(list(arguments))
        except ArgumentError as error:
            raise UserError(_explain(str(error), arguments, verbs)) from None
        except UnicodeDecodeError as error:
            raise UserError(f"cannot read {' '.join(arguments)}: no text: {error}") from None
        RUN[parsed.verb](parsed[parsed.verb])
        sys.stdout.flush()
    except UserError as error:
        print(f"rexnet: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        command = shlex.join([_program(), *arguments])
        print(f"\nStopped. To go on: {command}", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as head, has had enough.
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()
        print(f"rexnet: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _silence_stdout() -> None:
    """Keep what is left in the buffer from failing once more when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    register_type(Count, serializer=int, deserializer=Count, fail_already_registered=False)
    parser = ArgumentParser(
        prog="rexnet",
        description="Find the channel dimensions that fit your data and your budget.",
        exit_on_error=False,
        version=__version__,
    )
    subcommands = parser.add_subcommands(dest="verb", required=True)
    verbs = {name: ArgumentParser(exit_on_error=False) for name in RUN}
    verbs["summary"].add_argument("network", type=str, help="A name or the path of a spec in JSON")
    verbs["summary"].add_argument("--resolution", type=int | None, help="Side in pixels")
    verbs["summary"].add_argument("--json", action="store_true", help="Print one JSON object")
    verbs["search"].add_argument("--config", action="config", help="A YAML file of these options")
    verbs["search"].add_class_arguments(SearchConfig)
    verbs["report"].add_argument("folder", type=str, help="The run folder of a search")
    verbs["fit"].add_argument("folder", type=str, help="The run folder of a search")
    budget = verbs["design"]
    budget.add_argument("--params", type=Count, required=True, help="Most params, such as 4.8M")
    budget.add_argument("--macs", type=Count, required=True, help="Most MACs, such as 400M")
    budget.add_argument("--blocks", type=int, default=16, help="Inverted bottlenecks")
    budget.add_argument("--resolution", type=int, default=224, help="Side in pixels")
    budget.add_argument("--classes", type=int, default=1000, help="Classes to tell apart")
    budget.add_argument("--out", type=str, default="spec.json", help="Where the spec is written")
    for name, verb in verbs.items():
        subcommands.add_subcommand(name, verb, help=HELP[name])
    return parser, verbs


def _explain(message: str, arguments: Sequence[str], verbs: dict[str, ArgumentParser]) -> str:
    """Turn the parser's message into one line that names the value, the limit and the fix."""
    verb = arguments[0] if arguments else ""
    if verb not in verbs and not verb.startswith("-"):
        wanted = f"unknown command {verb!r}{closest(verb, verbs)}" if verb else "no command"
        return f"{wanted}; the commands are {', '.join(verbs)}"
    in_config = re.search(r"does not accept option '(\S+)'", message)
    if match := in_config or re.match(r"unrecognized arguments: (\S+)", message):
        given = f"--{match[1]}" if in_config else match[1].split("=")[0]
        if not given.startswith("-"):
            return f"unexpected argument {given!r}; see `rexnet {verb} --help`"
        actions = verbs[verb]._actions if verb in verbs else []
        options = [option for action in actions for option in action.option_strings]
        return f"unknown option {given}{closest(given, options)}; see `rexnet {verb} --help`"
    if match := re.search(r"arguments are required: (.*)", message):
        names = [name.removeprefix(f"{verb}.") for name in match[1].split(", ")]
        positional = {"folder": "a run folder", "network": "a name or the path of a spec"}
        return f"give {' and '.join(positional.get(name, f'--{name}') for name in names)}"
    key = re.search(r'[Kk]ey "(\S+?)"', message)
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    where = f"--{key[1]}: " if key else ""
    if match := re.search(r"Not of type \w+: (.*)", message):
        given = f"{value[1]} " if value and value[1] not in match[1] else ""
        return where + given + match[1]
    if value and (match := re.search(r"Literal\[(.*?)\]", message)):
        return f"{where}{value[1]!r} is not one of {match[1]}"
    if value and (match := re.search(r"Expected an? <class '(\w+)'>", message)):
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        return f"{where}{value[1]!r} must be {kinds.get(match[1], match[1])}"
    return " ".join(message.split())


def _list(_: Namespace) -> None:
    from rexnet.console import plain_console, table

    rows = []
    for name in families.names():
        spec = families.get(name)
        total = cost.count(spec)
        rows.append((name, f"{total.params:,}", f"{total.macs:,}", str(spec.resolution)))
    console = plain_console()
    console.print(table(("network", "params", "MACs", "pixels"), rows))
    console.print("rexnet_W and rexnet_lite_W take any width multiplier W.")


def _summary(arguments: Namespace) -> None:
    spec = families.resolve(arguments.network)
    resolution = spec.resolution if arguments.resolution is None else arguments.resolution
    total = cost.count(spec, resolution)
    if arguments.json:
        summary = {
            "name": spec.name,
            **dataclasses.asdict(total),
            "widths": list(spec.widths),
            "resolution": resolution,
            "spec_id": spec.spec_id,
        }
        print(json.dumps(summary))  # noqa: T201
        return
    from rexnet.console import plain_console, table

    rows = [
        (
            row.name,
            f"{row.width} x {row.size} x {row.size}",
            f"{row.params:,}",
            f"{row.macs:,}",
            f"{row.activations:,}",
        )
        for row in cost.layers(spec, resolution)
    ]
    rows.append(("total", "", f"{total.params:,}", f"{total.macs:,}", f"{total.activations:,}"))
    header = ("layer", "output", "params", "MACs", "activations")
    plain_console().print(table(header, rows, f"{spec.name} at {resolution} x {resolution}"))


def _search(arguments: Namespace) -> None:
    from rexnet.console import SearchBar, plain_console
    from rexnet.search import job

    config = _search_config(arguments)
    console = plain_console()
    with SearchBar(console) as bar:
        num_new = job.run(config, bar.update)
    if num_new == 0:
        console.print(f"The search in {config.out} is done; nothing was left to train.")
    folder = Path(config.out)
    _conclude(folder, console)


def _search_config(arguments: Namespace) -> SearchConfig:
    settings = {field.name: arguments[field.name] for field in dataclasses.fields(SearchConfig)}
    if isinstance(settings["budget"], Namespace):
        settings["budget"] = BudgetConfig(**vars(settings["budget"]))
    return SearchConfig(**settings)


def _conclude(folder: Path, console: Any) -> None:
    """Draw the report of a search and say what there is and what to do next."""
    from rexnet.console import table
    from rexnet.report.analysis import groups
    from rexnet.report.folder import read_search
    from rexnet.report.page import write_report
    from rexnet.report.text import millions, percent
    from rexnet.search.fit import fit

    line = fit(folder).line
    paths = write_report(folder)
    search = read_search(folder)
    if search.result["state"] == "stopped":
        trained, wanted = len(search.rows), search.result["num_trials"]
        console.print(f"Stopped after {trained} of {wanted} networks: {search.result['reason']}.")
    rows = []
    for group in groups(search.rows):
        error = group.stderr("accuracy")
        spread = "" if error is None else f" ± {percent(error)}"
        rows.append(
            (
                group.name,
                str(len(group.rows)),
                percent(group.mean("accuracy")) + spread,
                millions(group.mean("params")),
                millions(group.mean("macs")),
                "-".join(str(round(width)) for width in group.widths.mean(0)),
            )
        )
    header = ("group", "networks", "accuracy (%)", "params", "MACs", "mean widths")
    console.print(table(header, rows))
    slope = round(line.slope, 2) + 0.0
    console.print(
        f"The line of the top group: {line.intercept:.1f} {slope:+.2f} i channels in block "
        f"i = 0, 1, ... (R² {line.r2:.3f})",
        soft_wrap=True,
    )
    names = ("trials.jsonl", "fit.json", "spec.json", "best.json", "best.safetensors")
    console.print("\nMade:")
    for path in [*paths, *(folder / name for name in names)]:
        console.print(f"  {path}", soft_wrap=True)
    program = _program()
    console.print("\nNext:")
    for command in (
        f"{program} summary {folder / 'spec.json'}",
        f"{program} design --params 4.8M --macs 400M",
        f"{program} search --preset a --data cifar10 --out runs/cifar10-a",
    ):
        console.print(f"  {command}", soft_wrap=True)


def _report(arguments: Namespace) -> None:
    from rexnet.report.page import write_report

    for path in write_report(Path(arguments.folder)):
        print(path)  # noqa: T201


def _fit(arguments: Namespace) -> None:
    from rexnet.search.fit import fit

    found = fit(Path(arguments.folder))
    line, proposal = found.line, found.proposal
    spread = "" if line.slope_stderr is None else f" ± {line.slope_stderr:.2f}"
    print(  # noqa: T201
        f"{line.num_networks} networks: slope {line.slope:.2f}{spread} channels a block, intercept "
        f"{line.intercept:.1f}, R² {line.r2:.3f}"
    )
    _show(proposal.spec, proposal.params, proposal.macs, Path(arguments.folder) / "spec.json")


def _design(arguments: Namespace) -> None:
    from rexnet import runs

    proposal = design(
        Budget(params=arguments.params, macs=arguments.macs),
        num_blocks=arguments.blocks,
        num_classes=arguments.classes,
        resolution=arguments.resolution,
    )
    path = Path(arguments.out)
    if path.exists() and NetSpec.load(path) != proposal.spec:
        raise UserError(f"{path} holds another network; give another --out")
    runs.write_text(path, proposal.spec.to_json() + "\n")
    _show(proposal.spec, proposal.params, proposal.macs, path)


def _show(spec: NetSpec, params: int, macs: int, path: Path) -> None:
    widths = "-".join(str(width) for width in spec.widths)
    print(f"{widths}: {params:,} params, {macs:,} MACs, written to {path}")  # noqa: T201


def _program() -> str:
    """Return how the command was called, so that printed commands can be pasted."""
    called = Path(sys.argv[0])
    if called.name != "rexnet":
        return "rexnet"
    near = os.path.relpath(called)
    on_path = any(Path(folder) == called.parent for folder in os.get_exec_path())
    return "rexnet" if on_path else min(near, str(called), key=len)


RUN: dict[str, Verb] = {
    "search": _search,
    "report": _report,
    "fit": _fit,
    "design": _design,
    "summary": _summary,
    "list": _list,
}

HELP = {
    "search": "Search the channel dimensions that fit a budget best",
    "report": "Draw the figures and the page of a search",
    "fit": "Fit a line to a search's best networks and write the network on it",
    "design": "Go from a budget to a network on a line, without a search",
    "summary": "Print the layers of a network with their params and MACs",
    "list": "Name the known networks",
}


if __name__ == "__main__":
    sys.exit(main())
