import json
import os
import resource
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import contents, in_process, mistaken, play, refused, searching, trials_of, write_npz
from toys import made_up_rows, write_run

from rexnet import NetSpec, families
from rexnet.cli import main as cli

HELPERS = Path(__file__).parents[1] / "helpers"

MISTAKES = {
    "no command": ([], ["no command", "search, report, fit, design, redesign, train, validate"]),
    "command": (["serch"], ["unknown command 'serch'", "did you mean search?"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


SEARCH = """
import sys
sys.path.insert(0, sys.argv[1])
import toys
from functools import partial
from rexnet.cli import main as cli
from rexnet.search import job
interrupts = [int(sys.argv[2])]
job.run = partial(job.run, evaluate=toys.Toy(interrupts=interrupts))
with toys.no_sync():
    sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.mark.usefixtures("toy")
def test_a_run_folder_that_cannot_be_made_is_named(capsys, tmp_path):
    write_npz("photos.npz")
    Path("file").write_text("", encoding="utf-8")
    assert "cannot write to file/S: Not a directory: " in refused(capsys, *searching("file/S"))
    assert "cannot write" in refused(capsys, *searching("file"))
    design = ["design", "--params", "4.8M", "--macs", "400M", "--out", "file/spec.json"]
    assert "cannot write file/spec.json: " in refused(capsys, *design)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos.npz"]


@pytest.mark.usefixtures("toy")
@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_write_permission_is_named(capsys):
    write_npz("photos.npz")
    Path("closed").mkdir(mode=0o500)
    assert "cannot write to closed/S: Permission denied" in refused(capsys, *searching("closed/S"))


@contextmanager
def largest_file(num_bytes):
    """Let no file grow beyond ``num_bytes``, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("toy")
def test_a_full_disk_is_told_in_one_line_and_the_search_goes_on_when_there_is_room(
    capsys, monkeypatch
):
    write_npz("photos.npz")
    assert cli.main(searching("whole", trials=6)) == 0
    size = Path("whole/study.db").stat().st_size
    capsys.readouterr()
    # Optuna waits between its attempts to write.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    # Room for nothing, for some of an empty study, for all but the last trials of a full one.
    for room in (100, size // 4, size - 4096):
        with largest_file(room):
            assert refused(capsys, *searching("S", trials=6))
    assert 0 < len(trials_of("S")) < 6
    assert cli.main(searching("S", trials=6)) == 0
    assert trials_of("S") == trials_of("whole")


def test_a_design_on_a_full_disk_is_told_in_one_line_and_the_old_file_stays(capsys, tmp_path):
    design = ["design", "--params", "4.8M", "--macs", "400M"]
    with largest_file(100):
        assert "cannot write spec.json: File too large" in refused(capsys, *design)
    assert list(tmp_path.iterdir()) == []


def test_a_report_on_a_full_disk_is_told_in_one_line_and_the_old_one_stays(capsys, tmp_path):
    write_run(Path("S"), made_up_rows(3))
    assert cli.main(["report", "S"]) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    with largest_file(10_000):
        assert "cannot write S/profile.png: File too large" in refused(capsys, "report", "S")
    assert contents(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["list", "summary rexnet_1.0 --json"])
def test_output_to_a_full_disk_is_told_in_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rexnet.cli.main", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("rexnet: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "summary rexnet_1.0"])
def test_a_reader_who_has_had_enough_is_no_error_to_tell(command):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "rexnet.cli.main", *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


def test_what_a_terminal_has_no_sign_for_is_replaced(tmp_path):
    name = "caf\udce9 ± 猫"
    summary = ["design", "--params", "4.8M", "--macs", "400M", "--out", f"{name}/spec.json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = in_process(*summary, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "written to caf? ? ?/spec.json" in done.stdout
    assert (tmp_path / name / "spec.json").exists()
    done = in_process("summary", f"{name}/none.json", env=environment)
    assert done.returncode == 2
    assert "caf? ? ?/none.json" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_a_search_with_the_command_to_go_on_with(monkeypatch, capsys):
    write_npz("photos.npz")
    arguments = searching("my run", trials=4)
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(HELPERS), "2", *arguments],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 130
    stopped, command = done.stderr.strip().split("To go on: ")
    assert stopped.strip() == "Stopped."
    assert shlex.split(command) == ["rexnet", *arguments]
    assert "Traceback" not in done.stdout
    assert len(trials_of("my run")) == 2

    play(monkeypatch)
    assert cli.main(shlex.split(command)[1:]) == 0
    assert cli.main(searching("whole", trials=4)) == 0
    assert trials_of("my run") == trials_of("whole")


def test_sigterm_ends_a_job_as_ctrl_c_does():
    write_npz("photos.npz")
    code = SEARCH.replace("[int(sys.argv[2])]", "[]").replace("toys.Toy", "toys.Terminated")
    done = subprocess.run(
        [sys.executable, "-c", code, str(HELPERS), "2", *searching(trials=2)],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 130
    assert done.stderr.strip().startswith("Stopped. To go on: rexnet search")
    assert done.stderr.strip().count("\n") == 0


def test_help_names_every_command_and_every_command_has_help():
    done = in_process("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert command.name in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("verb", [command.name for command in cli.COMMANDS])
def test_every_command_has_help_of_its_own(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    assert f"rexnet [options] {verb}" in " ".join(capsys.readouterr().out.split())


def test_list_summary_and_design_run_as_processes():
    done = in_process("list")
    assert (done.returncode, done.stderr) == (0, "")
    for name in families.names():
        assert name in done.stdout
    done = in_process("summary", "rexnet_1.0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["name"] == "rexnet_1.0"
    assert (summary["params"], summary["macs"]) == (4_796_873, 398_370_392)
    assert summary["resolution"] == 224
    assert summary["widths"][:3] == [16, 27, 38]
    assert summary["activations"] > 0
    done = in_process("design", "--params", "4.8M", "--macs", "400M")
    assert (done.returncode, done.stderr) == (0, "")
    assert "written to spec.json" in done.stdout
    assert NetSpec.load("spec.json").name == "rexnet_line_16b"


def test_the_command_line_is_loaded_without_the_heavy_libraries():
    code = "import rexnet.cli.main, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "torchvision", "optuna", "matplotlib", "PIL", "jinja2", "sqlalchemy"}
    assert not set(done.stdout.split()) & heavy


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "rexnet", "list"]
    assert (
        "rexnet_1.0" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
