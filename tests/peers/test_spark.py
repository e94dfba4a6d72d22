"""Models on Spark: a DataFrame's step, and a stream's parts as tasks. One session of two CPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import cloudpickle
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from typer.testing import CliRunner

import ragmask as rm
from ragmask.cli.app import app
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.spark import apply, apply_stream
from ragmask.interop.spark.ship import check_classic
from ragmask.layers import Activation, Dense, Embedding, Input, Layer, Model, TemporalSoftmax
from ragmask.tables import TableModel
from tests.interpreters import run_python
from tests.words import WORDS

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import this file


@pytest.fixture(scope="session")
def spark():
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
    session = builder.config("spark.ui.showConsoleProgress", False).getOrCreate()
    session.sparkContext.setLogLevel("OFF")  # of tasks that are made to fail
    yield session
    session.stop()


def single(shape, *layers, dtype="float32", **names):
    entry = Input(shape, dtype, name=names.get("name", "x"))
    output = entry
    for layer in layers:
        output = layer(output)
    return Model(entry, {"y": output}, name="single")


def relu(shape=(None,), dtype="float32"):
    return single(shape, Activation("relu"), dtype=dtype)


class Failing(Layer):
    """Fails on rows of the number 3."""

    def __init__(self, how, **options):
        super().__init__(**options)
        self.how = how

    def call(self, inputs):
        values = getattr(inputs, "values", inputs)
        if len(values) and (values == 3).any():
            self.how()
        return inputs


def numbers(rows=40, groups=8):
    """A table of single numbers in lists, and how many rows its row groups have."""
    return pa.table({"x": pa.array([[float(row)] for row in range(rows)]), "id": range(rows)})


@pytest.fixture
def source(tmp_path):
    pq.write_table(numbers(), tmp_path / "in.parquet", row_group_size=8)
    return tmp_path / "in.parquet"


# -- a step of a DataFrame ----------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of words, frames and a number, saved with its vocabulary."""
    words = Input((None,), "int32", name="words")
    frames = Input((None, 2), name="frames")
    number = Input((), "int16", name="number")
    outputs = {
        "soft": TemporalSoftmax()(Embedding(6, 4, mask_zero=True)(words)),
        "mean": rm.layers.TemporalPool()(Dense(3)(frames)),
        "same": Activation("relu")(number),
    }
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = Model([words, frames, number], outputs, name="two")
    model.save(folder, vocabulary={"words": rm.Vocabulary(["a", "b", "c"])})
    return folder


def test_a_dataframe_gets_what_the_model_makes_of_the_same_table(spark, saved):
    count = len(WORDS)
    table = pa.table(
        {
            "Words": [["z"]] * count,
            "words": WORDS,
            "a.b": pa.array(
                [[[1.0, 2.0]], [], None, [[0.5, 0.5]] * 3, [None, [3.0, 1.0]], [[0.0, 0.0]]],
                pa.list_(pa.list_(pa.float32())),
            ),
            "number": pa.array(range(count), pa.int16()),
            "when": pa.array([0, None, 10**15, 1, 2, 3], pa.timestamp("us", "UTC")),
            "deep": [{"at": [1, None]}, None, {"at": None}, {"at": []}, None, None],
            "o`clock": pa.array([b"a", None, b"", b"c", b"d", b"e"]),
        }
    )
    keep, inputs = ["when", "deep", "o`clock"], {"frames": "a.b"}
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        df = spark.createDataFrame(table)
        out = apply(df, saved, keep, inputs)
        assert out.columns == [*keep, "soft", "mean", "same"]
        assert [out.schema[name] for name in keep] == [df.schema[name] for name in keep]
        assert out.schema["soft"].dataType.simpleString() == "array<array<float>>"
        assert out.schema["mean"].dataType.simpleString() == "array<float>"
        found = out.toArrow()
    finally:
        spark.conf.unset("spark.sql.caseSensitive")
    expected = TableModel(saved, keep, inputs)(table)
    for name in out.columns:
        assert found[name].to_pylist() == expected[name].to_pylist(), name


def test_rows_of_many_batches_and_partitions_keep_their_order(spark):
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        df = spark.read.parquet(str(JAPANESE_VOWELS)).repartition(3).cache()
        model = single((None, 12), TemporalSoftmax(), name="frames")
        found = apply(df, model, ["speaker", "frames"]).toArrow()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    given = df.toArrow()
    assert found["speaker"].equals(given["speaker"])
    assert found["frames"].equals(given["frames"])
    assert found["y"].to_pylist() == TableModel(model)(given)["y"].to_pylist()


@pytest.mark.parametrize(
    ("dtype", "column", "made"),
    [
        ("uint8", "smallint", "smallint"),
        ("uint16", "int", "int"),
        ("uint32", "bigint", "bigint"),
        ("uint64", "bigint", "decimal(20,0)"),
        ("float16", "float", "float"),
        ("bool", "boolean", "boolean"),
    ],
)
def test_numbers_that_spark_lacks_become_wider(spark, dtype, column, made):
    class Cast(Layer):
        def call(self, inputs):
            return inputs.with_values(inputs.values.astype(dtype))

    df = spark.createDataFrame([([1, 0],), (None,)], "x array<int>").selectExpr(
        f"cast(x as array<{column}>) x"
    )
    kind = "float32" if column == "float" else {"boolean": "bool"}.get(column, "int64")
    out = apply(df, single((None,), Cast(), dtype=kind))
    assert out.schema["y"].dataType.simpleString() == f"array<{made}>"
    assert [row.y for row in out.collect()] == [[1, 0], None]


def test_nothing_runs_before_rows_are_asked_for_and_no_other_column_is_read(spark):
    df = spark.createDataFrame([([1.0],), ([-1.0],)], "x array<float>")
    bad = df.selectExpr("x", "raise_error('this column was read') bad", "interval 2 months span")
    assert [row.y for row in apply(bad, relu()).collect()] == [[1.0], [0.0]]
    apply(bad, relu(), ["bad"])


def test_kept_columns_without_nulls_stay_so(spark):
    df = spark.range(3).selectExpr("id", "array(cast(id as float)) x")
    out = apply(df, relu(), ["id"])
    assert not out.schema["id"].nullable
    assert [tuple(row) for row in out.sort("id").collect()] == [(n, [float(n)]) for n in range(3)]


def test_an_empty_frame_has_the_columns(spark):
    df = spark.createDataFrame([], "x array<float>, id int")
    assert apply(df, relu(), ["id"]).toArrow().to_pydict() == {"id": [], "y": []}


@pytest.mark.parametrize(
    ("schema", "options", "message"),
    [
        ("words array<string>, number smallint", {}, "no column 'frames', which is the model's"),
        ("id int", {}, "'words', which .*, and no column 'frames', .*; there are id"),
        (
            "words array<array<float>>, frames array<string>, number smallint",
            {},
            "(?s)input 'words': .*input 'frames': column 'frames' is of list<.*string",
        ),
        ("words string, frames array<int>, number date", {}, "'frames' .*\n.*'number' holds times"),
        ("x int", {"keep": ["soft"]}, "column 'soft' cannot be kept"),
        ("x int", {"inputs": {"z": "x"}}, "the model has no input 'z'"),
        (
            "words array<string>, frames array<array<float>>, number smallint, number int",
            {},
            "2 columns are named 'number'",
        ),
        (
            "words array<string>, frames array<array<float>>, number smallint, v interval month",
            {"keep": "v"},
            "column 'v' is interval month, which Spark does not hand to Python",
        ),
        ("words struct<a: array<int>>, frames array<array<float>>, number smallint", {}, "words.a"),
    ],
)
def test_what_does_not_fit_is_told_before_a_job(spark, saved, schema, options, message):
    df = spark.createDataFrame([], schema)
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        apply(df, saved, **options)


def test_strings_need_a_vocabulary_and_other_things_are_no_frames(spark):
    df = spark.createDataFrame([], "x array<string>")
    with pytest.raises(rm.InvalidInputError, match="strings where it was saved with a vocabulary"):
        apply(df, relu(dtype="int32"))
    with pytest.raises(rm.UnsupportedTypeError, match="takes a DataFrame of Spark; got Table"):
        apply(numbers(), relu())
    with pytest.raises(rm.InvalidInputError, match="holds no saved model"):
        apply(df, "nowhere")
    with pytest.raises(rm.UnsupportedTypeError, match=r"got function: .*from_keras"):
        apply(df, single)
    with pytest.raises(rm.InvalidInputError, match="is not built: call it on a batch first"):
        apply(df, rm.layers.Sequential([Dense(2)]))
    connected = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    with pytest.raises(rm.UnsupportedTypeError, match="Spark Connect cannot broadcast"):
        check_classic(connected)


@pytest.mark.parametrize(
    ("schema", "row", "model", "message"),
    [
        ("x array<int>", [7], single((None,), Embedding(4, 2), dtype="int32"), "row 0, step 0"),
        ("x array<array<float>>", [[1.0]], relu((None, 2)), "'x': row 0 has a step of 1 numbers"),
        ("x float", None, relu(()), "input 'x': column 'x' has nulls"),
    ],
)
def test_a_row_that_is_wrong_is_named_in_spark_s_error(spark, schema, row, model, message):
    df = spark.createDataFrame([(row,)], schema)
    with pytest.raises(PythonException, match=f"InvalidInputError: .*{message}"):
        apply(df, model).collect()


# -- a stream's parts as tasks ------------------------------------------------------------


@pytest.mark.usefixtures("spark")
def test_the_engine_writes_what_the_local_one_does(saved, tmp_path, no_terminal):
    vowels = pq.read_table(JAPANESE_VOWELS)
    rows = len(vowels)
    table = vowels.append_column("words", pa.array((WORDS * rows)[:rows]))
    table = table.append_column("number", pa.array(range(rows), pa.int16()))
    pairs = pa.array([[[1.0, 2.0]], [], None, [[0.5, 0.5]] * 3] * rows, PAIRS).slice(0, rows)
    pq.write_table(table.append_column("pairs", pairs), tmp_path / "in.parquet", row_group_size=99)
    command = ["apply", str(saved), str(tmp_path / "in.parquet")]
    options = ["-i", "frames=pairs", "-k", "speaker", "-k", "split", "-k", "pairs", "--rows", "50"]
    for engine in (["local"], ["spark", "--workers", "2"]):
        target = str(tmp_path / engine[0])
        result = CliRunner().invoke(app, [*command, target, *options, "--engine", *engine])
        assert result.exit_code == 0, result.output
        assert "640 rows to" in result.output
    local, engine = (rm.stream(tmp_path / name).to_arrow() for name in ("local", "spark"))
    assert engine.schema.equals(local.schema, check_metadata=True)
    assert engine.equals(local)
    names = sorted(path.name for path in (tmp_path / "spark").iterdir())
    assert names == [f"part-{number:05}.parquet" for number in range(7)]
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "local", "spark"}


PAIRS = pa.list_(pa.list_(pa.float32(), 2))


@pytest.mark.usefixtures("spark")
def test_any_stream_comes_in_its_order_with_few_workers_too(source, tmp_path):
    stream = rm.stream(source, filter=[("id", "!=", 5)]).shuffle(1, 16).batch(rows=3)
    stream.set_epoch(2)
    stream = stream.map(lambda batch: {**batch, "twice": batch["id"] * 2})
    model, told = TableModel(relu(), ["twice"]), []
    assert apply_stream(model, stream, tmp_path / "out", workers=1, progress=told.append) == 39
    assert told[-1] == 39
    assert told == sorted(told)
    expected = pa.concat_tables([model(batch) for batch in stream])
    assert rm.stream(tmp_path / "out").to_arrow().equals(expected)


@pytest.mark.usefixtures("spark")
def test_a_data_set_of_no_rows_becomes_a_folder_of_its_columns(tmp_path):
    stream = rm.stream(numbers().slice(0, 0))
    assert apply_stream(TableModel(relu(), ["id"]), stream, tmp_path / "out") == 0
    assert rm.stream(tmp_path / "out").to_arrow().schema.names == ["id", "y"]


def fail_with(error):
    def fail():
        raise error

    return fail


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (fail_with(rm.InvalidInputError("no threes")), rm.InvalidInputError, "no threes"),
        (
            fail_with(ArithmeticError("odd")),
            rm.StreamError,
            "Spark gave up: ArithmeticError: odd,",
        ),
        (kill, rm.StreamError, "Spark gave up: .*crashed"),
    ],
)
def test_what_fails_in_a_worker_is_told_here_and_leaves_nothing(
    source, tmp_path, how, error, message
):
    model = TableModel(single((None,), Failing(how)))
    with pytest.raises(error, match=message) as told:
        apply_stream(model, rm.stream(source, ["x"]).batch(rows=4), tmp_path / "out")
    assert type(told.value) is error
    assert "\n" not in str(told.value)
    if error is rm.InvalidInputError:
        assert "in rows 0–3 of the data set" in told.value.__notes__
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.usefixtures("spark")
def test_a_worker_of_another_version_is_told(source, tmp_path, monkeypatch):
    monkeypatch.setattr(rm, "__version__", "0.0.1")
    with pytest.raises(rm.InvalidInputError, match=r"sent by ragmask 0.0.1 to a process that has"):
        apply_stream(TableModel(relu()), rm.stream(source, ["x"]), tmp_path / "out")


def test_targets_and_streams_are_refused_before_spark_starts(source, tmp_path, monkeypatch):
    monkeypatch.setattr("ragmask.interop.spark.streams.session", fail_with(AssertionError()))
    model, stream = TableModel(relu()), rm.stream(source, ["x"])
    (tmp_path / "there").mkdir()
    with pytest.raises(rm.StreamError, match="there is there, and is not replaced"):
        apply_stream(model, stream, tmp_path / "there")
    with pytest.raises(rm.StreamError, match="cannot be written: No such file"):
        apply_stream(model, stream, tmp_path / "no" / "out")
    with pytest.raises(rm.InvalidInputError, match="workers must be at least 1"):
        apply_stream(model, stream, tmp_path / "out", workers=0)
    with pytest.raises(rm.InvalidInputError, match="there is no column 'x'"):
        apply_stream(model, rm.stream(source, ["id"]), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "there"}


# -- sessions, Java, and a task's CPUs ----------------------------------------------------


OWN_SESSION = """
import os, signal, sys
from pathlib import Path
from pyspark import SparkContext
import ragmask as rm
from ragmask.interop.spark import apply_stream
from ragmask.tables import TableModel

source, target = map(Path, sys.argv[1:])

class Threads(rm.layers.Layer):
    def call(self, inputs):
        if len(inputs) and "pyspark.worker" in sys.modules:  # in a worker, the first time
            try:
                target.with_name("killed").open("x")
            except FileExistsError:
                return inputs * 0 + rm.get_num_threads()
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs * 0

x = rm.layers.Input((None,), name="x")
model = TableModel(rm.layers.Model(x, {"threads": Threads()(x)}), ["id"])
print(apply_stream(model, rm.stream(source).batch(rows=4), target, workers=2))
print(SparkContext._active_spark_context, "PYSPARK_PYTHON" in os.environ)
"""


def test_its_own_session_tries_again_gives_tasks_their_cpus_and_is_stopped(source, tmp_path):
    code = "import os; os.environ.pop('PYSPARK_PYTHON', 0)" + OWN_SESSION
    options = "--conf spark.task.cpus=2 pyspark-shell"
    environment = {"PYSPARK_SUBMIT_ARGS": options, "RAGMASK_NUM_THREADS": "", "PATH": java_path()}
    said = run_python(code, source, tmp_path / "out", timeout=300, **environment)
    assert said.splitlines() == ["40", "None False"]
    out = rm.stream(tmp_path / "out").to_arrow()
    assert out["id"].to_pylist() == list(range(40))
    assert out["threads"].to_pylist() == [[2.0]] * 40
    assert (tmp_path / "killed").exists()


def java_path():
    """PATH without Python's own folder: workers are found all the same."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if one != own)


def test_a_task_of_one_cpu_runs_one_thread(spark):
    class Threads(Layer):
        def call(self, inputs):
            return inputs * 0 + rm.get_num_threads()

    df = spark.createDataFrame([([1.0],)], "x array<float>")
    assert apply(df, single((None,), Threads())).first().y == [
        float(os.environ.get("RAGMASK_NUM_THREADS") or 1)
    ]


@pytest.mark.parametrize(("home", "message"), [("/nowhere", "/nowhere/bin/java"), ("", "java")])
def test_without_java_the_error_says_what_to_install(source, tmp_path, home, message):
    relu().save(tmp_path / "model")
    code = (
        "import sys; from ragmask.cli import main; "
        "sys.argv = ['ragmask', 'apply', *sys.argv[1:], '--engine', 'spark']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)"
    )
    paths = (tmp_path / "model", source, tmp_path / "out")
    said = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        env={**os.environ, "PATH": "/nowhere", "JAVA_HOME": home, "COLUMNS": "1000"},
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == "1"
    assert f"there is no {message}: it needs Java 17" in said.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"model", "in.parquet"}
