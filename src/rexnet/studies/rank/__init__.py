"""Ranks of random layers by width ratio and function, and of a network's blocks (section 3)."""
