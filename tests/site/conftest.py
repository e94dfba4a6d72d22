"""The built site, which is what is tested here, where it is built and a browser's driver installed.

`python -m sphinx -W -j 2 -b html docs docs/_build/html` builds it. Without it `pytest tests/site`
ends with exit code 5, no tests collected.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "docs" / "_build" / "html"

_IS_THERE = find_spec("playwright") and (BUILT / "index.html").exists()
collect_ignore_glob = [] if _IS_THERE else ["test_*.py"]


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site():
    return BUILT
