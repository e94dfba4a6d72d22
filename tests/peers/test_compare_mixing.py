"""compare_mixing.py, run small: what it compares are the same rows."""

import sys
from importlib import import_module
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "asv_benchmarks"


def in_turn(*functions):
    """Each function's seconds: here its place, once it has run."""
    for function in functions:
        assert function() is not None
    return range(1, len(functions) + 1)


def test_tables(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    module = import_module("compare_mixing")
    monkeypatch.setattr(import_module("tables"), "fastest", in_turn)
    try:
        rows = [*module.mix(rows=900), *module.resume(rows=900), *module.files(rows=900, count=9)]
        lines = [str(row) for row in rows]
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("benchmarks", "compare_mixing", "tables"):
                del sys.modules[name]
    assert len(lines) >= 8
    assert all(line.count("|") == 7 for line in lines)
