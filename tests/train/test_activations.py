import math

import pytest
from runs_of_toys import QUICK

from rexnet import UserError, families, runs
from rexnet.cost import count
from rexnet.train import activations
from rexnet.train.activations import PAPER, summarise, verdict, with_activation
from rexnet.train.config import ActivationStudy


def row(activation, top1, top5=0.9, seed=0):
    return {
        "activation": activation,
        "seed": seed,
        "top1": top1,
        "top5": top5,
        "macs": 5,
        "params": 7,
    }


def study(**changes):
    settings = {"model": "toy.json", "data": "toys.npz", "set": (*QUICK, "epochs=1"), "seeds": 2}
    return ActivationStudy(**settings | {"out": "S", "device": "cpu"} | changes)


def test_the_activation_after_every_expansion_is_replaced_and_nothing_else():
    spec = families.get("rexnet_1.0")
    varied = with_activation(spec, "elu")
    assert [block.expand_act for block in varied.blocks] == ["silu"] + 15 * ["elu"]
    assert varied.penultimate_act == "elu"
    assert varied.stem_act == spec.stem_act == "silu"
    assert {block.depthwise_act for block in varied.blocks} == {"relu6"}
    assert count(varied) == count(spec)
    assert with_activation(spec, "silu").spec_id == spec.spec_id


def test_the_table_has_means_and_standard_errors_over_seeds():
    rows = [row("silu", 0.6), row("elu", 0.5), row("silu", 0.64, seed=1)]
    silu, elu = summarise(rows)
    assert silu["top1"] == pytest.approx(62)
    assert silu["top1_stderr"] == pytest.approx(2 * math.sqrt(2) / math.sqrt(2))
    assert (silu["seeds"], elu["seeds"], elu["top1_stderr"]) == (2, 1, None)
    assert (silu["paper_top1"], silu["paper_top5"]) == PAPER["silu"] == (77.9, 93.9)


def test_the_papers_own_numbers_agree_with_the_paper():
    rows = [row(name, top1 / 100) for name, (top1, _) in PAPER.items()]
    found = verdict(summarise(rows))
    assert found["order"][0] == "silu"
    assert found["order"][-1] == "relu6"
    # Softplus and ELU are equal there: 9 of 10 pairs differ.
    assert (found["pairs"], found["agree"]) == (9, 9)
    assert (found["confirmed"], found["contradicted"]) == (0, 0)


def test_an_order_is_confirmed_or_contradicted_beyond_two_standard_errors():
    def two(name, mean, spread):
        return [row(name, mean - spread), row(name, mean + spread, seed=1)]

    clear = verdict(summarise([*two("relu6", 0.5, 0.01), *two("silu", 0.6, 0.01)]))
    assert (clear["agree"], clear["confirmed"], clear["contradicted"]) == (1, 1, 0)
    noisy = verdict(summarise([*two("relu6", 0.5, 0.05), *two("silu", 0.6, 0.05)]))
    assert (noisy["agree"], noisy["confirmed"], noisy["contradicted"]) == (1, 0, 0)
    wrong = verdict(summarise([*two("relu6", 0.7, 0.01), *two("silu", 0.6, 0.01)]))
    assert (wrong["agree"], wrong["confirmed"], wrong["contradicted"]) == (0, 0, 1)


def test_a_study_trains_every_activation_with_every_seed_and_goes_on(here):
    seen = []
    table = activations.run(study(activations=("relu6", "silu")), seen.append)
    assert [line["activation"] for line in table] == ["relu6", "silu"]
    assert [line["seeds"] for line in table] == [2, 2]
    assert (seen[-1].trained, seen[-1].total, seen[-1].share) == (4, 4, 1)
    rows = runs.read_jsonl(here / "S" / "trainings.jsonl")
    assert {(r["activation"], r["seed"]) for r in rows} == {
        (name, seed) for name in ("relu6", "silu") for seed in (0, 1)
    }
    assert runs.read_json(here / "S" / "silu-1" / "train.json")["seed"] == 1
    (here / "S" / "silu-1" / "result.json").unlink()
    assert activations.run(study(activations=("relu6", "silu")), seen.append) == table
    assert seen[-1].trained == 4


def test_a_training_that_fails_is_named(here):
    (here / "S" / "silu-0").mkdir(parents=True)
    (here / "S" / "silu-0" / "notes").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"training in S/silu-0 failed: .*give another --out"):
        activations.run(study(activations=("silu",), seeds=1), lambda progress: None)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"activations": ("swish",)}, "activation 'swish'"),
        ({"activations": ("silu", "silu")}, "must be different"),
        ({"activations": ()}, "at least one"),
        ({"seeds": 0}, "seeds 0 must be from 1"),
        ({"parallel": 0}, "parallel 0 must be from 1"),
    ],
)
def test_a_wrong_setting_is_told(changes, wanted):
    with pytest.raises(UserError, match=wanted):
        study(**changes)


def test_the_wrong_model_leaves_nothing_behind(here):
    with pytest.raises(UserError, match="unknown model"):
        activations.run(study(model="rexnet_1.O"), lambda progress: None)
    assert not (here / "S").exists()
