import shutil

import pytest
import toys
from commands import play, searching, write_npz

from rexnet.cli import main as cli


@pytest.fixture(autouse=True, scope="module")
def no_sync():
    with toys.no_sync():
        yield


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy(monkeypatch):
    """Let a search train toys in this process, and draw no figures, which takes longest."""
    play(monkeypatch)


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory):
    """Return a folder with images and the run folder ``S`` of a complete search on them."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        play(patch)
        patch.chdir(folder)
        write_npz("photos.npz")
        assert cli.main(searching()) == 0
    return folder


@pytest.fixture
def finished(three_trials, here, capsys):
    """Put a complete search into the working folder."""
    shutil.copytree(three_trials, here, dirs_exist_ok=True)
    capsys.readouterr()
