import pkgutil
import re
import shlex
from pathlib import Path

import pytest

from rexnet import families
from rexnet.cli import main as cli
from rexnet.cost import count

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("[!_]*/**/*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
README = PAGES[0].read_text(encoding="utf-8")


def commands():
    """Return every command in a shell block of the README and the docs."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            yield from block.replace("\\\n", " ").splitlines()


def names():
    """Return what the pages call by dotted names of the package."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    return sorted(set(re.findall(r"\brexnet(?:\.[a-z_]+)+(?:\.[A-Z]\w+)?\b", text)))


@pytest.mark.parametrize("name", names())
def test_a_name_of_the_docs_is_there(name):
    assert pkgutil.resolve_name(name) is not None


RUN_AT_ONCE = sorted(
    {c for c in commands() if re.match(r"rexnet (list|summary|design(?!.*(latency|--data)))", c)}
)
OTHERS = sorted({c for c in commands() if c.startswith("rexnet ")} - set(RUN_AT_ONCE))


@pytest.mark.parametrize("command", [c for c in RUN_AT_ONCE if "design" not in c])
def test_a_quick_command_of_the_docs_works(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["design", "--params", "4.8M", "--macs", "400M"]) == 0
    assert cli.main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [c for c in RUN_AT_ONCE if "design" in c])
def test_a_design_of_the_docs_works(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    assert (tmp_path / "spec.json").exists()


@pytest.mark.parametrize("command", OTHERS)
def test_the_options_of_a_long_command_of_the_docs_are_known(command):
    if command == "rexnet --help":
        with pytest.raises(SystemExit, match="0"):
            cli.parse(["--help"])
    else:
        cli.parse(shlex.split(command.partition(" > ")[0])[1:])


def test_every_target_of_make_in_the_docs_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {c.split()[1] for c in commands() if c.startswith("make ")}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", families.names())
def test_the_table_of_the_readme_has_the_costs(name):
    total = count(families.get(name))
    assert f"| `{name}` | {total.params:,} | {total.macs:,} |" in README
