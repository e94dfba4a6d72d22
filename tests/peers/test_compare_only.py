"""compare.py --only: what was not chosen is not measured, in any table."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "asv_benchmarks"
MEASURE = (
    "fastest",
    "with_sgemm",
    "fastest_start",
    "first_batch_seconds",
    "first_lstm_seconds",
    "compile_all_seconds",
    "resume_and_decode",
    "streaming_peak_bytes",
    "op_memory",
    "python",
)


@pytest.fixture
def compare(monkeypatch):
    """The script, as if it was run in its folder, none of whose measurements may be called."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    module = import_module("compare")
    ours = [name for name in set(sys.modules) - before if is_ours(name)]
    for name in ours:
        for measure in set(MEASURE) & set(vars(sys.modules[name])):
            monkeypatch.setattr(sys.modules[name], measure, not_chosen)
    yield module
    for name in ours:
        del sys.modules[name]


def is_ours(name):
    return name.partition(".")[0] in ("benchmarks", "machine", "tables") or (
        name.startswith("compare")
    )


def not_chosen(*arguments, **options):
    pytest.fail("was measured")


@pytest.mark.slow  # each table makes its data
def test_nothing_is_measured_where_nothing_is_chosen(compare, monkeypatch):
    tables = import_module("tables")
    monkeypatch.setattr(tables, "_words", ["no row has these words"])
    found = [table for topic in compare.TOPICS.values() for table in topic]
    assert len(found) > 20
    assert [row for table in found for row in tables.rows_of(table)] == []


@pytest.mark.parametrize("word", ["lstm", "LSTM"])
def test_chosen_rows_are_measured(compare, monkeypatch, word):
    tables, overhead = import_module("tables"), import_module("compare_overhead")
    monkeypatch.setattr(tables, "_words", [])
    monkeypatch.setattr(overhead, "fastest", lambda *calls: range(1, len(calls) + 1))
    tables.choose([word])
    assert [row.what for row in tables.rows_of(overhead.overhead)] == ["lstm"]
