"""ragmask's ops as SQL functions of DuckDB, and DuckDB's relations as columns of lists."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.columns import topk
from ragmask.interop.duckdb import register
from tests.operations import GRU, LSTM, RNN, TABLE
from tests.peers.list_columns import MODEL, TWO_INPUTS, columns

TABLES = {"words": TABLE, "weighs": np.arange(8.0)}
WEIGHTS = {"forth": LSTM, "gated": GRU, "plain": RNN}
MODELS = {"words": MODEL, "two": TWO_INPUTS}


@pytest.fixture(scope="module")
def rows():
    return columns()


@pytest.fixture(scope="module")
def database(rows):
    with duckdb.connect() as connection:
        register(connection, tables=TABLES, weights=WEIGHTS, models=MODELS)
        connection.register("given", rows)
        connection.execute("create table rows as select *, numbers::float[] as small from given")
        yield connection


def told(values):
    """Values as words: a tuple is a list, and NaN is not itself."""
    return repr(values).replace("(", "[").replace(")", "]")


SAME = {
    "softmax(numbers)": lambda t: rm.temporal_softmax(t["numbers"]),
    "temporal_softmax(vectors)": lambda t: rm.temporal_softmax(t["vectors"]),
    "softmax(lists)": lambda t: rm.temporal_softmax(t["lists"]),
    "cumsum(ids)": lambda t: rm.temporal_cumsum(t["ids"]),
    "cumsum(numbers)": lambda t: rm.temporal_cumsum(t["numbers"]),
    "flip(vectors)": lambda t: rm.temporal_flip(t["vectors"]),
    "sort(numbers)": lambda t: rm.temporal_sort(t["numbers"]),
    "temporal_sort(ids, true)": lambda t: rm.temporal_sort(t["ids"], descending=True),
    "argsort(ids, descending := true)": lambda t: rm.temporal_argsort(t["ids"], descending=True),
    "topk(ids, 2)": lambda t: topk(t["ids"], k=2),
    "temporal_pool(numbers)": lambda t: rm.temporal_pool(t["numbers"]),
    "pool(numbers, 'sum')": lambda t: rm.temporal_pool(t["numbers"], "sum"),
    "count(numbers)": lambda t: rm.temporal_pool(t["numbers"], "count"),
    "argmax(numbers)": lambda t: rm.temporal_pool(t["numbers"], "argmax"),
    "pool(numbers, 'logsumexp')": lambda t: rm.temporal_pool(t["numbers"], "logsumexp"),
    "pool(ids, how := 'mean')": lambda t: rm.temporal_pool(t["ids"], "mean"),
    "masking(numbers, 0.5)": lambda t: rm.masking(t["numbers"], 0.5),
    "lengths(vectors)": lambda t: [
        row if row is None else len(row) for row in t["vectors"].to_pylist()
    ],
    "truncate(ids, 2)": lambda t: [row and row[:2] for row in t["ids"].to_pylist()],
    "truncate(ids, 2, 'pre')": lambda t: [row and row[-2:] for row in t["ids"].to_pylist()],
    "pad(ids, 2, value := 9)": lambda t: [
        row if row is None else [*row, 9, 9][:2] for row in t["ids"].to_pylist()
    ],
    "pad(ids, 6, 'pre', value := null)": lambda t: [
        row if row is None else [None] * (6 - len(row)) + row for row in t["ids"].to_pylist()
    ],
    "split(ids, 2, 6)": lambda t: [
        row if row is None else [row[:3], row[3:]] for row in t["ids"].to_pylist()
    ],
    "embedding_words(ids)": lambda t: rm.embedding(t["ids"], TABLE),
    "embedding_words(ids, true)": lambda t: rm.embedding(t["ids"], TABLE, mask_zero=True),
    "embedding_weighs(ids)": lambda t: rm.embedding(t["ids"], TABLES["weighs"]),
    "lstm_forth(vectors)": lambda t: rm.lstm(t["vectors"], LSTM).outputs,
    "lstm_forth_h(vectors)": lambda t: rm.lstm(t["vectors"], LSTM).h,
    "lstm_forth_c(lists)": lambda t: rm.lstm(t["vectors"], LSTM).c,
    "gru_gated_h(vectors)": lambda t: rm.gru(t["vectors"], GRU).h,
    "rnn_plain(vectors)": lambda t: rm.rnn(t["vectors"], RNN).outputs,
    "apply_two(ids, more)": lambda t: rm.tables.TableModel(TWO_INPUTS)(t)["both"],
}


@pytest.mark.parametrize("call", SAME)
def test_a_function_gives_what_the_op_gives(database, rows, call):
    wanted = SAME[call](rows)
    wanted = wanted if isinstance(wanted, list) else wanted.to_pylist()
    made = database.sql(f"select ragmask_{call} from rows order by row").fetchall()
    assert told([one for (one,) in made]) == told(wanted)


@pytest.mark.parametrize(
    ("call", "type_"),
    [
        ("softmax(small)", "FLOAT[]"),
        ("softmax(numbers)", "DOUBLE[]"),
        ("softmax(ids)", "DOUBLE[]"),
        ("softmax([1, 2]::float[2])", "FLOAT[]"),
        ("softmax(vectors)", "FLOAT[][]"),
        ("pool(small, 'max')", "FLOAT"),
        ("count(small)", "BIGINT"),
        ("count(vectors)", "BIGINT"),
        ("argmax(vectors)", "BIGINT[]"),
        ("pool(small, 'std')", "FLOAT"),
        ("pool(vectors, 'max')", "FLOAT[]"),
        ("cumsum(ids)", "BIGINT[]"),
        ("sort(small)", "FLOAT[]"),
        ("argsort(small)", "BIGINT[]"),
        ("topk(small, 3)", 'STRUCT("values" FLOAT[], steps BIGINT[])'),
        ("lengths(small)", "BIGINT"),
        ("split(small, 2, 8)", "FLOAT[][]"),
        ("embedding_words(ids)", "FLOAT[3][]"),
        ("lstm_forth(vectors)", "FLOAT[17][]"),
        ("lstm_forth_h(vectors::double[][])", "DOUBLE[17]"),
        ("apply_words(ids)", "STRUCT(state FLOAT[3], words FLOAT[4][])"),
        ("apply_two(ids, more)", "FLOAT[5]"),
    ],
)
def test_types(database, call, type_):
    assert database.sql(f"select ragmask_{call} from rows").types == [type_]


def test_a_model_of_several_outputs_gives_structs(database, rows):
    made = database.sql("select ragmask_apply_words(ids) from rows order by row").fetchall()
    wanted = rm.tables.TableModel(MODEL)(rows)
    for (one,), words, state in zip(
        made, wanted["words"].to_pylist(), wanted["state"].to_pylist(), strict=True
    ):
        assert (one is None) == (words is None)
        if one is not None:
            assert told(one["words"]) == told(words)
            assert told(one["state"]) == told(state)


def test_many_chunks_and_threads(database):
    lists = "select range(i % 9)::float[] as x, i from range(50_000) t(i)"
    made = database.sql(f"select ragmask_pool(x, 'sum') from ({lists}) order by i").fetchnumpy()
    (sums,) = made.values()
    lengths = np.arange(50_000) % 9
    assert sums.tolist() == (lengths * (lengths - 1) / 2).tolist()
    soft = database.sql(f"select sum(list_sum(ragmask_softmax(x))) from ({lists})").fetchall()[0][0]
    assert soft == pytest.approx(np.count_nonzero(lengths))


def test_clauses(database):
    few = "select row from rows where ragmask_lengths(numbers) = 2 group by row"
    again = "select row from rows where len(numbers) = 2"
    assert sorted(database.sql(few).fetchall()) == sorted(database.sql(again).fetchall())
    none = database.sql("select ragmask_softmax(numbers) from rows where false")
    assert none.fetchall() == []
    assert database.sql("select ragmask_softmax(null::float[])").fetchall() == [(None,)]


def test_a_relation_goes_into_an_op(database, rows):
    relation = database.sql("select numbers from rows order by row")
    assert rm.temporal_softmax(relation).to_pylist() == SAME["softmax(numbers)"](rows).to_pylist()
    relation = database.sql("select vectors from rows order by row")
    assert rm.lstm(relation, LSTM).h.to_pylist() == rm.lstm(rows["vectors"], LSTM).h.to_pylist()
    with pytest.raises(rm.UnsupportedTypeError, match="columns numbers, row: pass one of them"):
        rm.temporal_softmax(database.sql("select numbers, row from rows"))
    applied = rm.tables.TableModel(MODEL, ["row"])(database.sql("select ids, row from rows"))
    assert applied.column_names == ["row", "state", "words"]


def test_real_data(database):
    query = f"select ragmask_pool(frames) as mean from '{JAPANESE_VOWELS}'"
    means = np.array([one for (one,) in database.sql(query).fetchall()], np.float32)
    frames = database.sql(f"select frames from '{JAPANESE_VOWELS}'")
    wanted = rm.temporal_pool(frames)
    assert means.tolist() == np.array(wanted.to_pylist(), np.float32).tolist()


def test_functions_are_made_anew():
    with duckdb.connect() as connection:
        for number in (1.0, 2.0):
            register(connection, prefix="r_", tables={"t": np.full((1, 1), number)})
            found = connection.sql("select r_embedding_t([0])").fetchall()
            assert found == [([(number,)],)]
        names = connection.sql("select function_name from duckdb_functions()").fetchall()
        inner = [name for (name,) in names if name.startswith("r_embedding_t__")]
        assert len(inner) == 1
        with connection.cursor() as cursor:
            register(cursor, prefix="r_")
            assert cursor.sql("select r_pool([1, 2])").fetchall() == [(1.5,)]
        assert connection.sql("select r_pool([1, 2])").fetchall() == [(1.5,)]


def test_a_read_only_database(tmp_path):
    path = str(tmp_path / "a.db")
    with duckdb.connect(path) as connection:
        connection.execute("create table t as select [1, 3] as x")
    with duckdb.connect(path, read_only=True) as connection:
        register(connection)
        assert connection.sql("select ragmask_pool(x) from t").fetchall() == [(2.0,)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("softmax(row)", r"does not support.*\n?.*ragmask_softmax\(x FLOAT\[\]\)"),
        ("softmax(['a'])", "does not support"),
        ("embedding_words(['a'])", "does not support|Conversion"),
        ("embedding_words([99])", "ragmask_embedding_words in .*id 99 is outside"),
        ("lstm_forth([[1, 2, 3]])", "length 3 to array with length 5"),
        ("pool(numbers, 'count')", r"'count' gives integers.*count\(x\)"),
        ("pool(numbers, 'median')", "ragmask_pool in .*how must be one of"),
        ("pool(numbers, row::varchar)", "how is one value for all rows, and no column"),
        ("truncate(numbers, null)", "maxlen is null"),
        ("truncate(numbers, -1)", "maxlen must be at least 0; got -1"),
        ("pad(ids, 3, 'left')", 'padding must be "pre" or "post"'),
        ("pad(ids, 3, value := 0.5)", "value 0.5 does not fit"),
        ("split(ids, 4, 9)", "pass width=12"),
        ("split(ids, 1, 2)", "less than the longest row"),
        ("softmax([[1.0], [1, 2]])", "row 0 has a step of 2"),
        ("apply_two(ids)", "does not support"),
    ],
)
def test_errors(database, call, message):
    with pytest.raises(duckdb.Error, match=f"(?s){message}"):
        database.sql(f"select ragmask_{call} from rows").fetchall()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prefix": "a b"}, rm.InvalidInputError, "letters, digits and _"),
        ({"tables": {"a;b": TABLE}}, rm.InvalidInputError, "'ragmask_embedding_a;b'"),
        ({"tables": {"a": [["x"]]}}, rm.UnsupportedTypeError, "table"),
        ({"tables": {"a": TABLE.astype(np.float16)}}, rm.UnsupportedTypeError, "no type for half"),
        ({"weights": {"a": TABLE}}, rm.UnsupportedTypeError, "weights 'a' must be LSTMWeights"),
        ({"models": {"a": "nowhere"}}, rm.RagmaskError, "nowhere"),
    ],
)
def test_what_cannot_be_registered(options, error, message):
    with duckdb.connect() as connection, pytest.raises(error, match=message):
        register(connection, **options)


def test_arrow_is_written_in_sql():
    from ragmask.interop.duckdb.types import sql_type

    struct = pa.struct({'a"b': pa.int8(), "c": pa.large_list(pa.list_(pa.bool_(), 2))})
    assert sql_type(struct) == 'STRUCT("a""b" TINYINT, "c" BOOLEAN[2][])'
