"""Configuration of the documentation site: `sphinx-build -W -b html docs docs/_build`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import taskq

project = "taskq"
author = "The taskq developers"
copyright = "2026, the taskq developers"
version = release = taskq.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "settings_reference",
    "module_reference",
]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Attributes named as a type (`type`, `TimeoutError`) make references in annotations ambiguous.
suppress_warnings = ["ref.python"]
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Parameters", "params_style")]

html_theme = "furo"
html_title = f"taskq {release}"
html_show_sphinx = False
