"""The measurements of docs/results/deployment.md: from what commands wrote to results/, to tables.

python tools/deployment_results.py collect FILE... --command "rexnet ..." --out results/NAME.jsonl
python tools/deployment_results.py tables

A FILE is a benchmark.jsonl, an export.json, or the lines that a benchmark printed.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from collecting import run_results
from tables import Table
from trainings import Row

from rexnet import runs
from rexnet.paper import BASE, TABLE_A1

RUNTIMES = {
    "torch": "torch",
    "torch-fused": "fused",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch",
}

SHARES = {
    "onnxruntime": "ONNX Runtime, of timm's file there",
    "openvino": "OpenVINO, of timm's file there",
    "torch": "eager and fused, of timm in eager mode",
    "best": "the fastest runtime, of timm in eager mode",
}


def lines(path: Path) -> list[Row]:
    """Return the rows of a file that a command wrote."""
    return [runs.read_json(path)] if path.suffix == ".json" else runs.read_jsonl(path)


def tables(results: Path) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield title, header and rows of every table."""
    yield "inference", *inference(results / "inference.jsonl")
    yield "Table A1", *table_a1(results / "table_a1.jsonl")
    yield "throughput", *throughput(results / "throughput.jsonl")
    yield "redesign", *redesigns(results / "redesign.jsonl")
    yield "int8", *int8(results / "int8.jsonl")
    yield "predictor", *predictor(results / "latency_error.jsonl")


def inference(path: Path) -> Table:
    """Return the shares of timm's time, run by run."""
    _, *found = runs.read_jsonl(path)
    rows = []
    for name, words in SHARES.items():
        shares = [run["shares"][name] for run in found]
        low = min(share["spread"][0] for share in shares)
        high = max(share["spread"][1] for share in shares)
        each = [f"{share['share']:.2f}" for share in shares]
        rows.append([words, *each, f"{low:.2f} to {high:.2f}", f"{shares[0]['goal']:.2f}"])
    header = ["rexnet_1.0", *(f"run {n}" for n in range(1, len(found) + 1)), "quartiles", "goal"]
    return header, rows


def table_a1(path: Path) -> Table:
    """Return Table A1 with the time of every runtime, and over that of rexnet_1.0."""
    _, _, *found = runs.read_jsonl(path)
    cells = {(row["model"], row["runtime"]): row for row in found}
    names = list(dict.fromkeys(row["model"] for row in found))
    chosen = [name for name in RUNTIMES if (names[0], name) in cells]
    rows = []
    for name in names:
        first = cells[name, chosen[0]]
        row = [name, f"{first['params'] / 1e6:.2f}M", f"{first['macs'] / 1e9:.3f}B"]
        for runtime in chosen:
            its, one = cells[name, runtime], cells[BASE, runtime]
            ratio = its["milliseconds"] / one["milliseconds"]
            row.append(f"{its['milliseconds']:.2f} ({ratio:.2f})")
        theirs, base = (TABLE_A1[each].cpu_milliseconds for each in (name, BASE))
        row.append(f"{theirs} ({theirs / base:.2f})")
        rows.append(row)
    return ["network", "params", "MACs", *(RUNTIMES[name] for name in chosen), "paper"], rows


def throughput(path: Path) -> Table:
    """Return images a second of batches."""
    _, _, *found = runs.read_jsonl(path)
    header = ["model", "runtime", "batch", "ms", "images a second", "difference"]
    return header, [
        [
            row["model"],
            RUNTIMES[row["runtime"]],
            str(row["batch"]),
            _timing(row),
            f"{row['images_per_second']:.0f}",
            f"{row['difference']:.0e}",
        ]
        for row in found
    ]


def redesigns(path: Path) -> Table:
    """Return backbones beside the networks on a line at their cost."""
    _, *found = runs.read_jsonl(path)
    rows = [row for row in found if "milliseconds" in row]
    names = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["model"], row["runtime"]): row for row in rows}
    chosen = [name for name in RUNTIMES if (names[0], name) in cells]
    return ["network", "params", "MACs", *(f"{RUNTIMES[r]} (ms)" for r in chosen)], [
        [
            name,
            f"{cells[name, chosen[0]]['params'] / 1e6:.2f}M",
            f"{cells[name, chosen[0]]['macs'] / 1e9:.3f}B",
            *(_timing(cells[name, runtime]) for runtime in chosen),
        ]
        for name in names
    ]


def int8(path: Path) -> Table:
    """Return accuracy and time of files in 8 bits beside those in float32."""
    _, *found = runs.read_jsonl(path)
    header = ["file", "top-1 float32 (%)", "top-1 int8 (%)", "images", "ms float32", "ms int8"]
    rows = []
    for row in found:
        times, its = row["milliseconds"], row["int8"]
        runtime = next(name for name in times if name not in ("torch", "int8"))
        rows.append(
            [
                RUNTIMES[runtime],
                f"{100 * its['top1_float']:.2f}",
                f"{100 * its['top1']:.2f}",
                f"{its['num_images']:,}",
                f"{times[runtime]:.2f}",
                f"{times['int8']:.2f}",
            ]
        )
    return header, rows


def predictor(path: Path) -> Table:
    """Return how far predictors were from what was measured of networks held out."""
    _, *found = runs.read_jsonl(path)
    kinds = dict.fromkeys((row["runtime"], row["threads"]) for row in found)
    rows = []
    for runtime, threads in kinds:
        pairs = [
            (row["predicted"], row["measured"])
            for row in found
            if (row["runtime"], row["threads"]) == (runtime, threads)
        ]
        errors = [abs(guess / time - 1) for guess, time in pairs]
        times = [time for _, time in pairs]
        rows.append(
            [
                RUNTIMES[runtime],
                str(threads),
                str(len(pairs)),
                f"{min(times):.2f} to {max(times):.2f}",
                f"{100 * statistics.median(errors):.1f}",
                f"{100 * max(errors):.1f}",
            ]
        )
    header = ["runtime", "threads", "networks", "ms", "median error (%)", "largest (%)"]
    return header, rows


def _timing(row: dict[str, Any]) -> str:
    low, high = row["quartiles"]
    return f"{row['milliseconds']:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    run_results(__doc__, lines=lines, tables=tables)
