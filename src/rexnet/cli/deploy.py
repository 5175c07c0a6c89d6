"""``rexnet export``, ``benchmark`` and ``doctor``."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli.arguments import Command, add_config, config_of
from rexnet.cli.made import outcome_of, print_paths
from rexnet.data.sources import check_source
from rexnet.deploy.config import BenchmarkConfig, ExportConfig, RuntimeName
from rexnet.latency import business
from rexnet.nn.sources import check_model
from rexnet.runs.progress import OnProgress

if TYPE_CHECKING:
    from rich.console import Console

    from rexnet.deploy.benchmark import BenchmarkResult
    from rexnet.deploy.machine import Machine


def add_export(parser: ArgumentParser) -> None:
    """Declare the arguments of an export."""
    words = "A name, a spec in JSON, a run folder, a model folder, hf:USER/REPO or timm:NAME"
    add_config(parser, ExportConfig, positional=("model",), changes={"model": {"help": words}})


def export(arguments: Namespace) -> None:
    """Write a model as a file of a runtime and print how far it is from the model, and how fast."""
    config = config_of(ExportConfig, arguments)
    check_model(config.model, config.weights)
    if config.calibration is not None:
        check_source(config.calibration)
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.deploy import export as job
    from rexnet.report.text import percent

    console = plain_console()
    with Bar(console, "exporting") as bar:
        result = job.run(config, bar.update)
    if not result["trained"]:
        console.print("The weights are random: the file is good for timings alone.")
    times = {f"{name} (ms)": f"{value:.2f}" for name, value in result["milliseconds"].items()}
    parity = result["parity"]
    rows = [
        ("params", f"{result['params']:,}"),
        ("MACs", f"{result['macs']:,}"),
        ("pixels", str(result["resolution"])),
        ("difference", f"{parity['difference']:.1e}, at most {parity['limit']:g}"),
        *times.items(),
    ]
    if "stirred_difference" in parity:
        rows.insert(4, ("with other weights", f"{parity['stirred_difference']:.1e}"))
    int8 = result.get("int8")
    if int8 is not None:
        rows.append(("top-1 before (%)", percent(int8["top1_float"], 2)))
        rows.append(("top-1 in int8 (%)", percent(int8["top1"], 2)))
        rows.append(("counted on", f"{int8['num_images']:,} images"))
    threads = f"{result['threads']} thread{'s' * (result['threads'] > 1)}"
    console.print(table((f"{config.format}, one image, {threads}", ""), rows))
    busy = business(result["others"])
    if busy:
        console.print(f"The machine was busy: {busy}; the times are too long.", soft_wrap=True)
    elif int8 is not None:
        _print_if_slower(console, result["milliseconds"])
    folder = job.out(config)
    print_paths(console, "Made:", [folder / name for name in (*result["files"], job.RECORD)])


def _print_if_slower(console: "Console", milliseconds: dict[str, float]) -> None:
    """Say so if the file in 8 bits is no faster than the one in 32."""
    (before,) = (value for name, value in milliseconds.items() if name not in ("torch", "int8"))
    after = milliseconds["int8"]
    if after >= before:
        console.print(
            f"int8 is slower here: {after:.2f} ms against {before:.2f} ms for an image; take the "
            "file in float32 unless its size matters.",
            soft_wrap=True,
        )


def add_benchmark(parser: ArgumentParser) -> None:
    """Declare the arguments of a benchmark."""
    names = "Names, specs in JSON, run folders, model folders, hf:USER/REPO or timm:NAME"
    default = "Default: torch, torch-fused and, on a CPU, the others but torch-compile if installed"
    changes: dict[str, dict[str, Any]] = {
        "models": {"nargs": "*", "metavar": "MODEL", "help": names},
        "against": {"help": "More to compare, such as timm:NAME"},
        "runtimes": {"type": RuntimeName, "help": default},
    }
    add_config(parser, BenchmarkConfig, positional=("models",), changes=changes)
    parser.add_argument("--json", action="store_true", help="Print the lines of benchmark.jsonl")


def benchmark(arguments: Namespace) -> None:
    """Time models in runtimes and print them side by side, or Table A1."""
    config, as_json = config_of(BenchmarkConfig, arguments), arguments.json
    for name in (*config.models, *config.against):
        check_model(name)
    from rexnet.cli.console import plain_console
    from rexnet.deploy import benchmark as job

    # Lines of JSON stay apart from what else is told.
    shown = plain_console(stderr=as_json)
    result, failed = outcome_of(lambda: timed(shown, lambda show: job.run(config, show)))
    if as_json:
        for line in (result.protocol, *result.rows):
            print(json.dumps(line))  # noqa: T201
        if failed:
            raise failed
        return
    console = plain_console()
    if config.table is None:
        print_timings(console, result)
    else:
        _print_table_a1(console, result, config.device)
    print_protocol(console, result)
    if failed:
        raise failed
    print_paths(console, "\nMade:", [Path(config.out) / job.FILE])


def timed(console: "Console", job: Callable[[OnProgress], "BenchmarkResult"]) -> "BenchmarkResult":
    """Do a benchmark with a progress bar."""
    from rexnet.cli.console import Bar

    with Bar(console, "timing") as bar:
        return job(bar.update)


def print_timings(console: "Console", result: "BenchmarkResult") -> None:
    """Print a line for each model in each runtime."""
    from rexnet.cli.console import table

    first = result.rows[0]
    rows = []
    for row in result.rows:
        spread = "-".join(f"{ratio:.2f}" for ratio in row["ratio_quartiles"])
        rows.append(
            (
                row["model"],
                row["runtime"],
                f"{row['params']:,}",
                f"{row['macs']:,}",
                str(row["resolution"]),
                milliseconds(row),
                f"{row['images_per_second']:,.1f}",
                "1" if row is first else f"{row['ratio']:.2f} ({spread})",
                f"{row['difference']:.1e}",
            )
        )
    header = ("model", "runtime", "params", "MACs", "pixels", "ms (quartiles)", "images/s")
    against = f"time over {first['model']} in {first['runtime']}"
    console.print(table((*header, against, "difference"), rows))


def _print_table_a1(console: "Console", result: "BenchmarkResult", device: str) -> None:
    """Print Table A1: a column a runtime, each beside the time over that of rexnet_1.0."""
    from rexnet.cli.console import table
    from rexnet.paper import BASE, TABLE_A1

    chosen = list(dict.fromkeys(row["runtime"] for row in result.rows))
    cells = {(row["model"], row["runtime"]): row for row in result.rows}
    rows = []
    for name in dict.fromkeys(row["model"] for row in result.rows):
        paper = TABLE_A1.get(name)
        mine = next(row for row in result.rows if row["model"] == name)
        line = [name, f"{paper.top1}" if paper else "-"]
        line += [f"{mine['params'] / 1e6:.2f}M", paper.params if paper else "-"]
        line += [f"{mine['macs'] / 1e9:.3f}B", paper.macs if paper else "-"]
        for runtime in chosen:
            cell, one = cells.get((name, runtime)), cells[BASE, runtime]
            line.append(milliseconds(cell) if cell else "-")
            line.append(f"{cell['milliseconds'] / one['milliseconds']:.2f}" if cell else "-")
        theirs, base = paper and paper.milliseconds(device), TABLE_A1[BASE].milliseconds(device)
        line += [f"{theirs}", f"{theirs / base:.2f}"] if theirs else ["-", "-"]
        rows.append(line)
    header = ["network", "paper: top-1 (%)", "params", "paper", "MACs", "paper"]
    for runtime in chosen:
        header += [f"{runtime}: ms (quartiles)", "ratio"]
    console.print(table((*header, f"paper: {DEVICES[device]} ms", "ratio"), rows))
    console.print(f"Ratios are times over that of {BASE}.")


DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def milliseconds(row: Mapping[str, Any]) -> str:
    """Return the median of a timing with its quartiles, in milliseconds."""
    low, high = row["quartiles"]
    digits = 2 if row["milliseconds"] < 100 else 1
    return f"{row['milliseconds']:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def print_protocol(console: "Console", result: "BenchmarkResult") -> None:
    """Print how a benchmark was done, on what, and what makes its timings lie."""
    how = result.protocol
    images = "1 image" if how["batch"] == 1 else f"{how['batch']} images"
    threads = "1 thread" if how["threads"] == 1 else f"{how['threads']} threads"
    versions = ", ".join(f"{name} {version}" for name, version in how["versions"].items())
    lines = [
        f"{images} a call, {threads}, {how['device']}, {how['precision']}; medians of "
        f"{how['rounds']} rounds in an order drawn anew for each, quartiles in brackets; before "
        f"the first {how['warm_calls']} calls or more, for {how['warm_seconds']} s or more; before "
        f"each timed call a pause of {how['pause_seconds']} s and a call that is not timed.",
        "Difference: the largest from the outputs of eager torch in float32, as a share of the "
        f"largest output; at most {how['limit']:g}.",
        f"Versions: {versions}.",
    ]
    if not all(row["trained"] for row in result.rows):
        lines.append("Models that are not trained have random weights.")
    lines += [f"Left out: {runtime}: {why}." for runtime, why in how["left_out"].items()]
    lines += [f"Likely to make timings lie: {what}." for what in how["findings"]]
    for line in lines:
        console.print(line, soft_wrap=True)


def add_doctor(parser: ArgumentParser) -> None:
    """Declare the option of the doctor."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object")


def doctor(arguments: Namespace) -> None:
    """Print what timings on this machine depend on, and what makes them lie."""
    from rexnet.deploy.machine import examine

    print_machine(examine(), as_json=arguments.json)


def print_machine(machine: "Machine", *, as_json: bool = False) -> None:
    """Print the facts of a machine and what makes timings on it lie."""
    from rexnet.cli.console import plain_console
    from rexnet.deploy.doctor import findings

    found = findings(machine)
    if as_json:
        facts = dataclasses.asdict(machine)
        print(json.dumps(facts | {"findings": [dataclasses.asdict(f) for f in found]}))  # noqa: T201
        return
    console = plain_console()
    for name, value in _facts(machine):
        console.print(f"{name:<13}{value}", soft_wrap=True)
    console.print(f"\n{'Likely to make timings lie:' if found else 'No reason to doubt timings.'}")
    for finding in found:
        console.print(f"  {finding.what}: {finding.mend}", soft_wrap=True)


def _facts(machine: "Machine") -> list[tuple[str, str]]:
    """Return the facts as names and words."""
    from rexnet.deploy.doctor import gib
    from rexnet.deploy.machine import EXTRAS

    def known(value: object) -> str:
        return "unknown" if value is None else str(value)

    def missing(name: str) -> str:
        extra = f"rexnet[{EXTRAS[name]}]" if name in EXTRAS else "rexnet"
        return f"not installed: pip install '{extra}'"

    quota = "no quota" if machine.cpu_quota is None else f"a quota of {machine.cpu_quota:g}"
    memory = [
        "unknown" if size is None else gib(size)
        for size in (machine.memory_bytes, machine.free_bytes, machine.swap_bytes)
    ]
    gpus = [
        f"{gpu.name}, {gib(gpu.memory_bytes)}, driver {known(gpu.driver)}" for gpu in machine.gpus
    ]
    omp = "unset" if machine.omp_num_threads is None else machine.omp_num_threads
    return [
        *((name, found or missing(name)) for name, found in machine.versions.items()),
        ("system", machine.system),
        ("processor", machine.processor),
        (
            "cores",
            f"{known(machine.num_physical_cores)} physical, {known(machine.num_logical_cores)} "
            f"logical; this process may use {machine.num_allowed_cores}, {quota}",
        ),
        ("threads", f"{machine.num_threads} of torch, OMP_NUM_THREADS {omp}"),
        ("instructions", ", ".join(machine.instructions) or "none that matter"),
        ("memory", f"{memory[0]}, {memory[1]} free; {memory[2]} of swap in use"),
        *(("GPU", gpu) for gpu in gpus or ["none"]),
        ("load", known(machine.load)),
        ("governor", ", ".join(machine.governors) or "unknown"),
    ]


COMMANDS = (
    Command(
        name="export",
        help="Write a model as a verified file of ONNX Runtime, OpenVINO or ExecuTorch",
        add=add_export,
        run=export,
        beside="model",
    ),
    Command(
        name="benchmark",
        help="Time models in runtimes side by side; Table A1",
        add=add_benchmark,
        run=benchmark,
    ),
    Command(
        name="doctor",
        help="Tell what timings on this machine depend on, and what makes them lie",
        add=add_doctor,
        run=doctor,
    ),
)
