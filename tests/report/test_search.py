import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toys import failed, made_up_rows, write_run

from rexnet import UserError
from rexnet.report import figures
from rexnet.report.search import write_report

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


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figure out: it takes most of the time, and not every test is about it."""
    monkeypatch.setattr(figures, "search_figure", lambda groups, rows, title: None)
    monkeypatch.setattr(figures, "render", lambda figure, kind: b"<svg></svg>")


def page_of(folder):
    """Draw a run folder and return its page, read."""
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
    page = page_of(write_run(tmp_path, some_rows(20)))
    assert not {*page.tags} & {*EXTERNAL}
    assert all(link.startswith("#") for link in page.links)
    style = (tmp_path / "report.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style
    assert page.tags.count("svg") == 1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_searches_of_any_size_are_reported_with_every_trial(tmp_path, count):
    rows = some_rows(count)
    page = page_of(write_run(tmp_path, rows))
    trained = [row for row in rows if row["state"] == "complete"]
    assert f"{len(trained)} networks of 5 blocks on toy images" in page.text
    for name in ("top 10 %", "middle 50-60 %", "bottom 10 %"):
        assert any(row[:1] == [name] for row in page.rows)
    for row in rows:
        assert "-".join(map(str, row["widths"])) in page.text
    best = max(trained, key=lambda row: row["accuracy"])
    assert f"{100 * best['accuracy']:.1f} % of the held-out images" in page.text


@pytest.mark.usefixtures("undrawn")
def test_networks_that_were_not_trained_to_the_end_are_listed_with_their_reason(tmp_path):
    page = page_of(write_run(tmp_path, some_rows(20)))
    assert "18 trained, 0 pruned, 1 diverged, 1 died" in page.text
    assert any({"diverged", "loss nan at step 3 of 7"} <= {*row} for row in page.rows)
    assert any({"died", "exit code -9"} <= {*row} for row in page.rows)


@pytest.mark.usefixtures("undrawn")
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("num_train", "few"), [(4000, True), (45_000, False)])
def test_the_page_says_what_few_images_cannot_show(tmp_path, num_train, few):
    page = page_of(write_run(tmp_path, made_up_rows(3), num_train=num_train))
    assert ("4,000 training images and 30 epochs" in page.text) == few
    assert ("cannot show the paper's finding" in page.text) == few


@pytest.mark.usefixtures("undrawn")
def test_noise_is_printed_where_it_was_measured(tmp_path):
    once = page_of(write_run(tmp_path / "once", made_up_rows(3))).text
    assert "noise between seeds was not measured" in once
    assert "--repeats 3" in once
    often = page_of(write_run(tmp_path / "often", made_up_rows(3, repeats=3))).text
    assert "have a standard deviation of 1.00 points" in often
    assert "3 repeats each" in often


@pytest.mark.usefixtures("undrawn")
def test_counting_error_is_that_of_a_share_of_the_held_out_images(tmp_path):
    rows = made_up_rows(2)
    rows[1] |= {"accuracy": 0.5}
    page = page_of(write_run(tmp_path, rows, num_held_out=400))
    assert "Counting 400 held-out images has a standard error of 2.5 points" in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_partial_search_is_reported_as_such(tmp_path):
    page = page_of(write_run(tmp_path, made_up_rows(3), num_trials=20))
    assert "The search is not complete: 3 of 20 networks are trained." in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_search_is_reported_with_its_reason(tmp_path):
    reason = "no draw gave a network that is new"
    page = page_of(write_run(tmp_path, made_up_rows(3), num_trials=9, reason=reason))
    assert f"It stopped because {reason}." in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_complete_search_is_not_called_partial(tmp_path):
    assert "not complete" not in page_of(write_run(tmp_path, made_up_rows(3))).text


@pytest.mark.usefixtures("undrawn")
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
    page = page_of(write_run(tmp_path, made_up_rows(2), name=name))
    assert f"on {name}: at most" in page.text
    assert "b" not in page.tags


def test_a_folder_without_a_search_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"no run folder of a search: it has no search\.json"):
            write_report(folder)


def test_a_search_without_a_trained_network_is_refused(tmp_path):
    write_run(tmp_path / "none", [])
    write_run(tmp_path / "failed", [failed(row, "died", "") for row in made_up_rows(2)])
    for name in ("none", "failed"):
        with pytest.raises(UserError, match="no network that was trained to the end"):
            write_report(tmp_path / name)


def refusal(folder):
    """Return the one line with which a folder is refused; nothing in it changes."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as error:
        write_report(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("line", ['{"number": 1, "sta', "", "7", "null"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = write_run(tmp_path, made_up_rows(3)) / "trials.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert f"{path} is damaged at line 2 of 3" in refusal(tmp_path)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "field",
    ["number", "state", "widths", "params", "macs", "total_params", "accuracy", "accuracies"],
)
def test_a_line_without_a_field_is_named(tmp_path, field):
    rows = made_up_rows(3)
    del rows[2][field]
    message = refusal(with_rows(tmp_path, rows))
    assert str(tmp_path / "trials.jsonl") in message
    assert "line 3" in message
    assert field in message


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy", None),
        ("accuracy", "good"),
        ("widths", "8-10-12"),
        ("widths", []),
        ("widths", [8, 10]),
        ("params", "many"),
        ("accuracies", None),
        ("seconds", None),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_by_name(tmp_path, field, value):
    rows = made_up_rows(3)
    rows[2][field] = value
    message = refusal(with_rows(tmp_path, rows))
    assert str(tmp_path / "trials.jsonl") in message
    assert field in message


def with_rows(folder, rows):
    """Write a good run folder, then ``rows`` in place of its trials."""
    write_run(folder, made_up_rows(3))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "trials.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["search.json", "result.json", "environment.json"])
@pytest.mark.parametrize("content", ["", '{"space": {', "{}", "[]", "null"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = write_run(tmp_path, made_up_rows(3)) / name
    path.write_text(content, encoding="utf-8")
    assert str(path) in refusal(tmp_path)


@pytest.mark.parametrize("name", ["trials.jsonl", "result.json", "environment.json"])
def test_a_missing_file_is_named(tmp_path, name):
    path = write_run(tmp_path, made_up_rows(3)) / name
    path.unlink()
    assert f"cannot read {path}: No such file" in refusal(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_cannot_be_written_is_named(tmp_path):
    write_run(tmp_path, made_up_rows(3))
    Path(tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path / 'report.html'}: "):
        write_report(tmp_path)
