import json

import numpy as np
import torch
from photographs import write_splits
from resuming import together

from rexnet import UserError, runs
from rexnet.data.sources import open_images
from rexnet.train.distributed import World, joined
from rexnet.train.run_folder import sound

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def write_photographs(folder):
    """Write 130 photographs to train on, of which two are cut, and return both parts."""
    write_splits(folder, train={"cat": 66, "dog": 64})
    train, val = open_images(str(folder))
    for index in (4, 129):
        with open(train.where(index), "r+b") as file:
            file.truncate(100)
    return train, val


def look(folder, skip_corrupt):
    """Write down what each of several processes finds, and which images it read itself."""
    told = []
    with joined("cpu") as world:
        place = folder / f"{world.rank}.json"
        try:
            data = sound(open_images(str(folder)), folder / "out", world, skip_corrupt, told.append)
        except UserError as error:
            runs.write_json(place, str(error))
            return
    train = data.examined[0]
    assert train is not None
    found = [train.damage, train.digests.tolist(), data.corrupt[0], data.train.labels.tolist()]
    runs.write_json(place, [*found, len(told)])


def test_every_process_reads_a_share_and_knows_the_whole(tmp_path):
    train, val = write_photographs(tmp_path)
    assert together(2, look, tmp_path, True) == [0, 0]
    first, second = (runs.read_json(tmp_path / f"{rank}.json") for rank in range(2))
    whole = sound((train, val), tmp_path / "out", ALONE, True, lambda progress: None)
    facts = whole.examined[0]
    assert facts is not None
    expected = [
        facts.damage,
        facts.digests.tolist(),
        whole.corrupt[0],
        whole.train.labels.tolist(),
        # Two parts of a share of 65 to train on and one of 2 to validate on.
        3,
    ]
    assert first == second == json.loads(json.dumps(expected))
    assert sorted(facts.damage) == [4, 129]
    assert len(whole.train) == 128


def test_corrupt_images_end_all_processes_with_the_reason(tmp_path):
    train, _ = write_photographs(tmp_path)
    assert together(2, look, tmp_path, False) == [0, 0]
    first, second = (runs.read_json(tmp_path / f"{rank}.json") for rank in range(2))
    assert first == second
    assert first.startswith(f"2 of 130 images are corrupt: {train.where(4)} (")


def test_images_that_were_looked_at_before_are_not_read_again(tmp_path):
    train, val = write_photographs(tmp_path)
    found = sound((train, val), tmp_path, ALONE, True, lambda progress: None)
    pairs = dict(zip(found.fingerprints, found.corrupt, strict=True))
    runs.write_json(tmp_path / "images.json", pairs)
    told = []
    again = sound((train, val), tmp_path, ALONE, True, told.append)
    assert told == []
    assert again.corrupt == found.corrupt
    assert again.examined == (None, None)
    np.testing.assert_array_equal(again.train.labels, found.train.labels)
