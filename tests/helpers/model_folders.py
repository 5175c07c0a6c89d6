"""Model folders, ours and timm's, and the cache of the hub."""

import hashlib
import json

import timm
import torch
from strategies import randomise
from timm.models import save_for_hf

from rexnet import BlockSpec, NetSpec
from rexnet.nn.network import Network
from rexnet.preprocessing import Preprocessing

ODD = Preprocessing(
    resolution=40, crop=0.9, interpolation="bilinear", mean=(0.1, 0.2), std=(0.3, 0.4)
)
CLASSES = ("cat", "dog", "crane, the bird")

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2, expansion=1), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
    penultimate_width=16,
    num_classes=3,
    in_channels=2,
)


def trained():
    """Return a small model with everything that a trained one has."""
    torch.manual_seed(0)
    model = Network(SMALL)
    randomise(model)
    model.preprocessing, model.classes = ODD, CLASSES
    return model


def timm_model(**options):
    torch.manual_seed(0)
    model = timm.create_model("rexnet_100", **options)
    randomise(model)
    return model


def timm_folder(folder, change=None, **options):
    """Write a model folder as timm does, with changes to its config, and return its model."""
    model = timm_model(**options)
    save_for_hf(model, folder, safe_serialization=True)
    if change:
        edit(folder, change)
    return model


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def into_cache(cache, repository, folder, commit="1" * 40, revision="main"):
    """Lay the files of ``folder`` out as huggingface_hub lays out what it downloaded."""
    place = cache / f"models--{repository.replace('/', '--')}"
    for name in ("blobs", "refs", f"snapshots/{commit}"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "refs" / revision).write_text(commit, encoding="utf-8")
    for file in folder.iterdir():
        blob = hashlib.sha256(file.read_bytes()).hexdigest()
        (place / "blobs" / blob).write_bytes(file.read_bytes())
        (place / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{blob}")
