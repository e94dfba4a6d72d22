"""The built site, which is what is tested here; collected where a browser's driver is installed.

`python -m sphinx -W -j 2 -b html docs docs/_build/html` builds it first.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "docs" / "_build" / "html"

collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]


@pytest.fixture(scope="session")
def site():
    if not (BUILT / "index.html").exists():
        pytest.fail(f"build the site first: python -m sphinx -W -j 2 -b html docs {BUILT}")
    return BUILT
