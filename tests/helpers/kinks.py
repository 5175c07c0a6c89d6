"""Networks of which no value lies at a kink of its activation, where rounding decides the slope."""

import copy

import torch
from torch import nn

KINKS = {nn.ReLU: (0,), nn.ReLU6: (0, 6), nn.LeakyReLU: (0,), nn.Hardswish: (-3, 3)}

REACH = 0.25
"""How far a bias is moved at most."""


def clear_of_kinks(model, images, seed=0):
    """Move the biases of a network so that kinks lie in the gaps between the values of ``images``.

    Of every channel the widest gap within ``REACH`` is taken, so both sides keep many values.

    Args:
        model: In training mode; its running statistics stay as they are.
        images: What it is trained on.
        seed: Of what is dropped at random.
    """
    twin = copy.deepcopy(model).double()
    for norm, act, se in _layers(twin):
        kinks = KINKS.get(type(act), ())
        if se is None:
            act.register_forward_pre_hook(_clearing(norm, kinks))
        else:
            _clear_gated(norm, kinks, se)
    torch.manual_seed(seed)
    with torch.no_grad():
        twin(images.double())
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            ours.copy_(theirs)


def inputs_of_kinked(model, images):
    """Return the activations of a network that have kinks, and what each is given."""
    found = []
    hooks = [
        module.register_forward_pre_hook(lambda act, args: found.append((act, args[0])))
        for module in model.modules()
        if type(module) in KINKS
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def distance(act, x):
    """Return how far each value is from the next kink of an activation."""
    places = [(x - kink).abs() for kink in KINKS.get(type(act), ())]
    return torch.stack([torch.full_like(x, torch.inf), *places]).amin(0)


def _layers(model):
    """Yield every batch norm, the activation behind it and the squeeze-excite between, if any."""
    yield model.stem.norm, model.stem_act, None
    for block in model.blocks:
        if block.expand is not None:
            yield block.expand.norm, block.expand_act, None
        yield block.depthwise.norm, block.depthwise_act, block.se
        yield block.project.norm, block.project_act, None
        if block.se is not None:
            yield block.se.norm, block.se.act, None
    if model.penultimate is not None:
        yield model.penultimate.norm, model.penultimate_act, None
    if model.hidden_norm is not None:
        yield model.hidden_norm, model.hidden_act, None


def _clearing(norm, kinks):
    """Return a hook that moves values, and the bias of the batch norm they come from."""

    def hook(_, args):
        return _moved(args[0], norm.bias, [kink - args[0] for kink in kinks])

    return hook


def _clear_gated(norm, kinks, se):
    """Move the bias of a batch norm for a kink at zero, that of the gates for any other."""
    values = []

    def before(_, args):
        values[:] = [_moved(args[0], norm.bias, [-args[0] for kink in kinks if kink == 0])]
        return values[0]

    def gates(_, __, logits):
        crossings = [(kink / values[0]).logit() - logits for kink in kinks if kink != 0]
        return _moved(logits, se.expand.bias, crossings)

    se.register_forward_pre_hook(before)
    se.expand.register_forward_hook(gates)


def _moved(x, bias, places):
    """Return ``x`` moved, as ``bias`` is, by what is far from all ``places`` (N, channels, ...)."""
    if not places:
        return x
    channels = torch.cat([place.transpose(0, 1).flatten(1) for place in places], 1)
    channels = channels.nan_to_num(nan=REACH).clamp(-REACH, REACH)
    edges = channels.new_tensor([-REACH, REACH]).expand(len(channels), 2)
    ordered = torch.cat([channels, edges], 1).sort().values
    gap, where = ordered.diff().max(1)
    step = ordered.gather(1, where[:, None])[:, 0] + gap / 2
    bias += step
    return x + step.reshape(-1, *[1] * (x.ndim - 2))
