"""Row groups too large for a window are read in pieces: every row once, in bounded memory."""

import json
import pickle
import sys
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming import sizes
from ragmask.streaming.plan import Order
from tests.faults import afar
from tests.interpreters import run_python

ROWS = 103


def table_of(rows, first=0):
    numbers = np.arange(first, first + rows)
    lengths = numbers * 7 % 11
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.table(
        {
            "ids": pa.ListArray.from_arrays(offsets, np.arange(offsets[-1]) + first),
            "name": [f"row {number}" for number in numbers],
            "number": numbers,
        }
    )


@pytest.fixture
def small(monkeypatch):
    """Limits that files of a hundred rows meet."""
    monkeypatch.setattr(sizes, "ALONE", 1000)
    monkeypatch.setattr(sizes, "_PIECE_BYTES", 2000)
    monkeypatch.setattr(sizes, "_PIECE_ROWS", 40)


@pytest.fixture
def folder(tmp_path, small):
    """Large row groups, in pieces, and small ones between them."""
    with pq.ParquetWriter(tmp_path / "0.parquet", table_of(1).schema) as writer:
        first = 0
        for rows in (3, ROWS, 2, 4, ROWS):
            writer.write_table(table_of(rows, first))
            first += rows
    pq.write_table(table_of(ROWS, first), tmp_path / "1.parquet", data_page_size=64)
    return tmp_path


TOTAL = 3 * ROWS + 9
WAYS = {
    "in order": lambda s: s.batch(rows=7),
    "shuffled": lambda s: s.shuffle(0, window_rows=50).batch(rows=7),
    "by tokens": lambda s: s.shuffle(0).batch(tokens=40, column="ids"),
    "packed": lambda s: s.pack(16, "ids").batch(rows=3),
    "half": lambda s: s.split({"a": 0.5, "b": 0.5}, seed=0)["a"].batch(rows=7),
    "filtered": lambda s: s.batch(rows=7),
}


def stream_of(folder, way, **options):
    kept = [("number", ">=", 30)] if way == "filtered" else None
    return WAYS[way](rm.stream(folder, filter=kept, **options))


def contents(stream):
    return [(batch.to_arrow().to_pydict(), batch.row_ids.tolist()) for batch in stream]


def test_a_piece_is_a_window_and_no_larger_than_the_limits(folder):
    source = rm.stream(folder)._source
    groups = source.groups
    assert [group.first_row for group in groups] == list(
        np.cumsum([0, *(group.rows for group in groups)])[:-1]
    )
    assert max(group.rows for group in groups) <= 40
    assert sum(group.rows for group in groups) == TOTAL
    order = Order(source.group_rows, None, source.pieces)
    windows = order.windows(0, order.rows, 1000)
    for window in windows:
        (first, *more) = order.spans(window)
        assert first.group not in source.pieces or not more
    assert len(windows) < len(groups)  # the small ones are joined


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("storage", ["local", "afar"])
def test_pieces_hold_what_the_rows_do_whoever_decodes(folder, way, storage):
    options = {} if storage == "local" else {"filesystem": afar()}
    expected = contents(stream_of(folder, way).prefetch(0))
    for prefetch in (0, 1, 3, 8):
        assert contents(stream_of(folder, way, **options).prefetch(prefetch)) == expected
    if way in ("in order", "shuffled"):
        rows = [row for _, ids in expected for row in ids]
        assert sorted(rows) == list(range(TOTAL))
        numbers = [number for one, _ in expected for number in one["number"]]
        assert numbers == rows


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_goes_on_in_the_middle_of_a_row_group(folder, way):
    whole = contents(stream_of(folder, way))
    for done in range(0, len(whole), max(1, len(whole) // 4)):
        stream = stream_of(folder, way)
        list(islice(stream, done))
        state = json.loads(json.dumps(stream.state_dict()))
        again = pickle.loads(pickle.dumps(stream_of(folder, way)))
        again.load_state_dict(state)
        assert contents(again) == whole[done:]


@pytest.mark.parametrize("way", ["in order", "shuffled"])
def test_shares_are_cut_inside_of_a_row_group(folder, way):
    rows = []
    for rank in range(7):
        stream = stream_of(folder, way).shard(rank, 7)
        found = [row for batch in stream for row in batch.row_ids.tolist()]
        assert len(found) in (TOTAL // 7, TOTAL // 7 + 1)
        rows += found
    assert sorted(rows) == list(range(TOTAL))


def test_a_state_of_other_pieces_is_refused(folder, monkeypatch):
    stream = stream_of(folder, "in order")
    next(iter(stream))
    state = stream.state_dict()
    narrow = rm.stream(folder, ["number"]).batch(rows=7)
    with pytest.raises(rm.InvalidInputError, match="its pieces is"):
        narrow.load_state_dict(state)
    monkeypatch.undo()
    with pytest.raises(rm.InvalidInputError, match="its pieces is"):
        stream_of(folder, "in order").load_state_dict(state)


@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.none() | st.integers(0, 5),
    st.integers(0, 12),
    st.data(),
)
def test_pieces_stay_together_and_alone(rows, key, window_rows, data):
    cut = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    pieces = {}
    for number, is_piece in enumerate(cut):
        if is_piece:
            follows = number - 1 in pieces and data.draw(st.booleans())
            pieces[number] = pieces[number - 1] if follows else number
    order = Order(rows, None if key is None else (key,), pieces)
    assert sorted(order.groups) == [number for number, count in enumerate(rows) if count]
    for number in set(pieces.values()):
        mine = [one for one in range(len(rows)) if pieces.get(one) == number and rows[one]]
        at = [order.groups.index(one) for one in mine]
        assert at == list(range(at[0], at[0] + len(at))) if at else True
    for window in order.windows(0, order.rows, window_rows):
        spans = order.spans(window)
        assert len(spans) == 1 or not any(span.group in pieces for span in spans)
    if not pieces:
        assert order.groups == Order(rows, None if key is None else (key,)).groups


def test_reads_on_the_way_are_tried_again(folder):
    failed = []

    def fault(path, reads):
        if reads in (8, 13, 20, 22):
            failed.append(reads)
            raise OSError("the line is bad")

    expected = contents(stream_of(folder, "in order"))
    assert contents(stream_of(folder, "in order", filesystem=afar(fault))) == expected
    assert failed


def test_equal_values_count_by_their_number(tmp_path, small):
    """Runs of them are next to nothing in a file."""
    path = tmp_path / "zeros.parquet"
    zeros = pa.array(np.zeros(4000, np.int8))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(21, dtype=np.int32) * 200), zeros)
    pq.write_table(pa.table({"x": lists}), path)
    assert pq.read_metadata(path).row_group(0).total_byte_size < 500
    assert [group.rows for group in rm.stream(path)._source.groups] == [3, 3, 3, 3, 3, 3, 2]


def test_a_row_group_cut_short_is_told(folder):
    """Its footer counts more rows than there are."""
    stream = rm.stream(folder)
    file = stream._source.files[1]
    stream._source.__dict__["groups"] = tuple(
        group for group in stream._source.groups if group.file is file
    )
    object.__setattr__(file, "group_rows", (ROWS + 40,))
    *_, last = stream._source.groups
    object.__setattr__(last, "rows", last.rows + 40)
    with pytest.raises(rm.StreamError, match=r"row group 0, rows .* is damaged"):
        list(stream.batch(rows=7))


_PEAK = """
import sys
import ragmask as rm
path, rows = sys.argv[1], int(sys.argv[2])
stream = rm.stream(path).batch(rows=max(1, rows // 100)).prefetch(0)
seen = 0
for batch in stream:
    seen += batch.num_rows
    del batch
assert seen == rows
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) >> 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("rows", "steps"), [(64, 10_000_000), (8_000_000, 40)])
def test_memory_does_not_grow_with_the_row_group(tmp_path, rows, steps):
    path = tmp_path / "large.parquet"
    offsets = np.arange(rows + 1, dtype=np.int64) * steps
    values = np.tile(np.arange(10_000, dtype=np.int32), rows * steps // 10_000)
    lists = pa.LargeListArray.from_arrays(offsets, values)
    pq.write_table(pa.table({"x": lists}), path, row_group_size=rows)
    whole = values.nbytes >> 20
    assert whole > 1200
    assert int(run_python(_PEAK, path, rows)) < whole * 0.8
