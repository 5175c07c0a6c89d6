import dataclasses
import math

import pytest
from one_by_one import train_here
from runs_of_toys import QUICK, config, write_toys

from rexnet import NetSpec, UserError, families, runs
from rexnet.cost import count
from rexnet.paper import TABLE_A2
from rexnet.studies import activations
from rexnet.studies.activations import summarise, verdict, with_activation
from rexnet.studies.config import ActivationStudy
from rexnet.train import job


def row(activation, top1, top5=0.9, seed=0):
    return {
        "activation": activation,
        "seed": seed,
        "top1": top1,
        "top5": top5,
        "macs": 5,
        "params": 7,
    }


def run(config, on_progress=lambda progress: None):
    return activations.run(config, on_progress, train_here)


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
    assert (silu["paper_top1"], silu["paper_top5"]) == TABLE_A2["silu"] == (77.9, 93.9)


def test_the_papers_own_numbers_agree_with_the_paper():
    rows = [row(name, top1 / 100) for name, (top1, _) in TABLE_A2.items()]
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
    table = run(study(activations=("relu6", "silu")), seen.append)
    assert [line["activation"] for line in table] == ["relu6", "silu"]
    assert [line["seeds"] for line in table] == [2, 2]
    assert (seen[-1].words, seen[-1].share) == ("4/4 trainings, time left 0:00", 1)
    rows = runs.read_jsonl(here / "S" / "trainings.jsonl")
    assert {(r["activation"], r["seed"]) for r in rows} == {
        (name, seed) for name in ("relu6", "silu") for seed in (0, 1)
    }
    assert runs.read_json(here / "S" / "silu-1" / "train.json")["seed"] == 1
    (here / "S" / "silu-1" / "result.json").unlink()
    assert run(study(activations=("relu6", "silu")), seen.append) == table
    assert seen[-1].words.startswith("4/4 trainings")


OTHERS = {
    "model.name is search_3b, not other, model.spec_id is ": {"model": "other.json"},
    "data.name is toys.npz .train., not few.npz .train., ": {"data": "few.npz"},
    "recipe.epochs is 1, not 3": {"set": QUICK},
    "precision is float32, not bfloat16": {"set": (*QUICK, "epochs=1", "precision=bfloat16")},
}


def test_a_folder_asked_for_something_else_is_refused_and_not_harmed(here):
    spec = NetSpec.load("toy.json")
    other = dataclasses.replace(spec, name="other", blocks=spec.blocks[:2])
    (here / "other.json").write_text(other.to_json(), encoding="utf-8")
    (here / "data").mkdir()
    write_toys(here / "data", num_images=40)
    (here / "data" / "toys.npz").rename("few.npz")
    quick = {"activations": ("silu",), "seeds": 1}
    table = run(study(**quick))
    before = contents(here / "S")
    for wanted, changes in OTHERS.items():
        with pytest.raises(UserError, match=f"S holds a study of activations .*{wanted}.*--out"):
            run(study(**quick | changes))
    with pytest.raises(UserError, match="S holds a study of activations, not a training; give"):
        job.run(config(out="S"), lambda progress: None)
    with pytest.raises(UserError, match="S/silu-0 holds a training, not a study of activations"):
        run(study(**quick, out="S/silu-0"))
    assert contents(here / "S") == before
    # The same images elsewhere are the same; so is a folder from before there were marks.
    (here / "S" / "activations.json").unlink()
    moved = str((here / "toys.npz").rename(here / "data" / "moved.npz"))
    assert run(study(**quick, data=moved)) == table
    assert runs.read_json(here / "S" / "activations.json")["model"]["name"] == "search_3b"
    mark = (here / "S" / "activations.json").rename(here / "mark.json")
    before = contents(here / "S")
    with pytest.raises(UserError, match=r"S/silu-0 holds a training of another .*recipe\.epochs"):
        run(study(**quick, data=moved, set=QUICK))
    with pytest.raises(UserError, match=r"S has files but no activations\.json; give another"):
        run(study(data=moved, activations=("elu",)))
    assert contents(here / "S") == before
    mark.rename(here / "S" / "activations.json")
    (here / "S" / "silu-0" / "train.json").unlink()
    with pytest.raises(UserError, match=r"S/silu-0 has files but no train\.json; give another"):
        run(study(**quick, data=moved))


def contents(folder):
    """Return what is in the visible files of a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in paths}


def test_a_training_that_fails_is_named(here):
    broken = study(activations=("silu",), seeds=1, set=(*QUICK, "optimizer=nosuch"))
    with pytest.raises(UserError, match=r"training in S/silu-0 failed: .*nosuch"):
        activations.run(broken, lambda progress: None)


def test_the_wrong_model_leaves_nothing_behind(here):
    with pytest.raises(UserError, match="unknown model"):
        run(study(model="rexnet_1.O"))
    assert not (here / "S").exists()
