import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rexnet import UserError
from rexnet.runs.parallel import at_a_time, run_all
from rexnet.runs.progress import Progress

WORDS = {"name": "training", "done_words": "trainings"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(config, on_progress):
    """Write a result, or fail, or die."""
    on_progress(Progress(share=0.5, words="half"))
    if config.out.startswith("die"):
        os._exit(3)
    if config.out.startswith("fail"):
        raise UserError("no room")
    Path(config.out).mkdir()
    (Path(config.out) / "result.json").write_text("{}")


def configs(*names):
    return [SimpleNamespace(out=name) for name in names]


def test_what_has_a_result_is_not_trained_again(here):
    Path("a").mkdir()
    Path("a/result.json").write_text("mine")
    seen = []
    run_all(job, configs("a", "b", "c"), 2, seen.append, **WORDS)
    assert Path("a/result.json").read_text() == "mine"
    assert Path("b/result.json").read_text() == Path("c/result.json").read_text() == "{}"
    assert (seen[-1].words, seen[-1].share) == ("3/3 trainings, time left 0:00", 1)


@pytest.mark.parametrize(
    ("name", "wanted"), [("fail", "no room"), ("die", "its process died, exit code 3")]
)
def test_a_training_that_fails_is_named(name, wanted, here):
    with pytest.raises(UserError, match=f"the training in {name} failed: {wanted}"):
        run_all(job, configs(name), 1, lambda progress: None, **WORDS)


def test_one_a_core_on_a_cpu():
    assert at_a_time(3, "cpu") == 3
    assert at_a_time(None, "cpu") == os.cpu_count()
    assert at_a_time(None, "cuda") == 1
