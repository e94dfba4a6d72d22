"""Random nested tables, through a stream and out again, type for type."""

import datetime
import decimal
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm

UTC = datetime.UTC
NUMBERS = [
    *(pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
]
TIMES = [
    *(pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("us"), pa.duration("us")),
    *(pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin")),
]
TEXTS = [pa.string(), pa.large_string(), pa.binary(), pa.binary(2)]
FLAT = [*NUMBERS, *TIMES, *TEXTS, pa.decimal128(9, 2), pa.null()]
EXTENSIONS = [pa.uuid(), pa.bool8(), pa.json_(), pa.fixed_shape_tensor(pa.int16(), [2, 3])]
IPC_ALONE = [
    pa.run_end_encoded(pa.int32(), pa.int64()),
    pa.run_end_encoded(pa.int16(), pa.string()),
    pa.month_day_nano_interval(),
    pa.struct([]),
    pa.fixed_shape_tensor(pa.int8(), [2, 3, 2], permutation=[2, 0, 1]),
    *(pa.string_view(), pa.binary_view()),
]


def types(ipc):
    flat = st.sampled_from([*FLAT, *EXTENSIONS, *(IPC_ALONE if ipc else [])])
    encoded = st.sampled_from([pa.string(), pa.large_string(), *([pa.int32()] if ipc else [])])
    dictionaries = st.builds(
        pa.dictionary, st.sampled_from([pa.int8(), pa.int32()]), encoded, st.booleans()
    )

    def nested(children):
        items = st.builds(pa.field, st.sampled_from(["item", "element"]), children)
        lists = st.builds(
            lambda make, item: make(item),
            st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view]),
            items if ipc else children,
        )
        # a step with a null feature is an error of its own
        full = children.map(lambda type_: pa.int8() if type_ == pa.null() else type_)
        fixed = st.builds(pa.list_, full, st.integers(0 if ipc else 1, 3))
        structs = st.lists(children, min_size=1, max_size=3).map(
            lambda fields: pa.struct([(f"f{n}", type_) for n, type_ in enumerate(fields)])
        )
        maps = st.builds(pa.map_, st.just(pa.string()), children)
        return st.one_of(lists, lists, fixed, structs, maps)

    return st.recursive(st.one_of(flat, dictionaries), nested, max_leaves=4)


def value_of(type_, random, nulls=True):
    """A value of a type, as pyarrow reads it."""
    if nulls and random.random() < 0.25:
        return None
    if isinstance(type_, pa.FixedShapeTensorType):
        return random.integers(0, 9, int(np.prod(type_.shape))).tolist()
    if isinstance(type_, pa.JsonType):
        return "[1]"
    if isinstance(type_, pa.UuidType):
        return random.bytes(16)
    if isinstance(type_, pa.Bool8Type):
        return int(random.integers(0, 2))
    if pa.types.is_null(type_):
        return None
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return value_of(type_.value_type, random, False)
    if pa.types.is_struct(type_):
        return {field.name: value_of(field.type, random) for field in type_}
    if pa.types.is_map(type_):
        keys = "abc"[: random.integers(0, 4)]
        return [(key, value_of(type_.item_type, random)) for key in keys]
    if pa.types.is_fixed_size_list(type_):
        # an item that is there has all its features: a mask drops whole steps
        return [value_of(type_.value_type, random, False) for _ in range(type_.list_size)]
    if hasattr(type_, "value_type"):
        return [value_of(type_.value_type, random) for _ in range(random.integers(0, 4))]
    number = int(random.integers(0, 100))
    if pa.types.is_boolean(type_):
        return bool(number % 2)
    if pa.types.is_floating(type_):
        return np.float16(number / 4) if type_ == pa.float16() else number / 4
    if pa.types.is_decimal(type_):
        return decimal.Decimal(number) / 4
    if pa.types.is_date(type_):
        return datetime.date(2020, 1, 1) + datetime.timedelta(days=number)
    if pa.types.is_timestamp(type_):
        zone = UTC if type_.tz else None
        return datetime.datetime(2020, 1, 1, 0, 0, number % 60, 1000 * number, zone)
    if pa.types.is_time(type_):
        return datetime.time(1, 2, number % 60, 1000 * number)
    if pa.types.is_duration(type_):
        return datetime.timedelta(seconds=number)
    if pa.types.is_interval(type_):
        return pa.MonthDayNano([number, 1, 2])
    if type_ == pa.binary(2):
        return b"%02d" % number
    if pa.types.is_integer(type_):
        return number
    text = "word" * (number % 5) + str(number)
    is_text = any(f(type_) for f in (pa.types.is_string, pa.types.is_large_string))
    return text if is_text or pa.types.is_string_view(type_) else text.encode()


def array_of(values, type_):
    """pa.array, also for the types that it cannot make."""
    if isinstance(type_, pa.BaseExtensionType):
        return type_.wrap_array(array_of(values, type_.storage_type))
    if pa.types.is_run_end_encoded(type_):
        plain = array_of(values, type_.value_type)
        return pc.run_end_encode(plain, run_end_type=type_.run_end_type)
    if pa.types.is_dictionary(type_):
        encoded = array_of(values, type_.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            encoded.indices.cast(type_.index_type), encoded.dictionary, ordered=type_.ordered
        )
    valid = [value is not None for value in values]
    mask = None if all(valid) else pa.array([not one for one in valid])
    if pa.types.is_struct(type_):
        rows = [value or {} for value in values]
        if type_.num_fields == 0:
            return pa.array(values, type_)
        children = [array_of([row.get(f.name) for row in rows], f.type) for f in type_]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    bits = None if mask is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    if pa.types.is_fixed_size_list(type_):
        empty = [None] * type_.list_size
        items = [item for value in values for item in (empty if value is None else value)]
        return pa.Array.from_buffers(
            type_, len(values), [bits], children=[array_of(items, type_.value_type)]
        )
    if pa.types.is_map(type_):
        pairs = [pair for value in values for pair in value or []]
        entries = pa.StructArray.from_arrays(
            [
                array_of([key for key, _ in pairs], type_.key_type),
                array_of([item for _, item in pairs], type_.item_type),
            ],
            fields=[type_.key_field, type_.item_field],
        )
        ends = np.cumsum([0, *(len(value or []) for value in values)]).astype(np.int32)
        return pa.Array.from_buffers(
            type_, len(values), [bits, pa.py_buffer(ends)], children=[entries]
        )
    if hasattr(type_, "value_type"):
        is_view = pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_)
        items = array_of([item for value in values for item in value or []], type_.value_type)
        sizes = np.array([len(value or []) for value in values])
        ends = np.concatenate([[0], np.cumsum(sizes)])
        wide = pa.types.is_large_list(type_) or pa.types.is_large_list_view(type_)
        dtype = np.int64 if wide else np.int32
        stored = [ends[:-1], sizes] if is_view else [ends]
        buffers = [pa.py_buffer(one.astype(dtype)) for one in stored]
        return pa.Array.from_buffers(type_, len(values), [bits, *buffers], children=[items])
    return pa.array(values, type_)


@st.composite
def tables(draw, ipc):
    """Columns of any types, some sliced, in several row groups."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    rows, before = draw(st.integers(0, 9)), draw(st.integers(0, 2))
    columns, fields = [], []
    for number in range(draw(st.integers(1, 3))):
        type_ = draw(types(ipc))
        values = [value_of(type_, random) for _ in range(before + rows)]
        columns.append(array_of(values, type_).slice(before))
        fields.append(pa.field(f"c{number}", type_, metadata={"of": f"c{number}"}))
    schema = pa.schema(fields, {"made by": "a test"})
    return pa.Table.from_arrays(columns, schema=schema)


def plain(array):
    """Values of any type as Python's, where pyarrow's own to_pylist may fail."""
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in plain(chunk)]
    while isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    return array.to_pylist()


def check_same(table, expected, schema=None):
    assert table.schema.equals(schema or expected.schema, check_metadata=True)
    table.validate(full=True)
    for name in expected.column_names:
        assert plain(table[name]) == plain(expected[name]), (name, expected[name].type)


@pytest.mark.slow
@settings(deadline=None)
@given(tables(ipc=False), st.integers(1, 4), st.integers(1, 5))
def test_parquet_comes_back_type_for_type(table, group_rows, batch_rows):
    with TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/in.parquet", row_group_size=group_rows)
        expected = pq.read_table(f"{folder}/in.parquet")
        stream = rm.stream(f"{folder}/in.parquet").batch(batch_rows)
        check_same(stream.to_arrow(), expected)
        stream.to_parquet(f"{folder}/out.parquet")
        check_same(pq.read_table(f"{folder}/out.parquet"), expected)


@settings(deadline=None)
@given(
    tables(ipc=True),
    st.sampled_from(["file", "stream", "memory"]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.booleans(),
)
def test_arrow_comes_back_type_for_type(table, kind, group_rows, batch_rows, shuffled):
    with TemporaryDirectory() as folder:
        source = table
        if kind != "memory":
            source = f"{folder}/in.arrow"
            opened = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
            with pa.OSFile(source, "wb") as file, opened(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=group_rows)
        stream = rm.stream(source)
        if shuffled:
            stream = stream.shuffle(seed=1)
            order = np.concatenate(
                [np.empty(0, int), *(b.row_ids for b in stream.batch(batch_rows))]
            )
            table = pa.Table.from_arrays(
                [
                    pa.concat_arrays([c.chunk(0).slice(i, 1) for i in order]) if len(order) else c
                    for c in table.columns
                ],
                schema=table.schema,
            )
            stream.set_epoch(0)
        check_same(stream.batch(batch_rows).to_arrow(), table)


@pytest.mark.parametrize("nested", [pa.list_, lambda item: pa.list_(item, 2), lambda item: item])
def test_a_table_of_no_rows_comes_back_where_arrow_refuses_its_own_nulls(nested):
    runs = pa.run_end_encoded(pa.int32(), pa.int64())
    schema = pa.schema([("c", nested(runs))], metadata={"made": "by hand"})
    table = pa.Table.from_batches([], schema)
    found = rm.stream(table).batch(2).to_arrow()
    assert found.schema.equals(schema, check_metadata=True)
    assert found.num_rows == 0


def test_a_stream_is_read_by_others_through_capsules():
    table = pa.table({"at": pa.array([0], pa.timestamp("us", tz="UTC")), "m": [{"lang": "de"}]})
    reader = pa.RecordBatchReader.from_stream(rm.stream(table).batch(1))
    assert reader.read_all().equals(table)
    (batch,) = rm.stream(table).batch(1)
    assert pa.table(batch).equals(table)
    assert pa.record_batch(batch).schema.equals(table.schema)


@pytest.mark.parametrize("mask", [None, [True, False, True]])
def test_a_ragged_is_an_arrow_array_to_others(mask):
    ragged = rm.Ragged.from_offsets([1, 2, 3], [0, 2, 3], mask)
    expected = [[1, 2], [3]] if mask is None else [[1, None], [3]]
    assert pa.array(ragged).to_pylist() == expected
    assert pa.table({"x": ragged})["x"].to_pylist() == expected
    values = pa.array(ragged).values.buffers()[1]
    assert values.address == ragged.values.ctypes.data
