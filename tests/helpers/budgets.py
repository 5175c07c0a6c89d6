"""Random tasks of a design: templates, shapes and budgets."""

import re

import numpy as np
from hypothesis import strategies as st
from strategies import specs

from rexnet import channels, families
from rexnet.budget import Budget


def search_template(num_blocks, num_classes=100):
    return families.search_network([1] * num_blocks, num_classes)


def straight(num_blocks):
    return np.linspace(0.0, 1.0, num_blocks)


def smallest_cost(error):
    """Return the params and MACs that a refusal names."""
    found = re.search(r"the smallest has ([\d,]+) params and ([\d,]+) MACs", str(error))
    return tuple(int(number.replace(",", "")) for number in found.groups())


@st.composite
def tasks(draw):
    """Draw a template and a shape for its blocks: all that a proposal needs but the budget."""
    template = draw(
        specs(max_blocks=8)
        | st.integers(3, 13).map(search_template)
        | st.integers(6, 20).map(lambda num_blocks: families.rexnet(1.0, num_blocks))
    )
    num_blocks = len(template.blocks)
    knots = draw(st.lists(st.integers(1, num_blocks), max_size=3))
    count = len(knots) + 1
    slopes = draw(st.lists(st.floats(0, 10), min_size=count, max_size=count))
    return template, channels.piecewise_line(num_blocks, knots, slopes)


BUDGETS = st.builds(
    Budget,
    params=st.floats(3, 8.5).map(lambda power: int(10**power)),
    macs=st.floats(4, 11).map(lambda power: int(10**power)),
    count_classifier=st.booleans(),
)

LIMITS = st.builds(
    Budget,
    params=st.none() | st.floats(3, 8.5).map(lambda power: int(10**power)),
    macs=st.none() | st.floats(4, 11).map(lambda power: int(10**power)),
    count_classifier=st.booleans(),
).filter(lambda budget: len(budget.limits) > 0)
