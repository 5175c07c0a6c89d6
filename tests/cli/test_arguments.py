from dataclasses import dataclass
from typing import Literal

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from rexnet.cli.arguments import add_config, config_of, underscored, words_of


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits.

    Attributes:
        most: How much.
    """

    most: int = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Do something.

    Attributes:
        model: What is
            looked at.
        fast: Be quick about it.
        names: Some names.
        ratios: Some ratios (default: all).
        pair: Two numbers.
        set: FIELD=VALUE.
        limits: The limits.
        out: The folder.
    """

    model: str
    fast: bool = False
    names: tuple[Literal["a", "b"], ...] = ("a",)
    ratios: tuple[float, ...] | None = None
    pair: tuple[int, int] = (1, 2)
    set: tuple[str, ...] = ()
    limits: Limits = Limits()
    out: str = "runs"


def declared(**options):
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_config(parser, Config, **options)
    return parser


def parsed(*arguments, **options):
    return config_of(Config, declared(**options).parse_args(list(arguments)))


def test_a_dataclass_is_declared_with_its_defaults():
    assert parsed("--model", "m") == Config(model="m")


def test_flags_lists_and_groups_are_read_as_the_dataclass_has_them():
    lists = ["--names", "b", "c", "--ratios", "1", "0.5", "--pair", "3", "4"]
    others = ["--fast", "--set", "x=1", "--set", "y=2", "z=3", "--limits.most", "7"]
    assert parsed("--model", "m", *lists, *others) == Config(
        model="m",
        fast=True,
        names=("b", "c"),
        ratios=(1.0, 0.5),
        pair=(3, 4),
        set=("x=1", "y=2", "z=3"),
        limits=Limits(most=7),
    )


def test_a_field_may_be_positional_and_other_arguments_stand_beside():
    parser = declared(positional=("model",))
    parser.add_argument("--json", action="store_true")
    assert config_of(Config, parser.parse_args(["m", "--json"])) == Config(model="m")


def test_the_words_of_an_option_are_those_of_the_docstring_or_of_the_changes():
    changes = {"pair": {"metavar": ("LEAST", "MOST"), "help": "From and to"}}
    words = " ".join(declared(positional=("model",), changes=changes).format_help().split())
    for told in (
        "Do something:",
        "model What is looked at (required",
        "--fast Be quick about it (default: False)",
        "--pair LEAST MOST From and to (type: int, default: [1, 2])",
        "--ratios RATIOS [RATIOS ...] Some ratios (default: all) (type: float, default: null)",
        "--out OUT The folder. (type: str, default: runs)",
    ):
        assert told in words
    assert words.index("--pair LEAST MOST From") < words.index("--fast Be")


@pytest.mark.parametrize("wrong", [["--ratios", "x"], ["--pair", "1"], ["--fast=maybe"], ["--pai"]])
def test_values_of_another_type_are_refused(wrong):
    with pytest.raises(ArgumentError):
        parsed("--model", "m", *wrong)


def test_a_list_may_be_asked_for():
    parser = declared(changes={"names": {"required": True}})
    with pytest.raises(ArgumentError, match="required: names"):
        parser.parse_args(["--model", "m"])


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("--batch-size", "--batch_size"),
        ("--batch-size=a-b", "--batch_size=a-b"),
        ("--budget.count-classifier", "--budget.count_classifier"),
        ("a-b", "a-b"),
        ("-1", "-1"),
    ],
)
def test_options_are_known_however_they_are_written(word, read):
    assert underscored(word) == read


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--budget", "like:rexnet_0.6"], ["--budget.like=rexnet_0.6"]),
        (["--budget=like:a b.json"], ["--budget.like=a b.json"]),
        (["--budget", "same"], ["--budget", "same"]),
        (["--scale-ends", "--budget.macs", "3M"], ["--scale_ends", "--budget.macs", "3M"]),
        (["--out", "like:this"], ["--out", "like:this"]),
        (["--budget"], ["--budget"]),
        ([], []),
    ],
)
def test_a_budget_like_a_network_is_an_option_of_its_own(typed, words):
    assert words_of(typed) == words
