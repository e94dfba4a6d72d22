"""Hypothesis profiles, the report header, and fixtures that several files share.

`HYPOTHESIS_PROFILE=thorough pytest`, or `pytest --hypothesis-profile=thorough`, looks longer.
"""

import os

import pytest
from hypothesis import settings

import ragmask as rm
from tests.peers.packages import missing_packages

settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_report_header():
    if missing := missing_packages():
        return f"tests/peers is left out: {', '.join(missing)} not installed"
    return None


@pytest.fixture
def num_threads():
    """`set_num_threads`, undone when the test ends."""
    before = rm.get_num_threads()
    yield rm.set_num_threads
    rm.set_num_threads(before)
