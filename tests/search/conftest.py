import shutil
from pathlib import Path

import pytest
import toys
from searches import config_in, read, run, search
from toys import Toy


@pytest.fixture(autouse=True, scope="package")
def no_sync():
    with toys.no_sync():
        yield


@pytest.fixture(scope="package")
def numbers(tmp_path_factory):
    """Return the numbers of the first trials of the toy search that are trained, not rejected."""
    folder = tmp_path_factory.mktemp("plain")
    search(folder, Toy(), 10)
    return [row["number"] for row in read(folder)]


@pytest.fixture(scope="package")
def three_trials(tmp_path_factory):
    """Return the run folder of a search of three trials that is complete."""
    folder = tmp_path_factory.mktemp("three")
    run(config_in(folder))
    return folder / "S"


@pytest.fixture
def finished(three_trials, tmp_path):
    """Return a copy of a complete search: that of ``config_in(tmp_path)``."""
    return Path(shutil.copytree(three_trials, tmp_path / "S"))
