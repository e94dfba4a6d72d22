"""Files as people have them: types that Arrow has no kernels for, and files that differ."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask import arrow
from ragmask.streaming import formats
from tests.arrow_files import write

LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]


class Named(pa.ExtensionType):
    """An extension type over any storage."""

    def __init__(self, storage):
        super().__init__(storage, "ragmask.test.named")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(storage)


# -- types --------------------------------------------------------------------------------

ZONED = pa.table(
    {
        "at": pa.array([0, 10**15, None], pa.timestamp("us", tz="UTC")),
        "noon": pa.array([1, 2, 3], pa.time64("us")),
        "kind": pa.DictionaryArray.from_arrays(
            pa.array([2, 0, None], pa.int8()), pa.array(["low", "mid", "high"]), ordered=True
        ),
        "ids": pa.array([[1], None, [2, 3]], pa.large_list(pa.uint16())),
        "seen": pa.array([[0], [], [5, None]], pa.list_(pa.timestamp("s", tz="Asia/Tokyo"))),
        "meta": pa.array([{"lang": "de"}, None, {"lang": None}]),
    }
)


def test_a_map_that_hands_columns_on_keeps_their_types_and_nulls():
    stream = rm.stream(ZONED).batch(2)
    assert stream.map(lambda batch: dict(batch)).to_arrow().equals(ZONED)
    renamed = stream.map(lambda batch: {f"my {name}": batch[name] for name in batch}).to_arrow()
    assert renamed.equals(ZONED.rename_columns([f"my {name}" for name in ZONED.column_names]))


def test_other_values_under_a_name_keep_its_type_while_it_holds_them():
    stream = rm.stream(ZONED).batch(3)
    day = np.timedelta64(1, "D").astype("timedelta64[us]")
    table = stream.map(
        lambda batch: {
            "at": batch["at"] + day,
            "ids": batch["ids"] * np.uint16(2),
            "noon": batch["noon"] + 2 * day,
            "seen": batch["seen"].truncate(1),
            "kind": pc.utf8_upper(batch["kind"]),
        }
    ).to_arrow()
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert table["ids"].to_pylist() == [[2], None, [4, 6]]
    assert table.schema.field("ids").type == pa.large_list(pa.uint16())
    assert table.schema.field("noon").type == pa.duration("us")  # no time of day any more
    assert table.schema.field("seen").type == ZONED.schema.field("seen").type
    assert table["kind"].to_pylist() == ["HIGH", "LOW", None]


def test_packing_keeps_the_types_of_items():
    packed = rm.stream(ZONED, ["seen", "at", "kind"]).pack(3, "seen").batch(4).to_arrow()
    assert packed.schema.field("seen").type.value_type == pa.timestamp("s", tz="Asia/Tokyo")
    assert packed.schema.field("at").type.value_type == pa.timestamp("us", tz="UTC")
    rows = packed["kind"].to_pylist()
    assert sorted(filter(None, (word for row in rows for word in row))) == ["high", "low"]


@pytest.mark.parametrize("make", LISTS)
def test_a_ragged_goes_back_as_the_lists_it_was(make):
    array = pa.array([[1, None], None, [], [3]], make(pa.field("step", pa.int16())))
    ragged = rm.Ragged.from_arrow(array)
    assert ragged.to_arrow().type.equals(array.type, check_metadata=True)
    assert ragged.to_arrow().to_pylist() == array.to_pylist()
    assert ragged[[3, 1]].to_arrow().to_pylist() == [[3], None]
    assert pickle.loads(pickle.dumps(ragged)).to_arrow().to_pylist() == array.to_pylist()


# -- nulls, and what lies under them ------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        *(pa.array([[1], None], make(pa.int8())) for make in LISTS),
        pa.array([["a"], None]),
        pa.array([[[1]], None]),
        pa.array([[{"a": 1}], None]),
        pa.array([[{"a": "b"}], None], pa.large_list(pa.struct([("a", pa.string())]))),
        Named(pa.list_(pa.int8())).wrap_array(pa.array([[1], None], pa.list_(pa.int8()))),
        pa.array([{"a": [1], "b": []}, {"a": None, "b": []}]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_null_list_of_any_kind_is_an_error_where_that_is_asked_for(column):
    table = pa.table({"x": column})
    assert sum(batch.num_rows for batch in rm.stream(table).batch(1)) == 2
    with pytest.raises(rm.StreamError, match=r"column 'x': row 1 is null"):
        list(rm.stream(table, nulls="error").batch(2))


def hidden():
    """Words that no row holds: before a slice, between views, and below a null list."""
    words = pa.array(["out", "a", "out", "b", "out", "out", "a"])
    bits = pa.py_buffer(np.packbits([1, 0, 1], bitorder="little"))
    offsets = pa.py_buffer(np.array([3, 4, 6, 7], np.int32))
    yield pa.Array.from_buffers(pa.list_(pa.string()), 3, [bits, offsets], children=[words])
    yield pa.ListViewArray.from_arrays([3, 1, 6], [1, 1, 1], words)
    yield pa.array([["out"], ["b", "a"], ["a"]]).slice(1)
    fixed = pa.array([["a", "b"], ["out", "out"], ["a", "a"]], pa.list_(pa.string(), 2))
    buffers = [pa.py_buffer(np.packbits([1, 0, 1], bitorder="little"))]
    yield pa.Array.from_buffers(fixed.type, 3, buffers, children=[fixed.values])


@pytest.mark.parametrize("lists", [*hidden()], ids=lambda lists: str(lists.type))
def test_words_that_no_row_holds_are_not_counted(lists):
    assert sorted(rm.Vocabulary.build(lists).words) == ["a", "b"]
    encoded = rm.Vocabulary(["a", "b"]).encode(lists)
    assert (encoded.values > 1).all()
    lengths = [len(row or []) for row in lists.to_pylist()]
    assert encoded.lengths.tolist() == lengths
    if not pa.types.is_fixed_size_list(lists.type):
        (batch,) = rm.stream(pa.table({"w": lists})).batch(tokens=100, column="w")
        assert batch.num_rows == len(lists)
        packed = rm.stream(pa.table({"w": lists})).pack(100, "w").batch(1)
        held = [word for row in lists.to_pylist() for word in row or []]
        assert sorted(next(iter(packed))["w"].to_pylist()[0]) == sorted(held)


# -- types that Arrow has no kernels for --------------------------------------------------

STRANGE = pa.table(
    {
        "n": [3, 1, 2, 4],
        "view": pa.array(["x", None, "long enough to lie elsewhere", "x"], pa.string_view()),
        "bytes": pa.array([b"x", None, b"y", b"x"], pa.binary_view()),
        "runs": pc.run_end_encode(pa.array(["a", "a", "b", "b"])),
        "views": pa.array([["x"], None, ["y", "z"], []], pa.list_(pa.string_view())),
        "kind": pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 0, 0], pa.uint32()), pa.array(["p", "q"], pa.string_view())
        ),
        "struct": pa.array(
            [{"a": "x"}, None, {"a": None}, {"a": "y"}], pa.struct([("a", pa.string_view())])
        ),
    }
)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_types_without_kernels_go_through_everything(tmp_path, kind):
    path = write(tmp_path / "data", STRANGE, kind, rows=3)
    stream = rm.stream(path)
    assert stream.to_arrow().equals(STRANGE)
    shuffled = stream.shuffle(seed=1).to_arrow()
    assert shuffled.schema == STRANGE.schema
    assert sorted(shuffled["n"].to_pylist()) == [1, 2, 3, 4]
    batches = list(stream.batch(tokens=4, column="views"))
    assert sum(batch.num_rows for batch in batches) == 4
    assert pickle.loads(pickle.dumps(batches[0])).to_arrow().equals(batches[0].to_arrow())
    filtered = rm.stream(path, filter=[("kind", "==", "p"), ("view", "==", "x")]).to_arrow()
    assert filtered["n"].to_pylist() == [3, 4]
    assert filtered.schema == STRANGE.schema
    assert rm.stream(path, filter=pc.field("runs") == "b").to_arrow()["n"].to_pylist() == [2, 4]
    for name, words in (("views", {"x", "y", "z"}), ("kind", {"p", "q"}), ("runs", {"a", "b"})):
        assert set(rm.Vocabulary.build(stream, name).words) == words
    packed = rm.stream(path, ["views", "view", "runs"]).pack(2, "views").batch(8)
    assert sum(len(row) for batch in packed for row in batch["views"].to_pylist()) == 3
    assert stream.to_parquet(tmp_path / "out") == 4
    assert pq.read_table(tmp_path / "out")["view"].to_pylist() == STRANGE["view"].to_pylist()


def test_columns_nobody_asked_for_are_not_touched(tmp_path):
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    )
    runs = pc.run_end_encode(pa.array([1, 1, 2]))
    table = pa.table({"union": union, "runs": runs, "n": [1, 2, 3], "ids": [[1], [], [2, 3]]})
    path = write(tmp_path / "data", table)
    kept = rm.stream(path, ["ids"], filter=[("n", ">", 1)]).to_arrow()
    assert kept["ids"].to_pylist() == [[], [2, 3]]
    assert rm.stream(path).to_arrow().equals(table)
    with pytest.raises(rm.StreamError, match=r"out cannot be written.*union"):
        rm.stream(path).to_parquet(tmp_path / "out")


def test_what_is_too_much_for_one_array_is_read_in_pieces(tmp_path, monkeypatch):
    table = pa.table({"w": [["a"], None, ["b", "c"]] * 4, "s": ["x", "y", None] * 4})
    path = write(tmp_path / "data", table, "parquet", rows=6)

    def refuse(self, *args, **options):
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked")

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", refuse)
    monkeypatch.setattr(formats, "_PIECE", 2)
    assert rm.stream(path).batch(5).to_arrow().equals(table)
    assert rm.stream(path).shuffle(0).batch(5).to_arrow().schema == table.schema


def test_arrays_too_large_to_be_one_are_joined_in_a_wider_type(monkeypatch):
    join_arrays = pa.concat_arrays

    def refuse(arrays):
        if "large" not in str(arrays[0].type):
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return join_arrays(arrays)

    monkeypatch.setattr(arrow.convert.pa, "concat_arrays", refuse)
    encoded = pa.dictionary(pa.int8(), pa.string())
    for array in (
        pa.array(["a", None]),
        pa.array([["a"], None]),
        pa.array([{"a": "b"}, None]),
        pa.array([["a"], None], pa.list_(encoded)),
    ):
        table = pa.table({"x": pa.chunked_array([array, array])})
        back = rm.stream(table).shuffle(0).batch(4).to_arrow()
        assert back.schema == table.schema
        assert sorted(map(str, back["x"].to_pylist())) == sorted(map(str, table["x"].to_pylist()))


# -- structs ------------------------------------------------------------------------------

NESTED = pa.table(
    {
        "id": ["p", "q"],
        "answers": [{"text": ["x", "y"], "start": [1, 2]}, {"text": [], "start": None}],
        "meta": [{"k": {"z": [1, 2]}, "n": 1}, None],
        "spans": [[{"s": {"b": 1}, "w": ["u"]}, None], None],
        "a.b": [1, 2],
        "empty": pa.array([{}, None], pa.struct([])),
        "nothing": pa.array([[{}, None], None], pa.list_(pa.struct([]))),
    }
)


@pytest.mark.parametrize("kind", ["parquet", "file", "memory"])
def test_structs_come_as_fields_or_stay_arrow(tmp_path, kind):
    table = NESTED.drop(["empty", "nothing"]) if kind == "parquet" else NESTED
    source = table if kind == "memory" else write(tmp_path / "data", table, kind)
    assert rm.stream(source).to_arrow().equals(table)
    (batch,) = rm.stream(source).batch(2)
    assert [row.tolist() for row in batch["answers.start"]] == [[1, 2], []]
    assert batch["answers"]["text"].to_pylist() == [["x", "y"], []]
    assert isinstance(batch["meta"], pa.Array)
    paths = ["meta.k.z", "answers.start", "spans.s.b", "spans.w", "a.b", "id"]
    (batch,) = rm.stream(source, paths).batch(2)
    assert list(batch) == paths
    assert [row.tolist() for row in batch["spans.s.b"]] == [[1, None], []]
    assert batch.to_arrow().to_pylist()[1] == {
        "meta.k.z": None,
        "answers.start": None,
        "spans.s.b": None,
        "spans.w": None,
        "a.b": 2,
        "id": "q",
    }
    assert rm.stream(source, ["spans.w"]).schema.field(0).type.value_type == pa.list_(pa.string())
    with pytest.raises(rm.StreamError, match=r"no column 'answers\.begin'.*it has id, answers"):
        rm.stream(source, ["answers.begin"])


# -- vectors ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LISTS)
@pytest.mark.parametrize("items", ["vectors", {"frames": 2}])
def test_lists_of_lists_of_one_size_are_vectors_where_asked(make, items):
    rows = [[[1.0, 2.0], [3.0, 4.0]], None, [], [[5.0, 6.0]]]
    array = pa.array(rows, make(make(pa.float32())))
    table = pa.table({"frames": array, "label": [1, 2, 3, 4]})
    (batch,) = rm.stream(table, items=items).batch(4)
    assert batch["frames"].item_shape == (2,)
    assert [row.tolist() for row in batch["frames"]] == [row or [] for row in rows]
    assert rm.Ragged.from_arrow(array, items=2).to_arrow().to_pylist() == rows
    assert type(rm.Ragged.from_arrow(array)) is rm.NestedRagged
    batches = list(rm.stream(table, items=items).batch(1))
    assert [batch["frames"].item_shape for batch in batches] == [(2,)] * 4


def test_vectors_of_another_size_are_named():
    table = pa.table({"f": [[[1, 2]], [[3, 4], [5]], [[6, 7]]]})
    for items in ("vectors", {"f": 2}):
        with pytest.raises(rm.StreamError, match=r"column 'f': row 1 has a step of 1 numbers"):
            list(rm.stream(table, items=items).batch(3))
    for items in ({"g": 2}, {"f": -1}, 5):
        with pytest.raises(rm.InvalidInputError, match="items"):
            rm.stream(table, items=items)


def test_a_vector_a_row_is_dense_beside_ragged_columns():
    emb = pa.array([[1, 2], None, [3, None]], pa.list_(pa.float32(), 2))
    tensor = pa.fixed_shape_tensor(pa.int8(), [2, 2]).wrap_array(
        pa.array([[1, 2, 3, 4]] * 3, pa.list_(pa.int8(), 4))
    )
    table = pa.table({"emb": emb, "ids": [[1], [2, 3], []], "image": tensor})
    (batch,) = rm.stream(table).batch(3)
    assert batch["emb"].tolist() == [[1.0, 2.0], [None, None], [3.0, None]]
    assert batch["image"].shape == (3, 2, 2)
    assert batch.to_arrow().equals(table)
    packed = next(iter(rm.stream(table, ["ids", "image"]).pack(3, "ids").batch(1)))
    assert packed["image"].item_shape == (2, 2)


# -- files that differ --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([[1]], pa.list_(pa.int32())), pa.array([[2]], pa.large_list(pa.int64()))),
        (pa.array(["a"]), pa.array(["b"]).dictionary_encode()),
        (pa.array(["a"]), pa.array(["b"], pa.large_string())),
        (pa.array([None]), pa.array([3])),
        (pa.array([[None]]), pa.array([["w"]])),
        (pa.array([[1]], pa.list_(pa.int8())), pa.array([[2]], pa.list_(pa.int8(), 1))),
        (pa.array([{"a": 1}], pa.struct([("a", pa.int8())])), pa.array([{"a": 300}])),
        (pa.array([1], pa.uint8()), pa.array([-1], pa.int8())),
        (pa.array([1.5], pa.float32()), pa.array([1], pa.int16())),
        (
            pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            pa.array([["b"]], pa.list_(pa.dictionary(pa.int16(), pa.string()))),
        ),
    ],
    ids=lambda array: str(array.type),
)
def test_files_may_keep_the_same_values_in_different_ways(tmp_path, first, second):
    for arrays in ((first, second), (second, first)):
        paths = [
            write(tmp_path / name, pa.table({"x": array}), "parquet")
            for name, array in zip("ab", arrays, strict=True)
        ]
        stream = rm.stream(paths)
        expected = [*arrays[0].to_pylist(), *arrays[1].to_pylist()]
        assert stream.to_arrow()["x"].to_pylist() == expected
        assert stream.to_arrow().schema == stream.schema
        assert stream.batch(2).to_parquet(tmp_path / "out") == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1]), pa.array(["a"])),
        (pa.array([2**60]), pa.array([0.5])),
        (pa.array([2**63], pa.uint64()), pa.array([-1])),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC"))),
        (pa.array([[1]]), pa.array([[["a"]]])),
        (pa.array([{"a": 1}]), pa.array([{"b": 1}])),
    ],
    ids=lambda array: str(array.type),
)
def test_what_would_lose_something_names_both_files(tmp_path, first, second):
    paths = [
        write(tmp_path / name, pa.table({"x": array}), "parquet")
        for name, array in (("a", first), ("b", second))
    ]
    with pytest.raises(rm.StreamError, match=r"b: column 'x' is .*, and .* in .*a: no type holds"):
        rm.stream(paths).to_arrow()


def test_a_column_that_a_file_lacks_is_nulls_where_asked(tmp_path):
    whole = pa.table({"x": [[1], None], "y": ["a", "b"], "z": [1, 2]})
    for order in (["a", "b"], ["b", "a"]):
        write(tmp_path / order[0], whole, "parquet")
        write(tmp_path / order[1], whole.select(["z"]), "parquet")
        paths = [tmp_path / "a", tmp_path / "b"]
        columns = ["x", "y", "z"]
        with pytest.raises(rm.StreamError, match=f"{order[1]}: no column 'x'"):
            list(rm.stream(paths, columns).batch(4))
        rows = rm.stream(paths, columns, missing="null").to_arrow().to_pylist()
        nothing = [{"x": None, "y": None, "z": n} for n in (1, 2)]
        there = whole.to_pylist()
        assert rows == (there + nothing if order[0] == "a" else nothing + there)
    with pytest.raises(rm.StreamError, match="no column 'w'"):
        list(rm.stream(paths, ["w"], missing="null").batch(4))
    with pytest.raises(rm.InvalidInputError, match='missing must be "error" or "null"'):
        rm.stream(paths, missing="skip")
