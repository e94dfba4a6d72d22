"""compare_tokenize.py, run small: what it compares gives the same number of steps."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
SCRIPTS = Path(__file__).parents[2] / "asv_benchmarks"


def in_turn(*functions):
    """Each function's seconds: here its place, once it has run."""
    for function in functions:
        assert function() is not None
    return range(1, len(functions) + 1)


def test_tables(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    module = import_module("compare_tokenize")
    monkeypatch.setattr(import_module("tables"), "fastest", in_turn)
    try:
        lines = [str(row) for row in module.tokenize(rows=300)]
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("benchmarks", "compare_tokenize", "tables"):
                del sys.modules[name]
    assert len(lines) == 4
    assert all(line.count("|") == 7 for line in lines)
