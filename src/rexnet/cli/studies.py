"""``rexnet study``: the studies of trainings, a row of ``STUDIES`` each, and that of ranks."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli import rank
from rexnet.cli.arguments import Command, add_config, config_of
from rexnet.cli.made import print_paths
from rexnet.studies import STUDIES
from rexnet.studies.study import TrainingStudy


def command(name: str, study: TrainingStudy[Any]) -> Command:
    """Return the verb of a study of trainings."""

    def add(parser: ArgumentParser) -> None:
        changes: dict[str, dict[str, Any]] = {
            option: {"help": words} for option, words in {**study.values, **study.flags}.items()
        }
        for option in study.values:
            if not getattr(study.config, option):
                # There are none by default, so it has to be given; the study tells which it takes.
                changes[option] |= {"required": True, "type": None}
        add_config(parser, study.config, changes=changes)

    def run(arguments: Namespace) -> None:
        config = config_of(study.config, arguments)
        study.check(config)
        from rexnet.cli.console import Bar, plain_console, table

        console = plain_console()
        opening = "Ctrl-C stops the study; the same command goes on with it."
        with Bar(console, "training", opening) as bar:
            rows = study.run(config, bar.update)
        console.print(table(study.header, [study.cells(row) for row in rows]))
        if study.conclusion:
            console.print(study.conclusion(rows), soft_wrap=True)
        folder = Path(config.out)
        print_paths(console, "\nMade:", [folder / "table.json", folder / "trainings.jsonl"])

    return Command(name=name, help=study.words, add=add, run=run)


COMMANDS = (
    Command(
        name="study",
        help="Run a study of the paper: activations (Table A2), detection (A3, A4), rank (1)",
        commands=(*(command(name, study) for name, study in STUDIES.items()), rank.COMMAND),
    ),
)
