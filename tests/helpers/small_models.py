"""Small models and plain readers of files, shared by the tests of deployment."""

import json
import subprocess
import sys

import numpy as np
import torch

from rexnet import create_model, families, save_pretrained
from rexnet.deploy import parity
from rexnet.detect.backbone import create_backbone
from rexnet.detect.detector import of_detector
from rexnet.detect.heads.ssdlite import SSDLite
from rexnet.detect.hub import save_detector
from rexnet.nn.weights import save_weights

SPEC = families.search_network((8, 8, 16), 10, 32)

FITTED = families.search_network((8, 12, 16), 10, 32)
"""The network on the line of ``write_search``."""

READERS = {
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
words = session.get_modelmeta().custom_metadata_map
outputs = [session.run(None, {"images": x}) for x in batches]
""",
    "openvino": """
import openvino
model = openvino.Core().read_model(path)
keys = json.loads(sys.argv[3])
words = {key: model.get_rt_info(["rexnet", key]).astype(str) for key in keys}
settings = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = openvino.compile_model(model, "CPU", settings)
outputs = [[np.array(y) for y in compiled(x).values()] for x in batches]
""",
    "executorch": """
import torch
from executorch.runtime import Runtime
program = Runtime.get().load_program(path)
words = json.loads(program.load_method("metadata").execute([])[0])
forward = program.load_method("forward")
outputs = [[y.numpy() for y in forward.execute([torch.from_numpy(x)])] for x in batches]
""",
}

PLAIN = """
import json, sys
import numpy as np
sys.modules["rexnet"] = None
path, batches = sys.argv[1], np.load(sys.argv[2])
batches = [batches[name] for name in batches.files]
{reader}
np.savez(sys.argv[2], *(y for found in outputs for y in found))
print(json.dumps(words))
"""


def network():
    """Return a network whose outputs depend on all its layers."""
    torch.manual_seed(0)
    model = parity.stirred(create_model(SPEC).eval(), parity.batches((3, 32, 32))[-1])
    model.classes = tuple(f"class {number}" for number in range(10))
    return model


def write_network(folder):
    """Write ``network`` as a model folder and return it."""
    model = network()
    save_pretrained(model, folder)
    return model


def write_search(folder):
    """Write what a search leaves of its networks, ``network`` the best, and return that."""
    model = network()
    save_weights(model, folder / "best.safetensors")
    for name, spec in (("best.json", model.spec), ("spec.json", FITTED)):
        (folder / name).write_text(spec.to_json(), encoding="utf-8")
    data = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
    (folder / "search.json").write_text(json.dumps({"data": data}), encoding="utf-8")
    return model


def write_detector(folder, loss="focal"):
    """Write a small detector for 64 pixels and return it."""
    torch.manual_seed(0)
    (folder.parent / "toy.json").write_text(SPEC.to_json(), encoding="utf-8")
    backbone = create_backbone(str(folder.parent / "toy.json"))
    preprocessing = of_detector(backbone.preprocessing, 64)
    model = SSDLite(backbone, ("cat", "dog"), (17, 3), preprocessing=preprocessing, criterion=loss)
    model = parity.stirred(model.eval(), parity.batches((3, 64, 64))[-1])
    save_detector(model, folder)
    return model


def read_plainly(kind, path, batches, keys, scratch):
    """Open a file in a process that cannot import rexnet.

    Returns:
        What the file says of itself, and a list of its outputs for each batch.
    """
    np.savez(scratch, *batches)
    code = PLAIN.format(reader=READERS[kind])
    arguments = [sys.executable, "-I", "-c", code, str(path), str(scratch), json.dumps(list(keys))]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(scratch) as found:
        arrays = [found[name] for name in found.files]
    count = len(arrays) // len(batches)
    outputs = [arrays[start : start + count] for start in range(0, len(arrays), count)]
    return json.loads(done.stdout.splitlines()[-1]), outputs
