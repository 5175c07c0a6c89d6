"""The command ``rexnet``: one verb a job; a job is imported when it is asked for."""

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import register_type

from rexnet import __version__
from rexnet.budget import Count, LatencyBudget
from rexnet.cli import deploy, verbs
from rexnet.deploy.config import BenchmarkConfig, ExportConfig, RuntimeName
from rexnet.detect.config import DetectTrainConfig, DetectValidateConfig
from rexnet.detect.recipe import DetectionRecipe
from rexnet.errors import UserError, closest
from rexnet.runs.options import explained, options_of
from rexnet.search.config import SearchConfig
from rexnet.studies.config import ActivationStudy, DetectionStudy, FactorStudy
from rexnet.studies.rank.config import RankStudy
from rexnet.train.config import TrainConfig, ValidateConfig
from rexnet.train.recipe import Recipe

Verb = Callable[[Namespace], None]

RECIPE_FIELDS = {
    field.name for kind in (Recipe, DetectionRecipe) for field in dataclasses.fields(kind)
}

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a user's mistake, in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parser, parsers = _parsers()
        try:
            parsed = parser.parse_args([_underscored(word) for word in arguments])
        except ArgumentError as error:
            raise UserError(_explain(str(error), arguments, parsers)) from None
        except UnicodeDecodeError as error:
            raise UserError(f"cannot read {' '.join(arguments)}: no text: {error}") from None
        RUN[parsed.verb](parsed[parsed.verb])
        sys.stdout.flush()
    except UserError as error:
        rank = int(os.environ.get("RANK", 0))
        process = f"process {rank + 1}: " if rank else ""
        print(f"rexnet: error: {process}{error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        command = shlex.join([verbs.program(), *arguments])
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


def _underscored(word: str) -> str:
    """Return an option with underscores, however it is written: --batch-size, --batch_size."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return word
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _silence_stdout() -> None:
    """Keep what is left in the buffer from failing once more when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    register_type(Count, serializer=int, deserializer=Count, fail_already_registered=False)
    register_type(
        LatencyBudget, serializer=str, deserializer=LatencyBudget, fail_already_registered=False
    )
    parser = ArgumentParser(
        prog="rexnet",
        description="Find the channel dimensions that fit your data and your budget.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    subcommands = parser.add_subcommands(dest="verb", required=True)
    parsers = {name: _parser() for name in RUN}
    parsers["summary"].add_argument(
        "network", type=str | None, nargs="?", help="A name or the path of a spec in JSON"
    )
    parsers["summary"].add_argument("--detector", choices=["ssdlite"], help="Of a detector on it")
    parsers["summary"].add_argument(
        "--backbone", type=str | None, help="With --detector: the network, or timm:NAME"
    )
    parsers["summary"].add_argument(
        "--classes", type=int, default=80, help="With --detector: classes to find"
    )
    parsers["summary"].add_argument("--resolution", type=int | None, help="Side in pixels")
    parsers["summary"].add_argument("--json", action="store_true", help="Print one JSON object")
    parsers["search"].add_argument("--config", action="config", help="A YAML file of these options")
    parsers["search"].add_class_arguments(SearchConfig)
    parsers["report"].add_argument("folder", type=str, help="The run folder of a search")
    parsers["fit"].add_argument("folder", type=str, help="The run folder of a search")
    _add_design(parsers["design"])
    _add_redesign(parsers["redesign"])
    _add_export(parsers["export"])
    _add_benchmark(parsers["benchmark"])
    parsers["doctor"].add_argument("--json", action="store_true", help="Print one JSON object")
    _add_training(parsers)
    for name, verb in parsers.items():
        subcommands.add_subcommand(name, verb, help=HELP[name])
    # jsonargparse adds subcommands level by level.
    return parser, parsers | _add_studies(parsers["study"]) | _add_detection(parsers["detect"])


def _parser() -> ArgumentParser:
    return ArgumentParser(exit_on_error=False, allow_abbrev=False)


def _add_design(parser: ArgumentParser) -> None:
    parser.add_argument("--params", type=Count | None, help="Most params, such as 4.8M")
    parser.add_argument("--macs", type=Count | None, help="Most MACs, such as 400M")
    words = "Most time for an image on this machine, such as 20ms@openvino; or onnxruntime"
    parser.add_argument("--latency", type=LatencyBudget | None, help=words)
    parser.add_argument("--blocks", type=int, default=16, help="Inverted bottlenecks")
    parser.add_argument("--resolution", type=int, default=224, help="Side in pixels")
    parser.add_argument("--classes", type=int, default=1000, help="Classes to tell apart")
    parser.add_argument("--out", type=str, default="spec.json", help="Where the spec is written")


def _add_redesign(parser: ArgumentParser) -> None:
    words = "A name, the path of a spec in JSON, or a run folder"
    parser.add_argument("backbone", type=str, help=words)
    parser.add_argument(
        "--budget", type=Literal["same"], default="same", help="Params and MACs: the backbone's"
    )
    parser.add_argument("--out", type=str | None, help="Where the spec is written, if anywhere")


def _add_export(parser: ArgumentParser) -> None:
    model = "A name, a spec in JSON, a run folder, a model folder, hf:USER/REPO or timm:NAME"
    parser.add_argument("model", type=str, help=model)
    flags = {"int8": "Also write a file that computes in 8 bits; needs --calibration"}
    parser.add_class_arguments(ExportConfig, skip={"model", *flags})
    _add_flags(parser, flags)


def _add_benchmark(parser: ArgumentParser) -> None:
    parser.add_class_arguments(BenchmarkConfig, skip={"models", "against", "runtimes"})
    words = "Names, specs in JSON, run folders, model folders, hf:USER/REPO or timm:NAME"
    parser.add_argument("models", type=str, nargs="*", metavar="MODEL", help=words)
    parser.add_argument(
        "--against", type=str, nargs="+", default=[], help="More to compare, such as timm:NAME"
    )
    words = "Default: torch, torch-fused and, on a CPU, the others but torch-compile if installed"
    parser.add_argument("--runtimes", type=RuntimeName, nargs="+", help=words)
    parser.add_argument("--json", action="store_true", help="Print the lines of benchmark.jsonl")


def _add_training(parsers: dict[str, ArgumentParser]) -> None:
    flags = {"skip_corrupt": "Leave out images that cannot be read, instead of refusing"}
    parsers["validate"].add_class_arguments(ValidateConfig, skip={"model", *flags})
    _add_flags(parsers["validate"], flags)
    flags["tensorboard"] = "Also write metrics for TensorBoard"
    parsers["train"].add_class_arguments(TrainConfig, skip={"set", *flags})
    _add_flags(parsers["train"], flags)
    _add_set(parsers["train"])
    model = "A run folder, a model folder or hf:USER/REPO; with --weights, a name or a spec in JSON"
    parsers["validate"].add_argument("model", type=str, help=model)
    predict = parsers["predict"]
    predict.add_argument("model", type=str, help=model)
    predict.add_argument("images", type=str, nargs="+", metavar="IMAGE", help="Files of images")
    predict.add_argument("--weights", type=str | None, help="As in training")
    predict.add_argument("--top", type=int, default=5, help="Classes to name")
    predict.add_argument("--json", action="store_true", help="Print a JSON object an image")


def _add_studies(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    studies = parser.add_subcommands(dest="study", required=True)
    activations = _parser()
    activations.add_class_arguments(ActivationStudy, skip={"set", "activations"})
    activations.add_argument(
        "--activations", nargs="+", default=list(ActivationStudy.activations), help="To compare"
    )
    _add_set(activations)
    studies.add_subcommand("activations", activations, help="The nonlinearity study (Table A2)")
    detection = _parser()
    flags = {
        "from_scratch": "Start from new weights and train twice as long (Table A4)",
        "skip_corrupt": "Leave out images that cannot be read and boxes without area",
    }
    detection.add_class_arguments(DetectionStudy, skip={"set", "backbones", *flags})
    backbones = "To compare: names, specs in JSON, run folders, timm:NAME"
    detection.add_argument("--backbones", nargs="+", required=True, help=backbones)
    _add_flags(detection, flags)
    _add_set(detection)
    studies.add_subcommand(
        "detection", detection, help="Detectors on several backbones (Tables A3 and A4)"
    )
    factors = _parser()
    factors.add_class_arguments(FactorStudy, skip={"set"})
    _add_set(factors)
    words = "What accuracy and rank owe to each rule of design (Table 2)"
    studies.add_subcommand("factors", factors, help=words)
    return {
        "study activations": activations,
        "study detection": detection,
        "study factors": factors,
        "study rank": _add_rank(studies),
    }


def _add_rank(studies: Any) -> ArgumentParser:
    rank = _parser()
    lists = ("architectures", "functions", "ratios", "widths")
    rank.add_class_arguments(RankStudy, skip=set(lists))
    words = "pointwise (a), conv (b), bottleneck (c), depthwise (d)"
    rank.add_argument(
        "--architectures", nargs="+", default=list(RankStudy.architectures), help=words
    )
    words = "What follows a convolution"
    rank.add_argument("--functions", nargs="+", default=list(RankStudy.functions), help=words)
    words = "Input channels by output channels"
    rank.add_argument("--ratios", type=float, nargs="+", default=list(RankStudy.ratios), help=words)
    words = "Fewest and most output channels (default: so that all takes minutes)"
    rank.add_argument("--widths", type=int, nargs=2, metavar=("LEAST", "MOST"), help=words)
    words = "Look at a network instead: a run folder, a name or a spec in JSON"
    rank.add_argument("--model", type=str | None, help=words)
    rank.add_argument("--data", type=str | None, help="With --model: images, as in training")
    rank.add_argument("--weights", type=str | None, help="With --model: as in training")
    rank.add_argument("--images", type=int | None, help="With --model: how many (default: 128)")
    words = "The rank of random layers (Figure 1), or of a network's blocks"
    studies.add_subcommand("rank", rank, help=words)
    return rank


def _add_detection(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    jobs = parser.add_subcommands(dest="job", required=True)
    parsers = {name: _parser() for name in DETECT}
    flags = {"skip_corrupt": "Leave out images that cannot be read and boxes without area"}
    detector = "A run folder, or a folder of a detector"
    parsers["validate"].add_class_arguments(DetectValidateConfig, skip={"detector", *flags})
    parsers["validate"].add_argument("detector", type=str, help=detector)
    _add_flags(parsers["validate"], flags)
    flags["from_scratch"] = "Start from new weights and train twice as long (Table A4)"
    flags["tensorboard"] = "Also write metrics for TensorBoard"
    parsers["train"].add_class_arguments(DetectTrainConfig, skip={"set", *flags})
    _add_flags(parsers["train"], flags)
    _add_set(parsers["train"])
    predict = parsers["predict"]
    predict.add_argument("detector", type=str, help=detector)
    predict.add_argument("images", type=str, nargs="+", metavar="IMAGE", help="Files of images")
    predict.add_argument("--score", type=float, default=0.3, help="The lowest score to be told")
    predict.add_argument("--out", type=str | None, help="A folder for pictures with the boxes")
    predict.add_argument("--json", action="store_true", help="Print a JSON object an image")
    helps = {
        "train": "Train SSDLite on images with boxes",
        "validate": "Count the average precision of a detector",
        "predict": "Find what is on images",
    }
    for name, words in helps.items():
        jobs.add_subcommand(name, parsers[name], help=words)
    return {f"detect {name}": found for name, found in parsers.items()}


def _add_flags(parser: ArgumentParser, flags: dict[str, str]) -> None:
    for name, words in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=words)


def _add_set(parser: ArgumentParser) -> None:
    words = "Stronger than the recipe, such as epochs=5"
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="FIELD=VALUE", help=words
    )


def _explain(message: str, arguments: Sequence[str], parsers: dict[str, ArgumentParser]) -> str:
    """Turn the parser's message into one line that names the value, the limit and the fix."""
    verb = arguments[0] if arguments else ""
    if verb not in RUN and not verb.startswith("-"):
        wanted = f"unknown command {verb!r}{closest(verb, RUN)}" if verb else "no command"
        return f"{wanted}; the commands are {', '.join(RUN)}"
    second = arguments[1] if len(arguments) > 1 else ""
    known = GROUPS.get(verb, ())
    if known and second not in known and not second.startswith("-"):
        wanted = f"unknown {verb} {second!r}{closest(second, known)}; " if second else ""
        return f"{wanted}give one of: {', '.join(known)}"
    unknown = re.match(r"unrecognized arguments: --(\w+)", message)
    if verb in ("train", *GROUPS) and unknown and unknown[1] in RECIPE_FIELDS:
        return f"unknown option --{unknown[1]}: it belongs to the recipe, --set {unknown[1]}=..."
    if match := re.search(r"arguments are required: (.*)", message):
        names = [name.rpartition(".")[2] for name in match[1].split(", ")]
        positional = {
            "folder": "a run folder",
            "network": "a name or the path of a spec",
            "model": "a run folder or another trained model" if verb != "train" else "--model",
            "detector": "a run folder of a detector",
            "images": "images",
            "backbone": "a name or the path of a spec" if verb == "redesign" else "--backbone",
        }
        return f"give {' and '.join(positional.get(name, f'--{name}') for name in names)}"
    verb = f"{verb} {second}" if known else verb
    options = options_of(parsers[verb]) if verb in parsers else []
    return explained(message, options, f"; see `rexnet {verb} --help`")


RUN: dict[str, Verb] = {
    "search": verbs.search,
    "report": verbs.report,
    "fit": verbs.fit_line,
    "design": verbs.design_network,
    "redesign": deploy.redesign,
    "train": verbs.train,
    "validate": verbs.validate,
    "predict": verbs.predict,
    "detect": verbs.detect,
    "study": verbs.study,
    "summary": verbs.summarise,
    "list": verbs.list_models,
    "export": deploy.export,
    "benchmark": deploy.benchmark,
    "doctor": deploy.doctor,
}

DETECT = ("train", "validate", "predict")

GROUPS = {"study": tuple(verbs.STUDIES), "detect": DETECT}
"""The verbs that another word follows."""

HELP = {
    "search": "Search the channel dimensions that fit a budget best",
    "report": "Draw the figures and the page of a search",
    "fit": "Fit a line to a search's best networks and write the network on it",
    "design": "Go from a budget to a network on a line, without a search",
    "redesign": "Go from a backbone to the network on a line at its cost",
    "train": "Train a network by a recipe",
    "validate": "Evaluate a trained model on labelled images",
    "predict": "Name what is on images",
    "detect": "Train, validate and use a detector: SSDLite",
    "study": "Run a study of the paper: activations (Table A2), detection (A3, A4), rank (1)",
    "summary": "Print the layers of a network with their params and MACs",
    "list": "Name the known networks",
    "export": "Write a model as a verified file of ONNX Runtime, OpenVINO or ExecuTorch",
    "benchmark": "Time models in runtimes side by side; Table A1",
    "doctor": "Tell what timings on this machine depend on, and what makes them lie",
}


if __name__ == "__main__":
    sys.exit(main())
