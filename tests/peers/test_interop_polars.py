"""ragmask's ops as methods of polars: what they give, how they are planned, what they refuse."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import ragmask as rm
import ragmask.interop.polars
from ragmask.data import JAPANESE_VOWELS
from tests.operations import GRU, LSTM, TABLE, VOCABULARY
from tests.peers.list_columns import METHODS, MODEL, TWO_INPUTS, columns

ENGINES = ("in-memory", "streaming")
# which know of the other rows: the longest, or how long the lists in them are
OF_ALL_ROWS = ("pad, the longest", "split, the longest", "pad of lists")


@pytest.fixture(scope="module")
def frame():
    return pl.from_arrow(columns())


def in_chunks(frame, chunks):
    cuts = np.linspace(0, frame.height, chunks + 1).astype(int).tolist()
    parts = [frame[first:last] for first, last in pairwise(cuts)]
    return pl.concat(parts, rechunk=False)


def query_of(name):
    column, method = METHODS[name]
    return method(pl.col(column).ragmask)


def expected_of(name, frame):
    """What the method gives for one row after the other, where rows know nothing of each other."""
    column, method = METHODS[name]
    return [method(frame[column][row : row + 1].ragmask)[0] for row in range(frame.height)]


def told(values):
    """Values as words: NaN is not itself."""
    return repr([one.to_list() if isinstance(one, pl.Series) else one for one in values])


@pytest.mark.parametrize("name", METHODS)
def test_the_plan_knows_what_comes(frame, name):
    query = frame.lazy().select(query_of(name))
    column, method = METHODS[name]
    eager = method(frame[column].ragmask)
    assert eager.name == column
    assert query.collect_schema() == {column: eager.dtype}
    for engine in ENGINES:
        made = query.collect(engine=engine)
        assert made.schema == {column: eager.dtype}
        assert told(made[column]) == told(eager)
    nulls = frame[column].is_null()
    assert eager.is_null().to_list() == nulls.to_list()
    if not name.startswith(OF_ALL_ROWS):
        assert told(eager) == told(expected_of(name, frame))


@pytest.mark.parametrize("name", METHODS)
def test_shapes_of_frames(frame, name):
    query = query_of(name)
    whole = frame.select(query)
    assert frame.clear().select(query).schema == whole.schema
    nulls = frame.clear(3).select(query)
    assert nulls.schema == whole.schema
    assert nulls.to_series().null_count() == 3
    chunks = in_chunks(frame, 7)
    assert chunks.n_chunks() == 7
    assert told(chunks.select(query).to_series()) == told(whole.to_series())
    if not name.startswith(OF_ALL_ROWS):
        assert told(frame[7:31].select(query).to_series()) == told(whole[7:31].to_series())


def test_the_values_are_those_of_the_ops(frame):
    numbers, vectors, ids = (frame[name] for name in ("numbers", "vectors", "ids"))
    assert numbers.ragmask.softmax().equals(rm.temporal_softmax(numbers), null_equal=True)
    assert numbers.ragmask.temporal_pool("max").equals(rm.temporal_pool(numbers, "max"))
    h = rm.lstm(vectors, LSTM).h
    assert vectors.ragmask.lstm(LSTM, "h").equals(h, null_equal=True)
    padded = rm.Ragged.from_arrow(numbers).to_padded(3).values
    there = numbers.is_not_null().to_numpy()
    kept = numbers.ragmask.pad(3).arr.to_list().list.eval(pl.element().fill_null(0))
    assert np.array(kept.filter(numbers.is_not_null()).to_list()).tolist() == padded[there].tolist()
    split = frame.select(pl.col("ids").ragmask.split(2, width=6).struct.unnest())
    assert split.columns == ["section_0", "section_1"]
    joined = rm.temporal_concat([split["section_0"], split["section_1"]])
    assert joined.to_list() == ids.to_list()


@pytest.mark.parametrize("engine", ENGINES)
def test_contexts(frame, engine):
    lazy = frame.lazy().with_columns(group=pl.col("row") % 3)
    mean = pl.col("numbers").ragmask.pool("mean")
    known = frame.select(mean).to_series()
    groups = pl.DataFrame({"group": frame["row"] % 3, "mean": known}).group_by("group")
    wanted = groups.agg(pl.col("mean").sum()).sort("group")
    made = lazy.group_by("group").agg(mean=mean.sum()).sort("group").collect(engine=engine)
    assert made["mean"].to_list() == pytest.approx(wanted["mean"].to_list())
    over = lazy.select("group", mean=mean.sum().over("group")).unique().sort("group")
    assert over.collect(engine=engine)["mean"].to_list() == pytest.approx(made["mean"].to_list())
    few = lazy.filter(mean > 0.5).select(soft=pl.col("numbers").ragmask.softmax())
    assert few.collect(engine=engine).height == (known > 0.5).sum()
    lists = lazy.group_by("group").agg(pl.col("numbers").ragmask.softmax()).sort("group")
    whole = frame.select(pl.col("numbers").ragmask.softmax()).to_series()
    assert told(lists.collect(engine=engine)["numbers"][1]) == told(whole.gather_every(3, 1))


def test_several_columns_at_once(frame):
    both = frame.lazy().select(pl.col("numbers", "fixed").ragmask.pool("sum"))
    assert both.collect_schema() == {"numbers": pl.Float64, "fixed": pl.Float32}
    assert both.collect().columns == ["numbers", "fixed"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mask_is_a_column(engine):
    frame = pl.DataFrame({"x": [[1.0, 2.0], None, [3.0]], "keep": [[True, False], None, [False]]})
    lists = pl.col("x").ragmask
    query = frame.lazy().select(
        by_name=lists.softmax(mask="keep"),
        turned=lists.pool("sum", mask=pl.col("keep").list.eval(~pl.element())),
    )
    assert query.collect(engine=engine).rows() == [([1, None], 2), (None, None), ([None], 3)]
    assert frame["x"].ragmask.cumsum(mask=frame["keep"]).to_list() == [[1, None], None, [None]]
    longer = pl.DataFrame({"x": [[1.0]], "keep": [[True, True]]})
    with pytest.raises(rm.InvalidInputError, match=r"ragmask\.pool of column 'x'.*row"):
        longer.select(lists.pool(mask="keep"))


def test_many_rows_are_dealt_out():
    random = np.random.default_rng(0)
    lengths = random.integers(0, 9, 100_000)
    values = random.integers(0, 99, lengths.sum()).astype(np.float64)
    lists = rm.Ragged.from_offsets(values, np.cumsum([0, *lengths])).to_arrow()
    frame = in_chunks(pl.DataFrame({"x": lists, "row": np.arange(len(lists))}), 20)
    soft, sums = pl.col("x").ragmask.softmax(), pl.col("x").ragmask.pool("sum").alias("sum")
    for engine in ENGINES:
        made = frame.lazy().select("row", soft, sums).collect(engine=engine).sort("row")
        assert made["x"].equals(rm.temporal_softmax(pl.Series("x", lists)))
        assert made["sum"].equals(rm.temporal_pool(pl.Series("sum", lists), "sum"))
    series = frame["x"].ragmask.softmax()
    assert series.n_chunks() == 20  # nothing was joined, and so copied
    assert series.equals(rm.temporal_softmax(pl.Series("x", lists)))


def test_values_are_not_copied():
    values = np.arange(1000, dtype=np.float64)
    lists = rm.Ragged.from_offsets(values, [0, 10, 10, 1000]).to_arrow()
    series = pl.Series("x", lists)
    read = rm.ops.input.Input.of(series).rows.values
    assert read.ctypes.data == values.ctypes.data
    soft = rm.temporal_softmax(lists)
    given = pa.chunked_array(pl.Series("x", soft)).chunk(0)
    assert given.values.buffers()[1].address == soft.values.buffers()[1].address
    seen = []

    def address(part):
        seen.append(pa.chunked_array(part).chunk(0).values.buffers()[1].address)
        return part

    series.to_frame().select(pl.col("x").map_batches(address, return_dtype=pl.self_dtype()))
    assert seen == [values.ctypes.data]


@pytest.mark.parametrize("engine", ENGINES)
def test_implode(engine):
    frame = pl.LazyFrame({"group": [0, 0, 1], "number": [1.0, 1.0, 3.0]})
    soft = pl.col("number").implode().ragmask.softmax()
    made = frame.group_by("group").agg(soft).sort("group").collect(engine=engine)
    assert made.rows() == [(0, [0.5, 0.5]), (1, [1.0])]


def test_a_model_runs_on_many_threads_at_once():
    lengths = np.random.default_rng(0).integers(0, 9, 20_000)
    ids = np.random.default_rng(1).integers(0, VOCABULARY - 1, lengths.sum())
    lists = rm.Ragged.from_offsets(ids.astype(np.int32), np.cumsum([0, *lengths])).to_arrow()
    frame = in_chunks(pl.DataFrame({"ids": lists}), 40)
    wanted = rm.tables.TableModel(MODEL)(pa.table({"ids": lists}))
    for engine in ENGINES:
        made = frame.lazy().ragmask.apply(MODEL).collect(engine=engine)
        assert made["words"].equals(pl.from_arrow(wanted)["words"], null_equal=True)
        np.testing.assert_array_equal(made["state"], pl.from_arrow(wanted)["state"])


@pytest.mark.parametrize("engine", ENGINES)
def test_models(frame, engine):
    wanted = rm.tables.TableModel(MODEL, ["row"])(frame.to_arrow())
    lazy = frame.lazy().ragmask.apply(MODEL, keep=["row"])
    made = lazy.collect(engine=engine)
    assert made.schema == lazy.collect_schema()
    assert told(made["words"]) == told(wanted["words"].to_pylist())
    assert made["state"].to_list() == wanted["state"].to_pylist()
    renamed = frame.rename({"ids": "a", "more": "b"}).lazy()
    inputs = {"ids": "a", "more": "b"}
    two = renamed.ragmask.apply(TWO_INPUTS, inputs=inputs).collect(engine=engine)
    wanted = rm.tables.TableModel(TWO_INPUTS)(frame.to_arrow())
    assert two["both"].to_list() == wanted["both"].to_pylist()
    structs = pl.struct("a", "b").ragmask.apply(TWO_INPUTS, inputs).alias("both")
    assert renamed.select(structs).collect(engine=engine).equals(two)
    assert frame.ragmask.apply(MODEL, ["row"]).equals(made, null_equal=True)


def test_a_model_that_knows_the_longest_row_takes_the_column_at_once():
    x = rm.layers.Input((None,), name="x")
    first = rm.layers.TemporalSplit(2)(x)[0]
    model = rm.layers.Model(x, rm.layers.TemporalPool("sum", name="sum")(first))
    frame = pl.DataFrame({"x": [[1.0], [2.0] * 8] * 1000}, schema={"x": pl.List(pl.Float32)})
    for engine in ENGINES:
        made = in_chunks(frame, 10).lazy().ragmask.apply(model).collect(engine=engine)
        assert made["sum"].to_list() == [1, 8] * 1000


def test_a_saved_model(tmp_path, frame):
    MODEL.save(tmp_path / "model")
    made = frame.ragmask.apply(tmp_path / "model")
    assert made["state"].equals(frame.ragmask.apply(MODEL)["state"])
    with pytest.raises(rm.RagmaskError, match=r"no model\.json"):
        frame.ragmask.apply(tmp_path)


def test_real_data():
    query = pl.scan_parquet(JAPANESE_VOWELS).select(
        "speaker", mean=pl.col("frames").ragmask.pool("mean")
    )
    made = query.collect(engine="streaming")
    frames = pl.read_parquet(JAPANESE_VOWELS)["frames"]
    assert made["mean"].dtype == pl.Array(pl.Float32, 12)
    assert made["mean"].equals(rm.temporal_pool(frames, "mean"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"maxlen": 2},
        {"maxlen": 9, "padding": "post", "value": -1},
        {"maxlen": 2, "truncating": "post", "dtype": "float32"},
        {"dtype": object, "value": "-"},
        {"maxlen": 1, "dtype": "<U9", "value": "-"},
    ],
)
@pytest.mark.parametrize("column", ["ids", "fixed", "vectors", "lists"])
def test_series_are_padded_as_lists_are(column, options):
    rows = {
        "ids": [[1, 2, 3], None, [], [4]],
        "fixed": [[1.5, 2.5], [3.5, 4.5]],
        "vectors": [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]],
        "lists": [[[1, 2], [3, 4]], [[5, 6]]],
    }[column]
    dtype = {"fixed": pl.Array(pl.Float64, 2), "vectors": pl.List(pl.Array(pl.Float32, 2))}
    series = pl.Series(rows, dtype=dtype.get(column))
    lists = [row or [] for row in rows]
    for given in (series, in_chunks(series.to_frame("x"), 2)["x"]):
        padded = rm.pad_sequences(given, **options)
        wanted = rm.pad_sequences(lists, **options)
        assert padded.dtype == wanted.dtype
        assert padded.tolist() == wanted.tolist()


def test_series_of_words_are_padded():
    words = pl.Series([["a", "b"], None, ["c"]])
    padded = rm.pad_sequences(words, maxlen=1, dtype=object, value="-")
    assert padded.tolist() == [["b"], ["-"], ["c"]]
    with pytest.raises(ValueError, match="invalid literal"):
        rm.pad_sequences(words)


PLANNED = {
    "a number": (lambda: pl.col("row").ragmask.softmax(), "'row', Int64.*one value a row"),
    "strings": (lambda: pl.col("words").ragmask.softmax(), r"'words', List\(String\).*vocabulary"),
    "integers": (lambda: pl.col("ids").ragmask.softmax(), "float32.*by a cast of the column"),
    "floats as ids": (lambda: pl.col("numbers").ragmask.embedding(TABLE), "ids must be integers"),
    "no vectors": (lambda: pl.col("numbers").ragmask.lstm(LSTM), r"shape \(\); the weights"),
    "other weights": (lambda: pl.col("vectors").ragmask.gru(LSTM), "weights must be GRUWeights"),
    "no weights": (lambda: pl.col("lists").ragmask.lstm(TABLE), "weights must be LSTMWeights"),
    "a state that is none": (lambda: pl.col("vectors").ragmask.gru(GRU, "c"), "'outputs', 'h'"),
    "another word": (lambda: pl.col("numbers").ragmask.pool("median"), "how must be one of"),
    "another side": (lambda: pl.col("numbers").ragmask.truncate(3, "left"), 'side must be "pre"'),
    "less than none": (lambda: pl.col("numbers").ragmask.pad(0), "maxlen must be at least 1"),
    "a value": (lambda: pl.col("ids").ragmask.pad(3, value=0.5), "value 0.5 does not fit"),
    "an odd width": (lambda: pl.col("ids").ragmask.split(2, width=9), "pass width=10"),
    "no ids": (lambda: pl.col("vectors").ragmask.apply(MODEL), "input 'ids'"),
    "no struct": (lambda: pl.col("ids").ragmask.apply(TWO_INPUTS), "pass a column of structs"),
    "a field": (lambda: pl.struct("ids").ragmask.apply(TWO_INPUTS), "no column 'more'"),
    "a text as table": (lambda: pl.col("ids").ragmask.embedding([["a"]]), "table"),
}


@pytest.mark.parametrize("name", PLANNED)
def test_a_wrong_column_is_told_when_a_query_is_planned(frame, name):
    query, message = PLANNED[name]
    words = frame.lazy().with_columns(words=pl.lit(["a"]))
    with pytest.raises(rm.RagmaskError, match=rf"ragmask\.\w+ of column .*{message}"):
        words.select(query()).collect_schema()


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_rows_are_told_as_ragmask_tells_them(frame, engine):
    query = frame.lazy().select(pl.col("ids").ragmask.embedding(TABLE[:2]))
    with pytest.raises(
        rm.InvalidInputError, match=r"column 'ids', List.* id \d is outside"
    ) as info:
        query.collect(engine=engine)
    assert "rows" in str(info.value)
    ragged = pl.LazyFrame({"x": [[[1.0], [1.0, 2.0]]]})
    with pytest.raises(rm.InvalidInputError, match="row 0 has a step of 2"):
        ragged.select(pl.col("x").ragmask.softmax()).collect(engine=engine)


def test_a_frame_tells_all_that_does_not_fit(frame):
    with pytest.raises(rm.InvalidInputError, match=r"'a'.*'ids', and no column 'b'.*'more'"):
        frame.lazy().ragmask.apply(TWO_INPUTS, inputs={"ids": "a", "more": "b"})
    inputs = {"ids": "row", "more": "vectors"}
    with pytest.raises(rm.InvalidInputError, match=r"'ids'[^\n]*\n[^\n]*'more'"):
        frame.ragmask.apply(TWO_INPUTS, inputs=inputs)
    with pytest.raises(rm.InvalidInputError, match="cannot be kept"):
        frame.rename({"row": "state"}).ragmask.apply(MODEL, keep=["state"])


@pytest.mark.parametrize(
    ("library", "extra"), [("polars", "polars"), ("pandas", "pandas"), ("duckdb", "duckdb")]
)
def test_a_library_that_is_not_there_names_its_extra(library, extra):
    code = f"import sys; sys.modules[{library!r}] = None; import ragmask.interop.{library}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"MissingExtraError: ragmask.interop.{library} needs {library}" in ran.stderr
    assert f'pip install "ragmask[{extra}]"' in ran.stderr
