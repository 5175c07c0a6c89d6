"""What tables of others' trainings say of shapes: a note on a network that has one that loses."""

from rexnet.spec import NetSpec

MOST_OF_THE_RISE = 0.75
"""The share of the rise from the first to the last width above which one step is a late jump."""

NEARLY_FLAT = 1.5
"""Times that the last width is the first, up to which it makes no difference where they rise."""

NARROW = 0.5
"""The share of both its neighbours' widths below which a block is a waist.

MobileNetV2 and ReXNet have 0.57 to 0.7 behind their stem, where the table shows half the loss.
"""

# Recomputed from the public table in docs/results/ranking.md; in points of CIFAR-10's test images.
# Waists are less sure: most of the table's are of 8 channels, the narrowest that it has.
LATE_JUMP = "0.35 points (0.27 to 0.44) to others at equal params and MACs (51 networks)"
WAIST = "0.15 to 0.3 points to others at equal params and MACs (by how cost is allowed for)"


def notes(spec: NetSpec) -> list[str]:
    """Return what is to be said of a network's shape, a sentence each; mostly nothing.

    Widths never fall, so that a waist can only be the first block, between stem and second block.
    Expanded widths do not count: every block is narrow beside them.
    """
    widths = spec.widths
    found = []
    if len(widths) > 2 and widths[-1] > NEARLY_FLAT * widths[0]:
        share = (widths[-1] - widths[-2]) / (widths[-1] - widths[0])
        if share > MOST_OF_THE_RISE:
            found.append(
                f"the last block makes {100 * share:.0f} % of the rise of the widths, from "
                f"{widths[-2]} to {widths[-1]}; such late jumps {_lose(LATE_JUMP)}"
            )
    if len(widths) > 1 and widths[0] < NARROW * min(spec.stem_width, widths[1]):
        found.append(
            f"the first block is a waist, {widths[0]} wide between {spec.stem_width} and "
            f"{widths[1]}; such waists {_lose(WAIST)}"
        )
    return found


def _lose(points: str) -> str:
    return f"lose {points} in the public trainings of NATS-Bench's size space"
