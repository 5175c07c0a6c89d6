import math

import numpy as np
import pytest
import torch

from rexnet import runs
from rexnet.train.distributed import World
from rexnet.train.evaluate import Evaluation, evaluate, write_evaluation

pytestmark = pytest.mark.numeric

HERE = World(rank=0, size=1, device=torch.device("cpu"))


class Given(torch.nn.Module):
    """Returns its input, shape (N, classes, 1, 1), as logits."""

    def forward(self, x):
        return x.flatten(1)


def evaluated(logits, labels, size=3):
    x, y = torch.tensor(logits)[:, :, None, None], torch.tensor(labels)
    return evaluate(Given(), zip(x.split(size), y.split(size), strict=True), HERE)


def test_the_numbers_are_those_of_torch_and_numpy():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(200, 12)).astype(np.float32)
    labels = generator.integers(0, 12, 200)
    found = evaluated(logits, labels, size=64)
    order = np.argsort(-logits, axis=1)
    assert found.top1 == pytest.approx((order[:, 0] == labels).mean())
    assert found.top5 == pytest.approx((order[:, :5] == labels[:, None]).any(1).mean())
    loss = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert found.loss == pytest.approx(loss.item(), rel=1e-6)
    assert found.num_images == found.confusion[:, 2].sum() == 200
    assert found.standard_error == pytest.approx(math.sqrt(found.top1 * (1 - found.top1) / 200))
    assert found.images_per_second > 0
    for label, counts in enumerate(found.taken_for(12)):
        row = np.bincount(order[labels == label, 0], minlength=12)
        assert counts == {other: count for other, count in enumerate(row.tolist()) if count}


def test_fewer_classes_than_five_have_a_top5_of_one():
    assert evaluated([[0.0, 1.0], [1.0, 0.0]], [0, 0]).top5 == 1


def test_the_lines_of_classes_say_what_they_are_mistaken_for(tmp_path):
    confusion = np.array([[0, 0, 3], [0, 1, 1], [2, 0, 2], [2, 2, 2]])
    evaluation = Evaluation(
        top1=5 / 8, top5=1, loss=0.5, num_images=8, images_per_second=9, confusion=confusion
    )
    write_evaluation(tmp_path, evaluation, ("cat", "dog", "owl"))
    rows = runs.read_jsonl(tmp_path / "classes.jsonl")
    assert [row["class"] for row in rows] == ["cat", "dog", "owl"]
    assert [row["top1"] for row in rows] == [0.75, None, 0.5]
    assert [row["mistaken_for"] for row in rows] == ["dog", None, "cat"]
    assert [row["times"] for row in rows] == [1, 0, 2]
    assert [row["taken_for"] for row in rows] == [{"0": 3, "1": 1}, {}, {"0": 2, "2": 2}]
    result = runs.read_json(tmp_path / "result.json")
    assert result["top1"] == 5 / 8
    assert result["num_images"] == 8


def test_what_is_kept_of_many_classes_grows_with_the_images_alone(tmp_path):
    num_classes, labels = 4000, [0, 1, 1, 3999]
    logits = torch.zeros(4, num_classes)
    logits[range(4), [0, 1, 3999, 7]] = 1
    found = evaluated(logits.tolist(), labels)
    assert found.confusion.tolist() == [[0, 0, 1], [1, 1, 1], [1, 3999, 1], [3999, 7, 1]]
    names = tuple(map(str, range(num_classes)))
    write_evaluation(tmp_path, found, names)
    rows = runs.read_jsonl(tmp_path / "classes.jsonl")
    assert rows[1]["taken_for"] == {"1": 1, "3999": 1}
    assert [row["top1"] for row in rows].count(None) == num_classes - 3
    assert (tmp_path / "classes.jsonl").stat().st_size < 120 * num_classes


def test_a_process_without_images_has_nothing_to_add():
    found = evaluate(Given(), [], Others(rank=1, size=1, device=torch.device("cpu")))
    assert (found.top1, found.num_images) == (0.5, 2)
    assert found.confusion.tolist() == [[0, 0, 1], [1, 0, 1]]


class Others(World):
    """Another process has two images, of which one is right; the loss is that of chance."""

    def sum(self, tensor):
        return tensor + torch.tensor([2, 2 * math.log(2), 2], dtype=tensor.dtype)

    def gathered(self, rows):
        return [np.array([[0, 0], [1, 0]]), *rows]
