"""Filters: which rows they keep, and which row groups they spare."""

import pickle
from collections import Counter
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.reader import Reader
from tests.faults import afar
from tests.tables import column, table_of, write

# -- filters ------------------------------------------------------------------------------

MIXED = pa.schema(
    {
        "number": pa.int64(),
        "whole": pa.int8(),
        "real": pa.float64(),
        "word": pa.string(),
        "flag": pa.bool_(),
        "ids": pa.list_(pa.int16()),
    }
)
VALUES = {
    "whole": st.integers(0, 3),
    "real": st.sampled_from([0.0, 1.0, 1.5, float("nan"), float("inf")]),
    "word": st.sampled_from(["", "a", "b", "ba"]),
    "flag": st.booleans(),
    "ids": st.lists(st.integers(0, 9), max_size=3),
}
KEYS = [1, None, 2]


@st.composite
def mixed_tables(draw):
    """Two or three files' tables, whose rows are numbered through."""
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    tables = []
    for first, last in zip([0, *accumulate(sizes)], accumulate(sizes), strict=False):
        rows = last - first
        columns = {"number": list(range(first, last))}
        for name, values in VALUES.items():
            columns[name] = draw(st.lists(values | st.none(), min_size=rows, max_size=rows))
        tables.append(pa.table(columns, MIXED))
    return tables


def comparisons(name, value):
    operators = ["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"]
    return st.tuples(st.sampled_from(operators), value).map(
        lambda drawn: getattr(pc.field(name), drawn[0])(drawn[1])
    )


CONDITIONS = st.recursive(
    st.one_of(
        comparisons("whole", VALUES["whole"]),
        comparisons("real", VALUES["real"]),
        comparisons("word", VALUES["word"]),
        comparisons("key", st.integers(0, 2)),
        comparisons("number", st.integers(0, 20)),
        st.sampled_from(["whole", "real", "word", "key", "ids"]).map(
            lambda name: pc.field(name).is_null()
        ),
        st.sampled_from(["whole", "real", "word", "key"]).map(
            lambda name: pc.field(name).is_valid()
        ),
        st.just(pc.is_nan(pc.field("real"))),
        st.just(pc.field("real").is_null(nan_is_null=True)),
        st.just(pc.field("flag")),
        st.lists(VALUES["whole"] | st.none(), max_size=2).map(
            lambda values: pc.field("whole").isin(pa.array(values, pa.int8()))
        ),
        st.integers(0, 3).map(lambda n: pc.list_value_length(pc.field("ids")) > n),
        st.integers(0, 5).map(lambda n: pc.field("whole") + pc.field("key") == n),
        st.just(pc.starts_with(pc.field("word"), "b")),
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: ~one),
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
    ),
    max_leaves=5,
)
TUPLES = st.lists(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("whole"), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), st.just(2)
            ),
            st.tuples(st.just("real"), st.sampled_from(["<", "!=", "=="]), st.just(1.0)),
            st.tuples(st.just("word"), st.sampled_from(["in", "not in"]), st.just(["a", "zz"])),
            st.tuples(st.just("key"), st.sampled_from(["==", "!="]), st.integers(1, 2)),
        ),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=2,
)


@pytest.mark.slow
@given(
    mixed_tables(),
    CONDITIONS | TUPLES,
    st.sampled_from(["parquet", "arrow"]),
    st.integers(1, 4),
    st.none() | st.sets(st.sampled_from([*MIXED.names, "key"]), min_size=1),
)
def test_a_filter_keeps_exactly_the_rows_that_pyarrow_keeps(
    tables, condition, suffix, group_rows, columns
):
    expression = condition
    if isinstance(condition, list):
        expression = pq.filters_to_expression(condition)
    with TemporaryDirectory() as folder:
        whole = []
        for place, table in enumerate(tables):
            key = "__HIVE_DEFAULT_PARTITION__" if KEYS[place] is None else KEYS[place]
            write(Path(folder, str(place), f"key={key}", f"part.{suffix}"), table, group_rows)
            keys = pa.array([KEYS[place]] * len(table), pa.int64())
            whole.append(table.append_column("key", keys))
        # in memory there are no statistics, which know nothing of NaN
        kept = pads.dataset(pa.concat_tables(whole)).to_table(filter=expression)
        stream = rm.stream(folder, columns and sorted(columns), filter=condition)
        rows = [row for batch in stream.batch(4) for row in batch.row_ids.tolist()]
        assert rows == kept["number"].to_pylist()
        for name in set(stream.schema.names) - {"real", "ids"}:
            assert column(stream, name) == kept[name].to_pylist(), name
        shards = [
            row
            for rank in range(3)
            for batch in pickle.loads(pickle.dumps(stream.shuffle(1, 5).shard(rank, 3).batch(2)))
            for row in batch.row_ids.tolist()
        ]
        assert Counter(shards) == Counter(rows)


@pytest.fixture
def ordered(tmp_path):
    """Twelve rows in row groups of three, in three folders."""
    for place in range(3):
        numbers = range(12 * place, 12 * place + 12)
        table = table_of(numbers).append_column("real", pa.array(map(float, numbers)))
        write(tmp_path / f"key={place}" / "part.parquet", table)
    return tmp_path


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (pc.field("number") == 17, [17]),
        ([("number", ">=", 14), ("number", "<", 16)], [14, 15]),
        (pc.field("real") > 33.5, [34, 35]),
        ((pc.field("key") == 1) & (pc.field("number") < 14), [12, 13]),
        ([("key", "==", 0), ("number", ">", 9)], [10, 11]),
        ([[("number", "==", 0)], [("number", "==", 35)]], [0, 35]),
        (pc.field("number").is_null(), []),
    ],
)
@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
def test_row_groups_that_statistics_rule_out_are_not_read(ordered, condition, rows, filesystem):
    for path in ordered.rglob("*.parquet"):
        content = bytearray(path.read_bytes())
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_row_groups):
            first = 12 * int(path.parent.name[4:]) + 3 * index
            if not set(rows) & set(range(first, first + 3)):
                group = metadata.row_group(index)
                for place in range(group.num_columns):
                    chunk = group.column(place)
                    begin = chunk.dictionary_page_offset or chunk.data_page_offset
                    content[begin : begin + chunk.total_compressed_size] = (
                        b"\xff" * chunk.total_compressed_size
                    )
        path.write_bytes(content)
    stream = rm.stream(ordered, ["ids"], filter=condition, filesystem=filesystem)
    assert [row for batch in stream.batch(4) for row in batch.row_ids.tolist()] == rows


def test_only_the_row_groups_that_may_match_are_decoded(ordered, monkeypatch):
    decoded = []
    original = Reader.read_table

    def read_table(self, groups):
        decoded.extend(group.first_row for group in groups)
        return original(self, groups)

    monkeypatch.setattr(Reader, "read_table", read_table)
    assert column(rm.stream(ordered, filter=[("number", "in", [4, 25])])) == [4, 25]
    assert decoded == [3, 24]


def test_a_filter_that_keeps_nothing_gives_no_batch(ordered):
    long = pc.list_value_length(pc.field("ids")) > 3
    for condition in (pc.field("number") > 99, (pc.field("number") == 4) & long):
        stream = rm.stream(ordered, filter=condition)
        assert list(stream.batch(4)) == []
        assert list(stream.shuffle(0).batch(tokens=9, column="ids")) == []
        assert list(stream.pack(9, "ids").batch(4)) == []
        assert stream.to_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (pc.field("number"), "is not a condition"),
        (pc.field("number") + 1, "is not a condition"),
        (pc.field("nothing") > 1, "does not fit the columns number, ids, real, key: .*nothing"),
        ([("nothing", "==", 1)], "does not fit the columns"),
        ([("number", "==", "word")], "does not fit the columns"),
        (pc.field("ids") > 1, "does not fit the columns"),
        (pc.field(0) > 1, "must refer to columns by name"),
        ("number > 1", "cannot be read"),
        (5, "cannot be read"),
        ([], "cannot be read"),
        ([("number", "~", 1)], "cannot be read"),
        ([("number", "in", 1)], "cannot be read"),
    ],
)
def test_a_filter_that_is_none_is_refused(ordered, condition, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.stream(ordered, filter=condition)


def test_a_filtered_stream_has_no_length_and_says_why(ordered):
    stream = rm.stream(ordered, filter=[("number", ">", 4)])
    for one in (stream, stream.batch(4)):
        with pytest.raises(TypeError, match="depends on the rows the filter keeps"):
            len(one)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (pc.field("real") != 5, [1, 3]),
        (~(pc.field("real") > 3), [1]),
        (pc.is_nan(pc.field("real")), [1]),
        ([("real", "not in", [5.0, 7.0])], [1]),
    ],
)
def test_a_filter_finds_the_nans_that_statistics_hide(tmp_path, condition, rows):
    table = pa.table({"number": [0, 1, 2, 3], "real": [5.0, float("nan"), 5.0, 7.0]})
    path = write(tmp_path / "part.parquet", table)
    assert column(rm.stream(path, ["number"], filter=condition)) == rows


def test_a_filter_looks_into_structs(tmp_path):
    table = pa.table({"number": [1, 2, 3], "at": [{"x": 0.5}, None, {"x": float("nan")}]})
    path = write(tmp_path / "part.parquet", table, group_rows=1)
    assert column(rm.stream(path, ["number"], filter=pc.field("at", "x") < 1)) == [1]
    assert column(rm.stream(path, ["number"], filter=~(pc.field("at", "x") < 1))) == [3]


@pytest.mark.parametrize("given", ["n == 3", ("n", "==", 3), lambda row: row["n"] == 3])
def test_a_filter_of_another_kind_is_told_what_one_is(given):
    with pytest.raises(
        rm.InvalidInputError, match=r'a list of conditions, \[\("label", "==", 3\)\]'
    ):
        rm.stream(pa.table({"n": [1, 3]}), filter=given)
