"""How the site is built: `python -m sphinx -W -j 2 -b html docs docs/_build/html`."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

import ragmask
from ragmask.kernels import cpu

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
for name in cpu.__all__:  # the reference reads the Python beneath each kernel
    setattr(cpu, name, getattr(cpu, name).py_func)

project = "ragmask"
author = "the ragmask contributors"
copyright = f"2026, {author}"  # noqa: A001
version = release = ragmask.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
    "docstrings",
]
exclude_patterns = ["_*"]
templates_path = ["_templates"]
nitpicky = True

# pages are executed as they are read, and a cell that fails fails the build
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # of what a package draws beside HTML and text
# the commands of this environment, not those of another
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

autodoc_typehints = "none"  # signatures and docstrings say them
autosummary_generate = True

html_theme = "pydata_sphinx_theme"
html_title = "ragmask"
html_static_path = ["_static"]
html_css_files = ["ragmask.css"]
html_js_files = ["labels.js"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "collapse_navigation": True,  # not every name of the reference in each page's menu
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"index": []}


def setup(app: Sphinx) -> None:
    """Deal the pages that are executed out to the processes: those read a few dozen files each."""

    def spread(app: Sphinx, env: object, docnames: list[str]) -> None:
        made = [name for name in docnames if "generated" in name]
        pages = [name for name in docnames if "generated" not in name]
        pages.sort(key=lambda name: name != "guides/clusters")  # it takes longest: Ray, Java
        step = len(made) // max(len(pages), 1) + 1
        for number, page in enumerate(pages):
            made.insert(number * step, page)
        docnames[:] = made

    app.connect("env-before-read-docs", spread)
