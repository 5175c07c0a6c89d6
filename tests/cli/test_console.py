from io import StringIO

from rich.console import Console

from rexnet.cli.console import Bar, table
from rexnet.runs.progress import Progress


def test_a_long_name_goes_on_in_the_next_line():
    stream = StringIO()
    name = "timm:tf_efficientnet_b0.ns_jft_in1k"
    Console(file=stream, width=30).print(table(("backbone", "params"), [(name, "6.2M")]))
    words = stream.getvalue().split()
    assert name in "".join(words).replace("6.2M", "")


def shown(*progress):
    """Return the lines of a log."""
    stream = StringIO()
    with Bar(Console(file=stream, width=80), "working", "Ctrl-C stops.") as bar:
        for one in progress:
            bar.update(one)
    return stream.getvalue().splitlines()


def test_a_log_gets_the_opening_and_a_line_at_every_tenth():
    told = [Progress(share=n / 20, words=f"{n}/20 done") for n in range(5)]
    assert shown(*told) == ["Ctrl-C stops.", "2/20 done", "4/20 done"]


def test_nothing_is_shown_before_the_first_progress():
    assert shown() == []


def test_a_job_may_say_which_words_a_log_gets():
    told = [
        Progress(share=0.1, words="1/10 looked at", line=False),
        Progress(share=0.01, words="epoch 1 ended", line=True),
        Progress(share=0.1, words="10 %"),
    ]
    assert shown(*told) == ["Ctrl-C stops.", "epoch 1 ended", "10 %"]
