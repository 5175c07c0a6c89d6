"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build``."""

import rexnet

project = "rexnet"
author = "The rexnet developers"
project_copyright = "2026, The rexnet developers"
version = release = rexnet.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

myst_heading_anchors = 3

# What a package takes from its files is told there.
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
add_module_names = False

html_theme = "furo"
html_title = f"rexnet {release}"
