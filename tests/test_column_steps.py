"""Columns renamed, cut off and tokenized in the threads that decode."""

import pickle
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.streams import DATA, WORLDS, as_json, contents, resumed, setups, table_of, written


def letters(texts):
    """Bytes as ids; an empty text has none."""
    assert not texts.null_count
    return [list(text.encode()) for text in texts.to_pylist()]


# -- what comes out -----------------------------------------------------------------------


@st.composite
def stepped(draw):
    """A setup with steps, and what they make of a table, told without them."""
    setup = draw(setups())
    maxlen, side = draw(st.integers(0, 4)), draw(st.sampled_from(["post", "pre"]))
    if setup.pack:  # which wants equal lengths in all columns
        steps = ("rename", ({"name": "title"},)), ("truncate", (maxlen, None, side))
        by_hand = cut_by_hand
    else:
        steps = (
            ("rename", ({"ids": "was"},)),
            ("tokenize", ("name", letters)),
            ("truncate", (maxlen, "ids", side)),
        )
        by_hand = spelled_by_hand
    return setup._replace(steps=steps), partial(by_hand, maxlen=maxlen, side=side)


def part_of_row(row, maxlen, side):
    if row is None:
        return None
    return row[:maxlen] if side == "post" else row[max(0, len(row) - maxlen) :]


def cut_by_hand(table, maxlen, side):
    columns = {}
    for field in table.schema:
        column = table[field.name].to_pylist()
        if field.name in ("ids", "words"):
            column = [part_of_row(row, maxlen, side) for row in column]
        columns["title" if field.name == "name" else field.name] = pa.array(column, field.type)
    return pa.table(columns)


def spelled_by_hand(table, maxlen, side):
    columns = {}
    for name in table.column_names:
        if name == "name":
            texts = table[name].to_pylist()
            rows = [None if text is None else list(text.encode()) for text in texts]
            rows = [part_of_row(row, maxlen, side) for row in rows]
            columns["ids"] = pa.array(rows, pa.list_(pa.int32()))
        else:
            columns["was" if name == "ids" else name] = table[name]
    return pa.table(columns)


def tables_of(data):
    tables, first = [], 0
    for _, groups in data.files:
        pieces = [table_of(0, [])]
        for lengths in groups:
            pieces.append(table_of(first, lengths))
            first += len(lengths)
        tables.append(pa.concat_tables(pieces))
    return tables


@given(DATA, stepped())
def test_a_stream_with_steps_is_one_of_files_written_that_way(data, given_):
    setup, by_hand = given_
    tables = [table.combine_chunks() for table in tables_of(data)]  # a window each, in both
    stream = setup.stream(tables)
    written = [by_hand(table).combine_chunks() for table in tables]
    other = setup._replace(steps=()).stream(written)
    batches, expected = list(stream), list(other)
    assert [contents(one)[:3] for one in batches] == [contents(one)[:3] for one in expected]
    for one, like in zip(batches, expected, strict=True):
        assert one.to_arrow().equals(like.to_arrow())
    assert stream.count_batches(0) == other.count_batches(0) == len(batches)
    assert stream.schema == other.schema
    assert repr(stream.empty_batch()) == repr(other.empty_batch())
    assert stream.to_arrow().schema == other.to_arrow().schema


@given(DATA, stepped(), WORLDS, st.data())
@pytest.mark.slow
def test_every_state_yields_what_was_left(data, given_, world_size, draw):
    setup, _ = given_
    rank = draw.draw(st.integers(0, world_size - 1))
    even = draw.draw(st.booleans())
    with written(data) as folder:
        stream = setup.stream(folder, rank, world_size, even=even)
        states, batches = [as_json(stream.state_dict())], []
        for batch in stream:
            batches.append(contents(batch))
            states.append(as_json(batch.state))
        for done, state in enumerate(states):
            other = resumed(setup, folder, state, rank, world_size, even=even)
            assert [contents(batch)[:3] for batch in other] == [one[:3] for one in batches[done:]]


# -- each step ----------------------------------------------------------------------------


def test_names_may_change_places():
    stream = rm.stream(pa.table({"a": [1], "b": [2]})).rename({"a": "b", "b": "a"})
    assert stream.to_arrow().to_pydict() == {"b": [1], "a": [2]}
    assert "renamed a to b, b to a" in repr(stream)
    assert "renamed a to b" in stream._repr_html_()


def test_a_filter_sees_columns_as_they_lie_in_the_files():
    table = pa.table({"a": [1, 2], "b": [3, 4]})
    stream = rm.stream(table, filter=[("a", "==", 2)]).rename({"a": "b", "b": "a"})
    assert stream.to_arrow().to_pydict() == {"b": [2], "a": [4]}


LISTS = {
    "list": pa.list_(pa.int32()),
    "large list": pa.large_list(pa.float32()),
    "view": pa.list_view(pa.int16()),
    "vectors": pa.list_(pa.list_(pa.float32(), 2)),
    "texts": pa.list_(pa.string()),
    "large texts": pa.large_list(pa.large_string()),
    "views of texts": pa.list_view(pa.string()),
    "dictionaries": pa.list_(pa.dictionary(pa.int8(), pa.string())),
    "lists": pa.list_(pa.list_(pa.int32())),
    "structs": pa.list_(pa.struct({"a": pa.int32(), "b": pa.string()})),
}


def item_of(kind, number):
    if kind == "vectors":
        return [number, number + 0.5]
    if kind == "lists":
        return [number] * (number % 3)
    if kind == "structs":
        return None if number % 5 == 4 else {"a": number, "b": str(number)}
    is_text = "texts" in kind or kind == "dictionaries"
    return str(number) if is_text else number


@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_every_kind_are_cut(kind, side):
    lengths = [3, None, 0, 5, 1, 2]
    rows = [
        None if length is None else [item_of(kind, 10 * row + step) for step in range(length)]
        for row, length in enumerate(lengths)
    ]
    table = pa.table({"x": pa.array(rows, LISTS[kind]), "n": range(6)})
    for maxlen in (0, 2, 9, 1 << 62):
        cut = rm.stream(table.slice(1)).truncate(maxlen, side=side)
        expected = [part_of_row(row, maxlen, side) for row in rows[1:]]
        assert cut.to_arrow()["x"].to_pylist() == expected
        assert cut.schema == table.schema
        assert cut.shuffle(0).to_arrow().num_rows == 5


def test_a_ragged_that_is_cut_stays_where_it_is():
    table = pa.table({"x": [[1, 2, 3], [4, 5]], "y": [["a", "b"], ["c"]]})
    batch = next(iter(rm.stream(table).truncate(1, "x").batch()))
    assert batch["x"].values.tolist() == [1, 2, 3, 4, 5]
    assert batch["x"].lengths.tolist() == [1, 1]
    assert batch["y"].to_pylist() == [["a", "b"], ["c"]]


TEXTS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
    pa.run_end_encoded(pa.int32(), pa.string()),
]


@pytest.mark.parametrize("type_", TEXTS, ids=str)
@pytest.mark.parametrize("rows", [[], [None], ["a", None, "", "bc", "a"]], ids=len)
def test_texts_of_every_type_become_ids(type_, rows):
    array = pa.array(rows, pa.string())
    if pa.types.is_run_end_encoded(type_):
        array = pa.compute.run_end_encode(array)
    elif pa.types.is_dictionary(type_):
        array = array.cast(type_.value_type).dictionary_encode().cast(type_)
    else:
        array = array.cast(type_)
    stream = rm.stream(pa.table({"t": array})).tokenize("t", letters, keep=True)
    expected = [None if text is None else list(text.encode()) for text in rows]
    assert stream.to_arrow()["ids"].to_pylist() == expected
    assert stream.to_arrow()["t"].to_pylist() == rows
    ids = [batch["ids"] for batch in stream.batch(rows=2)]
    assert [row.tolist() for one in ids for row in one] == [row or [] for row in expected]


WAYS = {
    "lists": letters,
    "arrays": lambda texts: [np.array(row, np.uint8) for row in letters(texts)],
    "a list array": lambda texts: pa.array(letters(texts), pa.large_list(pa.int64())),
    "chunks": lambda texts: pa.chunked_array([[row] for row in letters(texts)]),
    "a Ragged": lambda texts: rm.Ragged.from_rows(letters(texts)),
    "whole floats": lambda texts: rm.Ragged.from_rows(letters(texts), np.float64),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32])
@pytest.mark.parametrize("way", WAYS)
def test_a_function_gives_rows_in_any_form(way, dtype):
    table = pa.table({"t": ["ab", "", None, "c"]})
    stream = rm.stream(table).tokenize("t", WAYS[way], "t", dtype=dtype)
    (batch,) = stream.batch()
    assert batch["t"].dtype == dtype
    assert stream.to_arrow()["t"].to_pylist() == [[97, 98], [], None, [99]]


def test_only_what_is_wanted_is_read_and_made(tmp_path):
    asked = []

    def spell(texts):
        asked.append(len(texts))
        return letters(texts)

    table = pa.table({"t": ["ab", "c"], "x": [[1], [2, 3]]})
    pq.write_table(table, tmp_path / "a.parquet")
    stream = rm.stream(tmp_path / "a.parquet").tokenize("t", spell).prefetch(0)
    assert stream.batch(tokens=2, column="x").count_batches() == 2
    assert not asked
    assert stream.batch(tokens=2, column="ids").count_batches() == 2
    assert asked == [2]


def test_parts_share_the_footers_and_the_steps(tmp_path):
    pq.write_table(pa.table({"t": [str(n) for n in range(100)]}), tmp_path / "a.parquet")
    stream = rm.stream(tmp_path / "a.parquet").tokenize("t", letters).truncate(1)
    parts = stream.split({"most": 0.8, "few": 0.2}, seed=0)
    sizes = [len(one.to_arrow()) for one in parts.values()]
    assert sum(sizes) == 100
    assert all(one.schema == stream.schema for one in parts.values())
    again = pickle.loads(pickle.dumps(parts["few"]))
    assert again.to_arrow().equals(parts["few"].to_arrow())


def test_vectors_are_found_in_files_as_they_lie():
    table = pa.table({"a": pa.array([[], [[1, 2]], [[3, 4], [5, 6]]]), "t": ["x"] * 3})
    stream = rm.stream(table, items="vectors").rename({"a": "t", "t": "a"}).truncate(1)
    assert [batch["t"].item_shape for batch in stream.batch(rows=1)] == [(2,)] * 3


# -- errors -------------------------------------------------------------------------------

TABLE = pa.table({"t": ["a"], "x": [[1]], "y": [[2]], "n": [1], "w": [["a"]], "f": [1.5]})
REFUSED = [
    (lambda s: s.rename({"z": "a"}), r"no column 'z'; there are t, x"),
    (lambda s: s.rename({"x": "y"}), "two columns 'y'"),
    (lambda s: s.rename({"x": "a", "y": "a"}), "two columns 'a'"),
    (lambda s: s.rename({"x": 1}), "name is a text; got 1"),
    (lambda s: s.rename({}), "new names by old ones"),
    (lambda s: s.rename("x"), "new names by old ones"),
    (lambda s: s.truncate(-1), "at least 0"),
    (lambda s: s.truncate(1.5), "must be an integer"),
    (lambda s: s.truncate(1, side="left"), '"pre" or "post"'),
    (lambda s: s.truncate(1, "n"), "'n' is int64; ragged are: x, y, w"),
    (lambda s: s.truncate(1, "xx"), "did you mean 'x'"),
    (lambda s: s.tokenize("n", letters), "'n' is int64: cast"),
    (lambda s: s.tokenize("w", letters), "binary_join"),
    (lambda s: s.tokenize("z", letters), "no column 'z'"),
    (lambda s: s.tokenize("t", letters, "x"), "already: choose another name, into="),
    (lambda s: s.tokenize("t", letters, "t", keep=True), "a column 't' already"),
    (lambda s: s.tokenize("t", letters, ""), "into is the name"),
    (lambda s: s.tokenize("t", letters, offsets="o"), "needs a tokenizer"),
    (lambda s: s.tokenize("t", letters, special_tokens=False), "for tokenizers"),
    (lambda s: s.tokenize("t", letters, dtype="O"), "must be of numbers"),
    (lambda s: s.tokenize("t", letters, dtype="nothing"), "is none"),
    (lambda s: s.tokenize("t", 3), "got 3"),
    (lambda s: s.batch(tokens=3, column="x").truncate(1), "call it before batch"),
    (lambda s: s.pack(3, "x").rename({"x": "z"}), "call it before batch"),
    (lambda s: s.map(dict).rename({"x": "z"}), "call it before map"),
    (lambda s: s.rename({"x": "row_ids"}).pack(3, "row_ids"), "packing adds a column"),
]


@pytest.mark.parametrize(("call", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_cannot_be_is_told_at_the_call(call, told):
    with pytest.raises(rm.RagmaskError, match=told):
        call(rm.stream(TABLE))


GIVEN = [
    (lambda texts: [[1]], "1 rows for 2 texts"),
    (lambda texts: [1, 2], "must give a row of ids a text"),
    (lambda texts: None, "must give a row of ids a text"),
    (lambda texts: ["a", "b"], "must give a row of ids a text"),
    (lambda texts: texts, "must give a row of ids a text"),
    (lambda texts: [[[1]], [[2]]], "must give a row of ids a text"),
    (lambda texts: pa.array([[[1]], [[2]]]), "must give a row of ids a text"),
    (lambda texts: [[1], [2, 1 << 40]], r"1099511627776 in step 1 of row 1, which int32"),
    (lambda texts: [[1.5], [2]], "1.5 in step 0 of row 0"),
    (lambda texts: [[float("nan")], [2]], "nan in step 0 of row 0"),
]


@pytest.mark.parametrize(("function", "told"), GIVEN)
def test_what_a_function_gives_is_looked_at(function, told):
    stream = rm.stream(pa.table({"t": ["a", "b"]})).tokenize("t", function)
    with pytest.raises(rm.RagmaskError, match=told) as error:
        list(stream.batch())
    assert "column 't'" in str(error.value)


def test_a_state_of_other_steps_is_refused():
    base = rm.stream(pa.table({"t": ["a", "b"], "x": [[1], [2]]}))
    streams = [
        base,
        base.truncate(1),
        base.truncate(2),
        base.truncate(1, side="pre"),
        base.truncate(1, "x"),
        base.rename({"x": "y"}),
        base.rename({"x": "y"}).truncate(1),
        base.truncate(1).rename({"x": "y"}),
        base.tokenize("t", letters),
        base.tokenize("t", letters, dtype=np.int64),
        base.tokenize("t", WAYS["arrays"]),
    ]
    batched = [one.batch(rows=1) for one in streams]
    for position, one in enumerate(batched):
        state = as_json(next(iter(one)).state)
        for other, stream in enumerate(batched):
            if position == other:
                stream.load_state_dict(state)
                continue
            with pytest.raises(rm.RagmaskError, match="its steps is"):
                stream.load_state_dict(state)
