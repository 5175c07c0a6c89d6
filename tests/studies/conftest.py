import pytest
import toys
from runs_of_toys import write_toys


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a test in an empty folder with a toy network and toy images."""
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="package")
def quick():
    with toys.quick():
        yield
