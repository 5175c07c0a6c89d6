import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from clocks import compute_beside

from rexnet import UserError, families, runs
from rexnet.cli import main as cli
from rexnet.deploy import benchmark, runtimes
from rexnet.deploy.benchmark import measure, plan
from rexnet.deploy.config import BenchmarkConfig
from rexnet.deploy.models import at_resolution, load, of_spec
from rexnet.deploy.runtimes import RUNTIMES
from rexnet.nn.fast.inference import fold

SPEC = families.search_network((8, 8, 16), 10, 32)
DEFAULT = ["torch", "torch-fused", "onnxruntime", "openvino", "executorch"]
TORCH = ("torch", "torch-fused")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every command in an empty folder with the spec of a small network."""
    monkeypatch.chdir(tmp_path)
    runs.write_text(tmp_path / "small.json", SPEC.to_json())
    return tmp_path


def config(**settings):
    settings = {"models": ("small.json",), "rounds": 3, "threads": 1, "runtimes": TORCH} | settings
    return BenchmarkConfig(**settings)


def refused(capsys, *arguments):
    assert cli.main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("rexnet: error: ").rstrip()


def without(monkeypatch, *missing):
    """Hide installed libraries."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name)
    )


def test_all_runtimes_agree_and_are_timed(capsys):
    arguments = ["small.json", "--rounds", "3", "--threads", "1", "--batch", "2", "--json"]
    before = torch.get_num_threads()
    assert cli.main(["benchmark", *arguments]) == 0
    assert torch.get_num_threads() == before
    printed = capsys.readouterr()
    protocol, *rows = map(json.loads, printed.out.splitlines())
    assert runs.read_jsonl(Path("runs/benchmark/benchmark.jsonl")) == [protocol, *rows]
    assert "3/3 rounds timed, time left 0:00" in printed.err
    assert [row["runtime"] for row in rows] == DEFAULT
    assert protocol["left_out"] == {}
    assert {"python", "torch", "onnxruntime", "openvino", "executorch"} <= {*protocol["versions"]}
    for row in rows:
        assert (row["batch"], row["threads"], row["precision"]) == (2, 1, "float32")
        assert row["device"] == protocol["device"]
        assert row["quartiles"][0] <= row["milliseconds"] <= row["quartiles"][1]
        assert row["images_per_second"] == pytest.approx(2000 / row["milliseconds"])
        assert row["ratio"] == row["milliseconds"] / rows[0]["milliseconds"]
        # Another order of additions is seen; an exact zero would mean that nothing was compared.
        assert row["runtime"] == "torch" or 0 < row["difference"] < 1e-4
    assert rows[0]["difference"] == 0
    model = of_spec(SPEC)
    assert (rows[0]["params"], rows[0]["macs"]) == (model.params, model.macs)


def changed(*names, **changes):
    """Return the table with some fields of some runtimes made anew of what they were."""
    made = {
        name: dataclasses.replace(
            RUNTIMES[name],
            **{field: change(getattr(RUNTIMES[name], field)) for field, change in changes.items()},
        )
        for name in names
    }
    return runtimes.table(*(RUNTIMES | made).values())


def test_a_model_of_timm_is_exported_as_it_is():
    seen = []

    def watched(write):
        def noted(module, *rest):
            seen.append(module)
            write(module, *rest)

        return noted

    theirs = at_resolution(load("timm:test_resnet"), 32)
    chosen = ("torch-fused", "torch", "onnxruntime", "openvino")
    table = changed("onnxruntime", "openvino", write=watched)
    rows = measure([of_spec(SPEC), theirs], config(runtimes=chosen), lambda _: None, table).rows
    assert [row["runtime"] for row in rows] == [*chosen, *chosen[1:]]
    norms = [sum("Norm2d" in type(layer).__name__ for layer in module.modules()) for module in seen]
    # A file for each of the two runtimes.
    ours, others = norms[:2], norms[2:]
    assert ours == [0, 0]
    assert len(others) == 2
    assert min(others) > 0


def test_the_table_is_whole_in_a_pipe_and_says_how_it_was_measured(capsys):
    arguments = ["benchmark", "small.json", "--rounds", "2", "--runtimes", *TORCH, "--out", "out"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if "images/s" in line)
    assert "time over small.json in torch" in header
    assert "difference" in header
    assert sum(line.lstrip().startswith("small.json") for line in lines) == 2
    text = "\n".join(lines)
    assert "1 image a call" in text
    assert "medians of 2 rounds" in text
    assert "random weights" in text
    assert "out/benchmark.jsonl" in text


@pytest.mark.parametrize("runtime", ["torch-fused", "onnxruntime", "openvino"])
def test_outputs_that_differ_are_refused_and_nothing_is_written(runtime):
    def broken(module):
        made = fold(module)
        with torch.no_grad():
            made.blocks[1].depthwise.conv.weight[0] *= -1
        return made

    def run_broken(run):
        return lambda module, *rest: run(broken(module), *rest)

    if runtime == "torch-fused":
        table = changed(runtime, run=run_broken)
    else:
        table = changed(runtime, form=lambda form: broken)
    words = rf"small\.json in {runtime} differs from eager torch by .* more than 0\.001; leave"
    with pytest.raises(UserError, match=words):
        benchmark.run(config(runtimes=("torch", runtime)), lambda _: None, table)
    assert not Path("runs/benchmark/benchmark.jsonl").exists()


def test_a_runtime_of_a_user_is_timed_beside_the_others():
    mine = dataclasses.replace(RUNTIMES["torch"], name="mine")
    table = runtimes.table(*RUNTIMES.values(), mine)
    result = benchmark.run(config(runtimes=("torch", "mine")), lambda _: None, table)
    assert [row["runtime"] for row in result.rows] == ["torch", "mine"]
    with pytest.raises(UserError, match=r"unknown runtime 'mines' \(did you mean mine\?\)"):
        benchmark.run(config(runtimes=("mines",)), lambda _: None, table)


def test_other_work_while_all_is_timed_is_told(monkeypatch):
    compute_beside(monkeypatch, 0.5)
    result = measure([of_spec(SPEC)], config(runtimes=("torch",)), lambda _: None)
    assert result.protocol["others"] == 0.5
    words = "other work took 50 % of the cores' time while all was timed"
    assert result.protocol["findings"][0] == words


def test_lower_precisions_are_computed_and_are_coarser():
    result = measure([of_spec(SPEC)], config(precision="bfloat16", runtimes=None), lambda _: None)
    assert {"torch", "torch-fused"} <= {row["runtime"] for row in result.rows}
    assert all(row["difference"] > 1e-4 for row in result.rows if row["runtime"] in TORCH)
    assert (
        "onnxruntime computes in float32, not bfloat16"
        in result.protocol["left_out"]["onnxruntime"]
    )


def test_a_model_is_not_changed_by_being_measured():
    model = of_spec(SPEC)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    measure([model], config(), lambda _: None)
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_progress_rises_to_the_end_and_tells_the_time_left():
    told = []
    measure([of_spec(SPEC)], config(), told.append)
    shares = [progress.share for progress in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert told[0].words == "1/2 ready: " + SPEC.name + " in torch"
    assert (told[0].seconds_left, told[-1].seconds_left) == (None, 0)


def test_a_runtime_that_is_missing_is_left_out_unless_it_was_asked_for(monkeypatch, capsys):
    without(monkeypatch, "openvino")
    chosen, left_out = plan(config(runtimes=None))
    assert tuple(one.name for one in chosen) == (
        "torch",
        "torch-fused",
        "onnxruntime",
        "executorch",
    )
    assert list(left_out) == ["openvino"]
    message = refused(capsys, "small.json", "--runtimes", "torch", "openvino")
    assert "pip install 'rexnet[openvino]'" in message
    assert not Path("runs").exists()


def test_table_a1_stands_beside_the_published_times(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "TABLE_A1", ("rexnet_plain", "rexnet_1.0"))
    arguments = ["--table", "a1", "--rounds", "2", "--resolution", "32", "--runtimes", "torch"]
    assert cli.main(["benchmark", *arguments, "--against", "small.json"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    first = next(line for line in lines if line[0] == "rexnet_1.0")
    plain = next(line for line in lines if line[0] == "rexnet_plain")
    assert (plain[1:4], plain[5]) == (["74.8", "3.40M", "3.4M"], "0.56B")
    assert plain[-2:] == ["22", "0.47"]
    assert first[-3:] == ["1.00", "47", "1.00"]
    assert next(line for line in lines if line[0] == "small.json")[-2:] == ["-", "-"]


def test_a_gpu_takes_64_images_of_a_table():
    assert BenchmarkConfig(table="a1", device="cuda").num_images == 64
    assert BenchmarkConfig(table="a1").num_images == config(device="cuda").num_images == 1
    assert config(batch=7).num_images == 7


MISTAKES = {
    "nothing": ([], "give either models, such as rexnet_1.0, or --table a1"),
    "both": (["small.json", "--table", "a1"], "give either models"),
    "twice": (["small.json", "--against", "small.json"], "must be different"),
    "name": (["rexnet_9x"], "did you mean rexnet_0.9?"),
    "timm": (["timm:nothing", "--runtimes", "torch"], "timm knows no model 'nothing'"),
    "runtime": (["small.json", "--runtimes", "tvm"], "'tvm' is not one of"),
    "runtime twice": (["small.json", "--runtimes", "torch", "torch"], "must be different"),
    "batch": (["small.json", "--batch", "0"], "batch 0 must be from 1 to 4096"),
    "large batch": (
        ["small.json", "--batch", "65", "--runtimes", "executorch"],
        "executorch takes at most 64 images, not 65",
    ),
    "threads": (["small.json", "--threads", "0"], "threads 0 must be from 1 to 1024"),
    "rounds": (["small.json", "--rounds", "0"], "rounds 0 must be from 1 to 1000"),
    "resolution": (["small.json", "--resolution", "7"], "resolution 7 must be from 8 to 4096"),
    "precision": (
        ["small.json", "--precision", "float16", "--runtimes", "onnxruntime"],
        "onnxruntime computes in float32, not float16",
    ),
    "fused": (["timm:test_resnet", "--runtimes", "torch-fused"], "add torch to --runtimes"),
    "side": (
        ["timm:vit_tiny_patch16_224", "--resolution", "64", "--runtimes", "torch"],
        "cannot compute a batch of 1 at 64 pixels",
    ),
    "folder": (["small.json", "--out", "."], ". has files but no benchmark.jsonl"),
    "not a folder": (["small.json", "--out", "small.json/out"], "cannot write to small.json/out"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line(arguments, words, capsys):
    assert words in refused(capsys, *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(capsys):
    assert "finds no GPU here" in refused(capsys, "small.json", "--device", "cuda")


def test_a_redesign_is_timed_beside_its_backbone(monkeypatch, capsys):
    without(monkeypatch, "onnxruntime", "openvino", "executorch")
    assert cli.main(["redesign", "small.json"]) == 0
    printed = capsys.readouterr().out
    assert f"time over {SPEC.name} in torch" in printed
    assert "Left out: executorch: executorch is not installed" in printed
    assert [path.name for path in Path().iterdir()] == ["small.json"]
