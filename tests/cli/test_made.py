import shlex
from pathlib import Path

from rexnet.cli.console import plain_console
from rexnet.cli.made import pasteable, print_next


def test_a_shell_reads_a_command_back_whatever_its_words_hold(capsys):
    words = ["train", "--model", Path('my run\'s "best" $x'), "--data", "a b", "IMAGE..."]
    assert shlex.split(pasteable(words)) == list(map(str, words))
    assert pasteable(["predict", Path("S"), "IMAGE..."]) == "predict S IMAGE..."
    # A path is no option.
    assert pasteable(["validate", Path("-run")]) == "validate ./-run"
    print_next(plain_console(), [words])
    assert shlex.split(capsys.readouterr().out)[-len(words) :] == list(map(str, words))
