"""Files and tables of the writers that people use: read, reordered, and given back."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm

datasets = pytest.importorskip("datasets")
duckdb = pytest.importorskip("duckdb")
pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

ROWS = {
    "lang": ["de", "fr", "de", None],
    "ids": [[1, 2], None, [], [3]],
    "words": [["a", None], ["b"], None, []],
    "text": ["x", None, "long enough to lie outside of a view", ""],
    "answers": [{"start": [1], "text": ["a"]}, {"start": [], "text": []}] * 2,
}


def pandas_frame():
    frame = pandas.DataFrame(ROWS)
    frame["lang"] = frame["lang"].astype("category")
    frame["at"] = pandas.to_datetime(["2020-01-01"] * 4).tz_localize("Europe/Berlin")
    return frame


def polars_frame():
    return polars.DataFrame(ROWS).with_columns(
        polars.col("lang").cast(polars.Categorical),
        polars.Series("kind", ["p", "q", "p", "q"], polars.Enum(["p", "q"])),
        polars.Series("frames", [[[1.0, 2.0]], [], None, [[3.0, 4.0]]]),
        polars.Series("at", [0, 1, 2, None], polars.Datetime("us", "UTC")),
    )


def written(folder):
    """Every writer's file, and its tables in memory."""
    pandas_frame().to_parquet(folder / "pandas.parquet")
    yield folder / "pandas.parquet"
    polars_frame().write_parquet(folder / "polars.parquet")
    yield folder / "polars.parquet"
    polars_frame().write_ipc(folder / "polars.arrow")
    yield folder / "polars.arrow"
    polars_frame().write_ipc_stream(folder / "polars.arrows")
    yield folder / "polars.arrows"
    table = pa.Table.from_pylist(
        [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    )
    connection = duckdb.connect()
    connection.register("rows", table)
    connection.sql("select * from rows").write_parquet(str(folder / "duckdb.parquet"))
    yield folder / "duckdb.parquet"
    yield connection.sql("select * from rows")
    datasets.disable_progress_bars()
    datasets.Dataset(pa.table(table)).save_to_disk(folder / "datasets")
    yield folder / "datasets"
    yield pandas_frame()
    yield polars_frame()
    yield table


def test_every_writers_files_go_through_everything(tmp_path):
    for number, source in enumerate(written(tmp_path)):
        stream = rm.stream(source)
        table = stream.to_arrow()
        assert table.schema.equals(stream.schema, check_metadata=True)
        for name, values in ROWS.items():
            assert table[name].to_pylist() == values, (number, name)
        shuffled = stream.shuffle(seed=number).to_arrow()
        assert shuffled.schema == stream.schema
        assert sorted(map(str, shuffled["lang"].to_pylist())) == ["None", "de", "de", "fr"]
        batches = list(stream.batch(tokens=4, column="words"))
        assert sum(batch.num_rows for batch in batches) == 4
        again = pickle.loads(pickle.dumps(batches[0]))
        assert again.to_arrow().equals(batches[0].to_arrow())
        assert set(rm.Vocabulary.build(stream, "words").words) == {"a", "b"}
        assert set(rm.Vocabulary.build(stream, "lang").words) == {"de", "fr"}
        if not hasattr(source, "write_parquet"):  # a relation is read once
            filtered = rm.stream(source, filter=[("lang", "==", "de")]).to_arrow()
            assert filtered["ids"].to_pylist() == [[1, 2], []]
            starts = rm.stream(source, ["answers.start"]).to_arrow()["answers.start"]
            assert starts.to_pylist() == [[1], []] * 2
        target = tmp_path / f"out{number}.parquet"
        assert stream.to_parquet(target) == 4
        assert pq.read_table(target)["words"].to_pylist() == ROWS["words"]


def test_files_of_different_writers_are_one_stream(tmp_path):
    paths = [path for path in written(tmp_path) if getattr(path, "suffix", "") == ".parquet"]
    assert len(paths) == 3
    columns = ["ids", "words", "text", "lang"]
    table = rm.stream(paths, columns).to_arrow()
    for name in columns:
        assert table[name].to_pylist() == ROWS[name] * 3


def test_lists_of_lists_of_polars_and_pandas_are_vectors_where_asked():
    frames = [[[1.0, 2.0]], [], None, [[3.0, 4.0]]]
    for table in (polars_frame(), pandas.DataFrame({"frames": frames})):
        (batch,) = rm.stream(table, ["frames"], items="vectors").batch(4)
        assert batch["frames"].item_shape == (2,)
        assert batch["frames"].n_steps == 2


@pytest.mark.parametrize("mask", [None, [True, False, True]])
def test_others_take_a_ragged_and_a_stream_as_arrow(mask):
    ragged = rm.Ragged.from_offsets([1, 2, 3], [0, 2, 3], mask)
    expected = [[1, 2], [3]] if mask is None else [[1, None], [3]]
    assert polars.Series(ragged).to_list() == expected
    assert polars.from_arrow(ragged).to_list() == expected
    stream = rm.stream(pa.table({"ids": pa.array(ragged), "n": [1, 2]}))
    connection = duckdb.connect()
    connection.register("reader", pa.RecordBatchReader.from_stream(stream))
    assert connection.sql("select ids, n from reader").fetchall() == [
        (expected[0], 1),
        (expected[1], 2),
    ]
    (batch,) = stream.batch(2)
    assert polars.from_arrow(pa.record_batch(batch))["ids"].to_list() == expected


def test_a_duckdb_function_gives_a_ragged_back():
    def softmax(lists):
        return pa.array(rm.temporal_softmax(rm.Ragged.from_arrow(lists)))

    connection = duckdb.connect()
    kind = duckdb.list_type("DOUBLE")
    connection.create_function("softmax", softmax, [kind], kind, type="arrow")
    found = connection.sql("select softmax([0.0, NULL, 0.0]) as p").fetchall()
    assert found == [([0.5, None, 0.5],)]
