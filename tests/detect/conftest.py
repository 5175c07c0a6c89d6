import pytest
import torch
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
    """Use one thread, and let no file wait for the disk."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with toys.no_sync():
        yield
    torch.set_num_threads(threads)
