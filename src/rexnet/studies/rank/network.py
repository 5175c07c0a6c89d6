"""The ranks inside a network: what its blocks make of images (sections 3 and 6)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rexnet import runs
from rexnet.data.image_sets import FileImages, Images
from rexnet.data.loader import LabelledImages, counted, evaluation_batches
from rexnet.data.sources import open_images
from rexnet.data.transforms import evaluation_transform
from rexnet.deploy.models import load
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.nn.weights import digest
from rexnet.runs.progress import OnProgress, counting
from rexnet.studies.rank.config import NetworkStudy
from rexnet.train.config import num_readers

BLOCKS, MARK = "blocks.jsonl", "network.json"

TOLERANCE = 0.01
"""Singular values above this share of the largest one count for the rank."""

BATCH_SIZE = 32


def run(config: NetworkStudy, on_progress: OnProgress) -> tuple[list[dict[str, Any]], bool]:
    """Write ``blocks.jsonl``, a line a block and one of the final feature; tell if it is trained.

    Of a block's output, a matrix of channels by the pixels of all images, a line has
    ``singular_values`` (by the root of the pixels), ``nuclear_norm`` (their sum),
    ``effective_rank`` (the exponential of the entropy of their shares) and ``rank`` (how many
    exceed a hundredth of the largest), the last two also by the channels. ``ratio`` is that of
    input to output channels, ``images`` how many were seen. The final feature, whose ``block`` is
    0, is the average over each image of what the classifier, or the hidden layer before it, is
    given.

    Raises:
        UserError: The model or the images cannot be had, or the folder holds something else or
            cannot be written to.
    """
    model = load(config.model, config.weights)
    network = model.module
    if not isinstance(network, Network):
        raise UserError(f"{config.model} is no classifier of this package")
    folder = Path(config.out)
    images = open_images(config.data)[1]
    left_out = np.random.default_rng(0).permutation(len(images))[config.images :]
    seen = images.without(left_out.tolist())
    identity = {
        "model": {"spec_id": network.spec.spec_id},
        "weights": digest(network) if model.trained else "random",
        "data": {"name": images.name, "fingerprint": images.fingerprint()},
        "images": len(seen),
    }
    with runs.opened(folder, MARK, identity):
        grams = _grams(network, _read(seen, network, counting(on_progress, "images")))
        rows = [{**row, "images": len(seen)} for row in _rows(network, grams)]
        runs.write_jsonl(folder / BLOCKS, rows)
    return rows, model.trained


def spectrum(gram: NDArray[np.float64]) -> dict[str, Any]:
    """Return what a line tells of a matrix M, given M M^T by the number of its columns."""
    values = np.sqrt(np.linalg.eigvalsh(gram)[::-1].clip(0))
    total = float(values.sum())
    shares = values[values > 0] / total if total else values
    effective = float(np.exp(-(shares * np.log(shares)).sum())) if total else 0.0
    rank = int((values > TOLERANCE * values[0]).sum())
    return {
        "nuclear_norm": total,
        "effective_rank": effective,
        "effective_rank_ratio": effective / len(values),
        "rank": rank,
        "rank_ratio": rank / len(values),
        "singular_values": values.tolist(),
    }


def _grams(network: Network, batches: Iterator[tuple[Tensor, Tensor]]) -> list[NDArray[np.float64]]:
    """Return M M^T by the columns of M, of every block's output and of the final feature."""
    sums: list[Any] = [0.0] * (len(network.blocks) + 1)
    counts = [0] * len(sums)
    with torch.inference_mode():
        for x, _ in batches:
            for place, y in enumerate(_outputs(network, x)):
                columns = y.double()
                sums[place] = sums[place] + (columns @ columns.T).numpy()
                counts[place] += columns.shape[1]
    return [total / count for total, count in zip(sums, counts, strict=True)]


def _outputs(network: Network, x: Tensor) -> Iterator[Tensor]:
    """Yield every block's output as channels by pixels, and the final feature, widths by images."""
    x = network.stem_act(network.stem(x))
    for block in network.blocks:
        x = block(x)
        yield x.transpose(0, 1).flatten(1)
    if network.penultimate is not None:
        x = network.penultimate_act(network.penultimate(x))
    yield x.mean((2, 3)).T


def _rows(network: Network, grams: list[NDArray[np.float64]]) -> Iterator[dict[str, Any]]:
    spec = network.spec
    *blocks, final = grams
    for number, (width_in, block, gram) in enumerate(
        zip(spec.widths_in, spec.blocks, blocks, strict=True), 1
    ):
        yield {
            "block": number,
            "width_in": width_in,
            "width": block.width,
            "ratio": width_in / block.width,
            "stride": block.stride,
            "expansion": block.expansion,
            **spectrum(gram),
        }
    yield {"block": 0, "width": len(final), **spectrum(final)}


def _read(
    images: Images, network: Network, on_progress: Callable[[int, int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = evaluation_batches(
        LabelledImages(images, evaluation_transform(network.preprocessing)),
        batch_size=BATCH_SIZE,
        num_workers=num_readers(None, "cpu", 1, from_files=isinstance(images, FileImages)),
    )
    return counted(batches, len(images), on_progress)
