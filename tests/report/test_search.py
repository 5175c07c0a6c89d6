import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toys import failed, made_up_rows, write_run

from rexnet import UserError
from rexnet.report.search import page, write_report
from rexnet.search.results import read_search

EXTERNAL = ("script", "link", "img", "iframe", "object", "embed", "base", "video", "audio", "form")


class Reader(HTMLParser):
    """Collects the text of a page and what it might load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        for name, value in attributes:
            if name.rpartition(":")[2] in ("src", "href", "srcset", "data", "action"):
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data)
        if self.rows and data.strip():
            self.rows[-1].append(data.strip())


def page_of(folder):
    """Return the page of a run folder, read; the figure, which takes most of the time, is empty."""
    return Reader(page(read_search(folder), "<svg></svg>"))


def drawn_page_of(folder):
    """Draw the report of a run folder and return its page, read."""
    write_report(folder)
    return Reader((folder / "report.html").read_text(encoding="utf-8"))


def some_rows(count):
    rows = made_up_rows(count)
    if count > 4:
        rows[1] = failed(rows[1], "diverged", "loss nan at step 3 of 7")
        rows[3] = failed(rows[3], "died", "exit code -9")
    return rows


def test_a_report_is_a_page_and_its_figure_twice(tmp_path):
    write_run(tmp_path, made_up_rows(12))
    paths = write_report(tmp_path)
    assert [path.name for path in paths] == ["report.html", "profile.png", "profile.svg"]
    assert all(path.parent == tmp_path and path.stat().st_size > 1000 for path in paths)


def test_the_page_is_whole_in_itself(tmp_path):
    found = drawn_page_of(write_run(tmp_path, some_rows(20)))
    assert not {*found.tags} & {*EXTERNAL}
    assert all(link.startswith("#") for link in found.links)
    style = (tmp_path / "report.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style
    assert found.tags.count("svg") == 1


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_searches_of_any_size_are_reported_with_every_trial(tmp_path, count):
    rows = some_rows(count)
    found = page_of(write_run(tmp_path, rows))
    trained = [row for row in rows if row["state"] == "complete"]
    assert f"{len(trained)} networks of 5 blocks on toy images" in found.text
    for name in ("top 10 %", "middle 50-60 %", "bottom 10 %"):
        assert any(row[:1] == [name] for row in found.rows)
    for row in rows:
        assert "-".join(map(str, row["widths"])) in found.text
    best = max(trained, key=lambda row: row["accuracy"])
    assert f"{100 * best['accuracy']:.1f} % of the held-out images" in found.text


def test_networks_that_were_not_trained_to_the_end_are_listed_with_their_reason(tmp_path):
    found = page_of(write_run(tmp_path, some_rows(20)))
    assert "18 trained, 0 pruned, 1 diverged, 1 died" in found.text
    assert any({"diverged", "loss nan at step 3 of 7"} <= {*row} for row in found.rows)
    assert any({"died", "exit code -9"} <= {*row} for row in found.rows)


@pytest.mark.parametrize("counted", [True, False])
def test_the_page_says_whether_the_classifier_counts(tmp_path, counted):
    write_run(tmp_path, made_up_rows(3))
    identity = json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))
    identity["space"]["budget"]["count_classifier"] = counted
    (tmp_path / "search.json").write_text(json.dumps(identity), encoding="utf-8")
    text = page_of(tmp_path).text
    word, other = ("with", "without") if counted else ("without", "with")
    assert f"({word} the classifier)" in text
    assert f"80,000 params {word} the classifier" in text
    assert f"({other} the classifier)" not in text


@pytest.mark.parametrize(("num_train", "few"), [(4000, True), (45_000, False)])
def test_the_page_says_what_few_images_cannot_show(tmp_path, num_train, few):
    found = page_of(write_run(tmp_path, made_up_rows(3), num_train=num_train))
    assert ("4,000 training images and 30 epochs" in found.text) == few
    assert ("cannot show the paper's finding" in found.text) == few


def test_noise_is_printed_where_it_was_measured(tmp_path):
    once = page_of(write_run(tmp_path / "once", made_up_rows(3))).text
    assert "noise between seeds was not measured" in once
    assert "--repeats 3" in once
    often = page_of(write_run(tmp_path / "often", made_up_rows(3, repeats=3))).text
    assert "have a standard deviation of 1.00 points" in often
    assert "3 repeats each" in often


def test_counting_error_is_that_of_a_share_of_the_held_out_images(tmp_path):
    rows = made_up_rows(2)
    rows[1] |= {"accuracy": 0.5}
    found = page_of(write_run(tmp_path, rows, num_held_out=400))
    assert "Counting 400 held-out images has a standard error of 2.5 points" in found.text


def test_a_partial_search_is_reported_as_such(tmp_path):
    found = page_of(write_run(tmp_path, made_up_rows(3), num_trials=20))
    assert "The search is not complete: 3 of 20 networks are trained." in found.text


def test_a_stopped_search_is_reported_with_its_reason(tmp_path):
    reason = "no draw gave a network that is new"
    found = page_of(write_run(tmp_path, made_up_rows(3), num_trials=9, reason=reason))
    assert f"It stopped because {reason}." in found.text


def test_a_complete_search_is_not_called_partial(tmp_path):
    assert "not complete" not in page_of(write_run(tmp_path, made_up_rows(3))).text


def test_protocol_sampler_and_machine_are_printed(tmp_path):
    text = page_of(write_run(tmp_path, made_up_rows(3))).text
    for part in ("30 epochs", "batches of 64", "peak learning rate 0.1", "weight decay 0.0005"):
        assert part in text
    assert "name TPE, multivariate True" in text
    assert "2 cores, Linux; Python 3.11.7, rexnet 0.1.0, torch 2.14.1" in text
    assert "shapes rejected" in text


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    write_run(tmp_path, some_rows(12))
    first = [path.read_bytes() for path in write_report(tmp_path)]
    assert [path.read_bytes() for path in write_report(tmp_path)] == first


@pytest.mark.parametrize("name", ["<b>&amp;</b>", "$x^$ and 50 % of a_b"])
def test_names_of_images_are_printed_as_they_are(tmp_path, name):
    found = drawn_page_of(write_run(tmp_path, made_up_rows(2), name=name))
    assert f"on {name}: at most" in found.text
    assert "b" not in found.tags


def test_a_report_that_cannot_be_written_is_named(tmp_path):
    write_run(tmp_path, made_up_rows(3))
    Path(tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path / 'report.html'}: "):
        write_report(tmp_path)
