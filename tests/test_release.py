"""What a release says of itself is one version."""

import re
from pathlib import Path

import ragmask as rm

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_newest_change_and_the_one_to_cite():
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version, date = re.search(r"^## (\S+) – (\S+)$", changes, re.MULTILINE).groups()
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert version == rm.__version__
    assert f"\nversion: {version}\ndate-released: {date}\n" in citation
