import pytest
import toys
from scenes import write_scenes


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a test in an empty folder with a toy network and scenes."""
    write_scenes(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="package")
def quick():
    with toys.quick():
        yield
