"""compare_pipelines.py, run small: what it compares gives the same results."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "asv_benchmarks"
TABLES = ("polars", "duckdb", "pandas", "conversions")


@pytest.fixture
def pipelines(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    module = import_module("compare_pipelines")
    monkeypatch.setattr(import_module("tables"), "fastest", in_turn)
    yield module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("benchmarks", "compare_pipelines", "tables"):
            del sys.modules[name]


def in_turn(*functions):
    """Each function's seconds: here its place, once it has run."""
    for function in functions:
        assert function() is not None
    return range(1, len(functions) + 1)


@pytest.mark.parametrize("name", TABLES)
def test_tables(pipelines, name):
    assert [table.__name__ for table in pipelines.TABLES] == list(TABLES)
    lines = [str(row) for row in getattr(pipelines, name)(rows=300)]
    assert len(lines) >= 3
    assert all(line.count("|") == 7 and "not installed" not in line for line in lines)
