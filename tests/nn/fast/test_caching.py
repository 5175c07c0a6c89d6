import os

import numpy as np
import pytest

from rexnet.nn.fast.caching import kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a module of one function in a folder that files of code may be kept in or not."""
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "temporary").mkdir()
    return tmp_path


def compiled(folder, name="twice", factor=2):
    """Return a compiled function from a file of its own, called once."""
    path = folder / f"{name}.py"
    path.write_text(f"def {name}(x):\n    return {factor} * x\n", encoding="utf-8")
    # Of this module they would be written, too, and others put there what cannot be.
    made = {"__builtins__": {}}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), made)
    function = kept(made[name])
    assert function(np.float32(3)) == 3 * factor
    return function


def hits(function):
    return sum(function.stats.cache_hits.values())


def test_code_is_kept_and_found_again(folder):
    assert hits(compiled(folder)) == 0
    assert hits(compiled(folder)) == 1
    assert list((folder / "__pycache__").glob("*.nbc"))


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"no code", None])
def test_damaged_files_are_written_anew(folder, ending, content):
    compiled(folder)
    (path,) = (folder / "__pycache__").glob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    assert hits(compiled(folder)) == 0
    assert hits(compiled(folder)) == 1


def test_without_a_folder_to_write_to_code_is_kept_in_a_temporary_one_of_the_users(folder):
    (folder / "__pycache__").write_text("in the way", encoding="utf-8")
    assert hits(compiled(folder)) == 0
    assert hits(compiled(folder)) == 1
    place = folder / "temporary" / f"rexnet-{os.getuid()}"
    assert place.stat().st_mode & 0o777 == 0o700
    assert list(place.rglob("*.nbc"))
    # Others could put code there.
    place.chmod(0o777)
    assert hits(compiled(folder)) == 0


def test_without_any_folder_code_is_compiled(folder):
    (folder / "__pycache__").write_text("in the way", encoding="utf-8")
    (folder / "temporary").rmdir()
    assert [hits(compiled(folder)) for _ in range(2)] == [0, 0]


def test_a_folder_that_is_gone_or_full_in_the_end_is_done_without(folder):
    function = compiled(folder)
    for path in (folder / "__pycache__").iterdir():
        path.unlink()
    (folder / "__pycache__").rmdir()
    (folder / "__pycache__").write_text("in the way", encoding="utf-8")
    assert function(np.float64(3)) == 6
