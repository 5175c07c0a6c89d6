"""A smooth surface of accuracy over log widths, and the search that fits one."""
