"""Sphinx's configuration; `make docs` runs it on the pages that stage.py puts together."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lowp

project = "lowp"
author = "lowp contributors"
copyright = author
version = release = lowp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "breathe", "docstrings"]
root_doc = "index"
nitpicky = True
suppress_warnings = [
    "duplicate_declaration.cpp",  # a namespace is declared by every header
    "myst.header",  # pieces of pages, as docstrings, start with headings of any level
]

# ---- Markdown ------------------------------------------------------------------------------------

myst_heading_anchors = 3
myst_links_external_new_tab = False

# ---- Python --------------------------------------------------------------------------------------

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
nitpick_ignore_regex = [
    ("py:.*", r"(?!lowp\.).*|.*[|\[].*"),  # types of other libraries, and pieces of types
    ("py:.*", r"lowp\.(.*\.)?_.*"),  # what is not for users
    ("cpp:identifier", r"(std|detail|Eigen)\b.*|Index"),  # these, and what is not for users
    ("cpp:identifier", r"CUstream_st"),  # CUDA's own
    ("cpp:identifier", r"\w+::\w+"),  # enumerators as defaults of fields that have the enum's name
    ("cpp:identifier", r"matrix_view<.*|factor_scales|function"),  # of detail, with public members
    ("cpp:identifier", r"in<S>|_\w+"),  # a template within itself; suffixes of literals
]

# ---- C++ -----------------------------------------------------------------------------------------

breathe_projects = {"lowp": ""}  # build.py says where
breathe_default_project = "lowp"
breathe_default_members = ("members", "undoc-members")
breathe_show_include = False
primary_domain = "py"
highlight_language = "text"
cpp_maximum_signature_line_length = 88

# ---- looks ---------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"lowp {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-api-name": "var(--color-brand-primary)"},
    "top_of_page_buttons": [],
}
