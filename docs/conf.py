"""How Sphinx makes the site: `make docs`. Nothing is fetched, neither to build the pages nor to read them."""

import sys
from pathlib import Path

import dts_gym

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "extensions"))

project = "dts_gym"
author = "the dts_gym developers"
copyright = f"{author}, MIT licence"
release = dts_gym.__version__
html_title = f"dts_gym {release}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "svg_math",
    "number_cells",
    "registry_pages",
]
exclude_patterns = ["_build", "intros"]  # intros are parts of pages
nitpicky = True
default_role = "py:obj"
highlight_language = "none"

# Formulas are drawn when the site is built.
html_math_renderer = "svg"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Extras that modules need when they are imported: their pages are made without.
autodoc_mock_imports = ["stable_baselines3", "tensorboard", "torch"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_type_aliases = {name: name for name in ("Array", "IntArray")}
autosummary_ignore_module_all = False
autosummary_context = {"public_names": dts_gym.__all__}
templates_path = ["_templates"]
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpick_ignore_regex = [
    # In single backticks docstrings have names of the place they stand in, too, such as a parameter's.
    ("py:obj", r"(?!dts_gym\.).*"),
    # Types in signatures: other packages', aliases, and classes that are the package's own business.
    ("py:class", r"(?!dts_gym\.(agents|envs)\.[A-Z]).*"),
    ("py:obj", r"dts_gym\.agents\.base\.P"),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
