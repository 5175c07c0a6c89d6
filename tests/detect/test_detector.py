import pytest
import torch
from scenes import SETTINGS, config
from torch import nn
from torch.nn import functional as F

from rexnet import UserError, runs
from rexnet.detect import job
from rexnet.detect.cost import count
from rexnet.detect.detector import Detections, Detector
from rexnet.detect.heads import HEADS
from rexnet.detect.hub import load_detector
from rexnet.detect.validate import predict


class OneBox(Detector):
    """Finds a single object in an image: a class, and a box, from the mean of the last map."""

    architecture = "one_box"
    outputs = ("classes", "box")

    def __init__(self, backbone, classes, category_ids=None, **options):
        super().__init__(backbone, classes, category_ids, **options)
        self.classify = nn.Linear(backbone.widths[1], len(classes))
        self.place = nn.Linear(backbone.widths[1], 4)

    def heads(self, maps):
        x = maps[-1].mean((2, 3))
        return self.classify(x), self.place(x).sigmoid()

    def loss(self, raw, targets):
        classes, box = raw
        there = targets[:, 0, 0] > 0
        wanted = targets[there, 0]
        return F.cross_entropy(classes[there], wanted[:, 0].long() - 1) + F.l1_loss(
            box[there], wanted[:, 1:]
        )

    def detections(self, raw, *, score):
        scores, labels = raw[0].softmax(1).max(1)
        found = zip(raw[1], scores, labels, (scores > score)[:, None], strict=True)
        return [
            Detections(boxes=b[None][k], scores=s[None][k], labels=y[None][k])
            for b, s, y, k in found
        ]


TOY = {"one_box": OneBox}


def trained(*changes, heads=TOY):
    settings = (*SETTINGS, "epochs=1", "head=one_box", *changes)
    return job.run(config(set=settings), lambda progress: None, heads=heads)


def test_a_head_from_outside_is_trained_written_and_read(here):
    result = trained()
    model = load_detector(here / "D", TOY)
    assert isinstance(model, OneBox)
    assert (result["params"], result["macs"]) == (count(model).params, count(model).macs)
    assert runs.read_json(here / "D/train.json")["recipe"]["head"] == "one_box"
    ((_, found),) = predict(model, ["scenes/val/images/00.png"], 0.0)
    assert [row["class"] in model.classes for row in found] == [True]
    kept = torch.load(here / "D/last.pt", weights_only=True)["model"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(UserError, match="describes no detector of this package"):
        load_detector(here / "D")


def test_a_head_that_is_not_known_is_told_before_anything_is_written(here):
    with pytest.raises(UserError, match=r"head 'one_box' is not one of ssdlite"):
        trained(heads=HEADS)
    assert not (here / "D").exists()


def test_a_training_by_the_usual_head_is_recorded_as_before_there_were_others(here):
    trained("head=ssdlite", heads=HEADS)
    assert "head" not in runs.read_json(here / "D/train.json")["recipe"]


def test_heads_have_the_names_that_their_files_say():
    assert {name: head.architecture for name, head in HEADS.items()} == {n: n for n in HEADS}
