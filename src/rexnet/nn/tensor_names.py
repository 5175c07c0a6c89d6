"""The names that other programs give the tensors of a network."""

from collections.abc import Mapping

from torch import Tensor

from rexnet.spec import BlockSpec, NetSpec

EXPANDING = ("expand.conv", "expand.norm")
DEPTHWISE = ("depthwise.conv", "depthwise.norm")
PROJECTING = ("project.conv", "project.norm")


def to_own(tensors: Mapping[str, Tensor], spec: NetSpec) -> dict[str, Tensor]:
    """Return tensors by the names of this package; names that no program gives stay."""
    for namer in (_official_names, _timm_names, _timm_efficientnet_names, _efficientnet_names):
        names = namer(spec)
        if sum(name.rpartition(".")[0] in names for name in tensors) > len(tensors) // 2:
            return {_renamed(name, names): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _renamed(name: str, names: dict[str, str]) -> str:
    module, _, tensor = name.rpartition(".")
    return f"{names.get(module, module)}.{tensor}"


def _official_names(spec: NetSpec) -> dict[str, str]:
    """Map the module names of the authors' checkpoints to this package's."""
    names = {"features.0": "stem.conv", "features.1": "stem.norm"}
    for index, block in enumerate(spec.blocks):
        place = 0
        ours = f"blocks.{index}"
        theirs = f"features.{index + 3}.out"
        for part in ("expand", "depthwise", "project"):
            if part == "expand" and block.expansion == 1:
                continue
            names[f"{theirs}.{place}"] = f"{ours}.{part}.conv"
            names[f"{theirs}.{place + 1}"] = f"{ours}.{part}.norm"
            place += 3
            if part == "depthwise" and block.se_divisor:
                names[f"{theirs}.{place - 1}.fc.0"] = f"{ours}.se.reduce"
                names[f"{theirs}.{place - 1}.fc.1"] = f"{ours}.se.norm"
                names[f"{theirs}.{place - 1}.fc.3"] = f"{ours}.se.expand"
                place += 1
    last = len(spec.blocks) + 3
    names |= {f"features.{last}": "penultimate.conv", f"features.{last + 1}": "penultimate.norm"}
    if spec.hidden_width:
        return names | {"output.0": "hidden", "output.1": "hidden_norm", "output.4": "classifier"}
    return names | {"output.1": "classifier"}


def _timm_names(spec: NetSpec) -> dict[str, str]:
    """Map the module names of timm's ReXNet to this package's."""
    parts = {
        "conv_exp.conv": "expand.conv",
        "conv_exp.bn": "expand.norm",
        "conv_dw.conv": "depthwise.conv",
        "conv_dw.bn": "depthwise.norm",
        "se.fc1": "se.reduce",
        "se.bn": "se.norm",
        "se.fc2": "se.expand",
        "conv_pwl.conv": "project.conv",
        "conv_pwl.bn": "project.norm",
    }
    last = len(spec.blocks)
    names = {
        f"features.{index}.{theirs}": f"blocks.{index}.{ours}"
        for index in range(last)
        for theirs, ours in parts.items()
    }
    return names | {
        "stem.conv": "stem.conv",
        "stem.bn": "stem.norm",
        f"features.{last}.conv": "penultimate.conv",
        f"features.{last}.bn": "penultimate.norm",
        "head.fc": "classifier",
    }


def _timm_efficientnet_names(spec: NetSpec) -> dict[str, str]:
    """Map the module names of timm's EfficientNets to this package's."""
    names = {
        "conv_stem": "stem.conv",
        "bn1": "stem.norm",
        "conv_head": "penultimate.conv",
        "bn2": "penultimate.norm",
        "classifier": "classifier",
    }
    for index, (stage, place) in enumerate(_stage_places(spec)):
        ours, theirs = f"blocks.{index}", f"blocks.{stage}.{place}"
        for number, part in enumerate(_parts(spec.blocks[index]), 1):
            names[f"{theirs}.bn{number}"] = f"{ours}.{part[1]}"
        is_expanding = spec.blocks[index].expansion != 1
        names[f"{theirs}.conv_dw"] = f"{ours}.{DEPTHWISE[0]}"
        names[f"{theirs}.conv_pw"] = f"{ours}.{EXPANDING[0] if is_expanding else PROJECTING[0]}"
        names[f"{theirs}.conv_pwl"] = f"{ours}.{PROJECTING[0]}"
    return names


def _efficientnet_names(spec: NetSpec) -> dict[str, str]:
    """Map the module names of efficientnet-pytorch and its kin to this package's."""
    names = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        "_conv_head": "penultimate.conv",
        "_bn1": "penultimate.norm",
        "_fc": "classifier",
    }
    convs = ("_expand_conv", "_depthwise_conv", "_project_conv")
    for index in range(len(spec.blocks)):
        parts = zip(convs, (EXPANDING, DEPTHWISE, PROJECTING), strict=True)
        for number, (conv, part) in enumerate(parts):
            names[f"_blocks.{index}.{conv}"] = f"blocks.{index}.{part[0]}"
            names[f"_blocks.{index}._bn{number}"] = f"blocks.{index}.{part[1]}"
    return names


def _parts(block: BlockSpec) -> tuple[tuple[str, str], ...]:
    """Return the names of the convolutions and norms of a block, in order."""
    return (EXPANDING, DEPTHWISE, PROJECTING)[block.expansion == 1 :]


def _stage_places(spec: NetSpec) -> list[tuple[int, int]]:
    """Return for every block its stage and its place there: a stage has one width and one stride.

    EfficientNet-Lite's are apart by that.
    """
    places = [(0, 0)]
    for before, block in zip(spec.blocks, spec.blocks[1:], strict=False):
        stage, place = places[-1]
        begins = block.stride != 1 or block.width != before.width
        places.append((stage + 1, 0) if begins else (stage, place + 1))
    return places
