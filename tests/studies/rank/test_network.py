import numpy as np
import pytest
import torch

from rexnet import create_model, families, runs, save_pretrained
from rexnet.cli import main as cli
from rexnet.studies.rank import network
from rexnet.studies.rank.config import NetworkStudy

pytestmark = pytest.mark.numeric


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = families.search_network((8, 12, 20), 10, 32)
    (tmp_path / "small.json").write_text(spec.to_json(), encoding="utf-8")
    return tmp_path


def test_a_matrix_of_repeated_rows_has_the_rank_of_the_others():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((5, 400))
    matrix = rows[[0, 1, 2, 3, 4, 4, 3, 0]]
    found = network.spectrum(matrix @ matrix.T / 400)
    assert found["rank"] == 5
    assert found["rank_ratio"] == 5 / 8
    values = np.linalg.svd(matrix, compute_uv=False) / 20
    assert found["singular_values"][:5] == pytest.approx(values[:5].tolist())
    assert found["nuclear_norm"] == pytest.approx(values.sum(), rel=1e-5)


def test_equal_singular_values_have_the_full_effective_rank():
    found = network.spectrum(np.eye(6))
    assert found["effective_rank"] == pytest.approx(6)
    assert network.spectrum(np.diag([1.0, 0, 0, 0]))["effective_rank"] == pytest.approx(1)
    assert network.spectrum(np.zeros((4, 4)))["effective_rank"] == 0


def test_the_lines_are_those_of_the_outputs_of_blocks(here):
    told = []
    torch.manual_seed(0)
    rows, is_trained = network.run(
        NetworkStudy(model="small.json", data="sample", images=40, out="out"),
        told.append,
    )
    assert (told[-1].words, told[-1].share) == ("40/40 images", 1)
    assert not is_trained
    assert runs.read_jsonl(here / "out" / "blocks.jsonl") == rows
    assert [row["block"] for row in rows] == [1, 2, 3, 0]
    assert [row["width"] for row in rows] == [8, 12, 20, 1280]
    assert [row.get("ratio") for row in rows] == [16 / 8, 8 / 12, 12 / 20, None]
    # The final feature of 40 images cannot have more.
    assert rows[-1]["rank"] <= 40
    torch.manual_seed(0)
    model = create_model("small.json").eval()
    assert model.spec.widths == (8, 12, 20)


@pytest.mark.parametrize("rank", [1, 7, 10])
def test_a_block_built_to_have_a_rank_is_reported_with_it(rank, here, capsys):
    torch.manual_seed(0)
    model = create_model("small.json")
    # The last block has a stride, so nothing is added to what its projection makes.
    conv = model.blocks[2].project.conv
    with torch.no_grad():
        conv.weight.copy_(conv.weight[torch.arange(20) % rank])
    save_pretrained(model, "built")
    study = ["study", "rank", "--model", "built", "--data", "sample", "--images", "64"]
    assert cli.main([*study, "--out", "out"]) == 0
    rows = runs.read_jsonl(here / "out" / "blocks.jsonl")
    assert (rows[2]["rank"], rows[2]["rank_ratio"]) == (rank, rank / 20)
    assert f"{rank / 20:.3f}" in capsys.readouterr().out
    assert rows[1]["rank"] > rank or rank > 7
    assert cli.main([*study, "--out", "out"]) == 0
    before = (here / "out" / "blocks.jsonl").read_bytes()
    with torch.no_grad():
        conv.weight *= 2
    save_pretrained(model, "built")
    capsys.readouterr()
    assert cli.main([*study, "--out", "out"]) == 2
    assert "out holds a rank study of a network of another configuration: weights is" in (
        capsys.readouterr().err
    )
    assert (here / "out" / "blocks.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "small.json"], "--model needs --data"),
        (["--data", "sample"], "--data goes with --model"),
        (["--model", "timm:test_resnet", "--data", "sample"], "is no classifier of this package"),
        (["--model", "nothing", "--data", "sample"], "unknown model 'nothing'"),
        (["--model", "small.json", "--data", "sample", "--images", "1"], "images 1 must be from 2"),
        (["--functions", "silo"], "did you mean silu?"),
        (["--ratios", "3"], "must be from 0.05 to 1"),
        (["--networks", "x"], "'x' must be a whole number"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, message, here, capsys):
    assert cli.main(["study", "rank", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "runs").exists()


def test_the_command_prints_and_draws_both_studies(here, capsys):
    assert cli.main(["study", "rank", "--model", "small.json", "--data", "sample", "--images", "8",
                     "--out", "a"]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "effective rank" in printed
    assert "The weights are random." in printed
    small = ["--architectures", "pointwise", "--ratios", "0.1", "0.5", "--networks", "3",
             "--widths", "16", "20", "--functions", "relu", "silu", "--out", "b"]  # fmt: skip
    assert cli.main(["study", "rank", *small]) == 0
    printed = capsys.readouterr().out
    assert "3 networks a point" in printed
    assert "from what was read off Figure 1, where the aim is 0.02" in printed
    for path in ("a/network.png", "a/network.svg", "b/rank.png", "b/rank.svg", "b/points.jsonl"):
        assert (here / path).stat().st_size > 100
