import annotations_to_read
import pytest


@pytest.fixture
def two_images(tmp_path, monkeypatch):
    """Run a test in a folder with ``images``, those of ``annotations_to_read``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    annotations_to_read.write_images()
    return tmp_path
