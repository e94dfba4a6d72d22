"""Scripts of compare.py's tables, run small: what they compare gives the same results."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "asv_benchmarks"
SIZES = {"files": {"rows": 900, "count": 9}, "mix": {"rows": 900}, "resume": {"rows": 900}}
TABLES = {
    "compare_pipelines": ("polars", "duckdb", "pandas", "conversions"),
    "compare_tokenize": ("tokenize",),
    "compare_mixing": ("mix", "resume", "files"),
}
LEAST = {"tokenize": 4, "resume": 2, "files": 2}


@pytest.fixture
def script(monkeypatch):
    """A script by name, whose functions run once."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)

    def load(name):
        module = import_module(name)
        monkeypatch.setattr(import_module("tables"), "fastest", in_turn)
        return module

    yield load
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("benchmarks", "tables", *TABLES):
            del sys.modules[name]


def in_turn(*functions):
    """Each function's seconds: here its place, once it has run."""
    for function in functions:
        assert function() is not None
    return range(1, len(functions) + 1)


@pytest.mark.parametrize(
    ("name", "table"), [(name, table) for name, tables in TABLES.items() for table in tables]
)
def test_tables(script, name, table):
    module = script(name)
    assert tuple(one.__name__ for one in module.TABLES) == TABLES[name]
    lines = [str(row) for row in getattr(module, table)(**SIZES.get(table, {"rows": 300}))]
    assert len(lines) >= LEAST.get(table, 3)
    assert all(line.count("|") == 7 and "not installed" not in line for line in lines)
