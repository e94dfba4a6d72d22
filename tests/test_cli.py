"""The command line: its numbers against plain loops, its output as a person gets it."""

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.filesize import decimal
from typer.testing import CliRunner

import ragmask as rm
from ragmask.cli import main
from ragmask.cli.advice import Advice, advise, code, percent
from ragmask.cli.app import app
from ragmask.cli.demo import draw_row
from ragmask.cli.inspect import bar, batch_sizes
from ragmask.cli.lengths import (
    Batches,
    by_rows,
    by_tokens,
    cut,
    evenly,
    histogram,
    quantile,
    tokens_for,
)
from ragmask.cli.measure import measure_array
from ragmask.data import JAPANESE_VOWELS
from ragmask.streaming.plan import Window
from tests.interpreters import run_python

LENGTHS = st.lists(st.integers(0, 300), max_size=60).map(lambda rows: np.array(rows, np.int64))
SOME_LENGTHS = st.lists(st.integers(0, 300), min_size=1, max_size=60).map(
    lambda rows: np.array(rows, np.int64)
)

WORDS = [["a", "b"], [], None, ["c", None, "d"], ["e"], []]
EVENTS = [
    [{"name": "x", "t": 1}],
    [{"name": "y", "t": None}, None],
    None,
    [],
    [{"name": None, "t": None}],
    [{"name": "z", "t": 3}] * 4,
]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """A pipe of 80 columns, whatever the environment of the tests forces upon rich."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None, raising=False)


@pytest.fixture
def small(tmp_path):
    """Strings, structs, numbers; null and empty lists; two row groups."""
    struct = pa.struct([("name", pa.string()), ("t", pa.int64())])
    table = pa.table(
        {
            "words": pa.array(WORDS, pa.list_(pa.string())),
            "events": pa.array(EVENTS, pa.list_(struct)),
            "ids": pa.array([[1, None], None, [], [2], [3, 4, 5], [6]], pa.large_list(pa.int32())),
            "label": pa.array(range(6)),
            "vector": pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float32(), 2)),
        }
    )
    path = tmp_path / "small.parquet"
    pq.write_table(table, path, row_group_size=4)
    return path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def run_main(capsys, monkeypatch, *arguments):
    """Exit code, stdout and stderr of the entry point."""
    monkeypatch.setattr(sys, "argv", ["ragmask", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


# -- pure functions -----------------------------------------------------------------------


def batches_of(lengths, rows):
    return [lengths[first : first + rows] for first in range(0, len(lengths), rows)]


@given(LENGTHS, st.integers(1, 70), st.integers(1, 9))
def test_padding_against_plain_loops(lengths, rows, multiple_of):
    shapes, steps = [], 0
    for batch in batches_of(lengths.tolist(), rows):
        width = max(batch)
        while width % multiple_of:
            width += 1
        shapes.append([len(batch), width])
        steps += width * len(batch)
    made = by_rows(lengths, rows)
    assert made.shapes(multiple_of).tolist() == shapes
    assert made.padded_steps(multiple_of) == steps
    share = 1 - sum(lengths.tolist()) / steps if steps else 0
    assert made.padding_share(multiple_of) == pytest.approx(share)


@given(LENGTHS, st.integers(1, 500), st.integers(1, 70))
def test_batches_by_tokens_keep_the_limit_and_every_row(lengths, tokens, window):
    firsts = range(0, len(lengths), window)
    windows = [Window(first, min(first + window, len(lengths))) for first in firsts]
    made = by_tokens(lengths, windows, tokens)
    for one in windows:
        inside = slice(one.first, one.last)
        assert made.lengths[inside].tolist() == sorted(lengths[inside].tolist())
        assert one.first in made.ends
    assert all(rows * width <= tokens or rows == 1 for rows, width in made.shapes().tolist())
    assert made.ends[-1] == len(lengths)


@given(SOME_LENGTHS, st.integers(1, 60))
def test_batches_evenly_are_so_many_and_differ_by_one_row(lengths, number):
    number = min(number, len(lengths))
    made = evenly(lengths, number)
    rows = made.shapes()[:, 0]
    assert (made.number, rows.sum()) == (number, len(lengths))
    assert rows.max() - rows.min() <= 1


def test_tokens_count_an_empty_row_as_a_step():
    assert tokens_for(np.zeros(10, np.int64), 64) == 64
    assert tokens_for(np.array([31, 33]), 64) == 2048


def test_truncated_keeps_the_batches():
    made = Batches(np.array([1, 5, 9]), np.array([0, 2, 3])).truncated(4)
    assert made.shapes().tolist() == [[2, 4], [1, 4]]


@given(SOME_LENGTHS, st.floats(0, 1))
def test_quantile_is_the_smallest_length_that_enough_rows_do_not_exceed(lengths, share):
    found = quantile(lengths, share)
    rows = lengths.tolist()
    assert found in rows
    assert sum(length <= found for length in rows) >= share * len(rows) - 1e-9
    shorter = [length for length in rows if length < found]
    assert len(shorter) <= share * len(rows) + 1e-9


@given(SOME_LENGTHS)
def test_histogram_counts_every_row_once(lengths):
    bins = histogram(lengths)
    for one in bins:
        assert one.rows == sum(one.first <= length <= one.last for length in lengths.tolist())
    assert sum(one.rows for one in bins) == len(lengths)
    assert (bins[0].first, bins[-1].last) == (lengths.min(), lengths.max())
    assert len(bins) <= 18


def test_histogram_puts_a_far_tail_into_one_bin():
    bins = histogram(np.array([*range(10)] * 100 + [10_000]))
    assert bins[-1] == (10, 10_000, 1)
    assert [one.rows for one in bins[:-1]] == [100] * 10
    assert histogram(np.empty(0, np.int64)) == []


@given(LENGTHS, st.integers(0, 300))
def test_cut_against_truncate(lengths, maxlen):
    rows = [range(length) for length in lengths.tolist()]
    shorter = [row[:maxlen] for row in rows]
    assert cut(lengths, maxlen) == (
        sum(len(a) != len(b) for a, b in zip(rows, shorter, strict=True)),
        sum(len(a) - len(b) for a, b in zip(rows, shorter, strict=True)),
    )


@given(st.floats(0, 1))
def test_percent_is_near(share):
    text = percent(share)
    if text != "<0.01%":
        assert float(text.removesuffix("%")) == pytest.approx(100 * share, abs=0.51)
    assert percent(0) == "0%"


@pytest.mark.parametrize(("share", "text"), [(1, "####"), (0.5, "##"), (0.001, "#"), (0, "")])
def test_bar(share, text):
    assert bar(share, 4, ascii_only=True) == text
    assert len(bar(share, 4)) == len(text)


def test_batch_sizes_fit_the_rows():
    assert batch_sizes(10) == [10]
    assert batch_sizes(130) == [32, 64, 128]


# -- advice -------------------------------------------------------------------------------


def advise_in_one_window(lengths):
    return advise(lengths, [Window(0, lengths.size)])


def test_equal_rows_need_no_advice():
    advice = advise_in_one_window(np.full(1000, 16))
    assert (advice.tokens, advice.maxlen, advice.multiple_of) == (None, None, None)
    assert "no padding" in advice.reasons[-1][1]


def test_sorted_rows_are_left_in_file_order():
    lengths = np.sort(np.random.default_rng(0).integers(1, 100, 20_000))
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens) == (256, None)
    assert advice.reasons[1][0] == "file order"


def test_a_long_tail_is_batched_by_length_and_cut():
    lengths = np.random.default_rng(0).lognormal(3, 1.2, 50_000).astype(np.int64)
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens) == (None, 16_384)
    assert advice.maxlen is not None
    assert np.mean(lengths > advice.maxlen) < 0.01
    assert advice.multiple_of is None  # the batches' rows would differ all the same


def test_widths_are_rounded_where_that_leaves_fewer_shapes():
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 4000, 20_000)
    advice = advise_in_one_window(np.sort(lengths))
    assert (advice.rows, advice.tokens, advice.multiple_of) == (8, None, 64)
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens, advice.multiple_of) == (None, 16_384, 64)


@given(SOME_LENGTHS.filter(lambda lengths: lengths.any()))
def test_any_lengths_can_be_advised(lengths):
    advice = advise_in_one_window(lengths)
    assert (advice.rows is None) != (advice.tokens is None)
    assert (advice.rows or advice.tokens) >= 8
    assert all(setting and reason for setting, reason in advice.reasons)


@pytest.mark.parametrize(
    "advice", [Advice(64), Advice(64, maxlen=8), Advice(tokens=512, maxlen=20, multiple_of=8)]
)
def test_the_code_that_is_advised_runs(advice):
    text = code(advice, "path", "frames", 'batch["frames"]')
    for_training = text.replace("# for training: ", "")
    assert (text != for_training) == (advice.tokens is not None)
    for one in (text, for_training):
        names = {"rm": rm, "path": JAPANESE_VOWELS}
        exec(one, names)
        assert isinstance(names["padded"], rm.Padded)
        assert names["padded"].shape[1] <= (29 if advice.maxlen is None else 24)


# -- measuring ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_view(pa.string())], ids=str
)
def test_measure_strings(type_):
    measured = measure_array(pa.array(WORDS, type_))
    assert measured.lengths.tolist() == [2, 0, 0, 3, 1, 0]
    assert measured.lengths.dtype == np.int64
    assert (measured.null_rows, measured.null_steps) == (1, 1)


def test_measure_honours_slices_and_chunks():
    whole = pa.array(WORDS, pa.list_(pa.string()))
    chunked = pa.chunked_array([whole.slice(3, 2), whole.slice(2, 1), whole.slice(0, 0)])
    measured = measure_array(chunked)
    assert measured.lengths.tolist() == [3, 1, 0]
    assert (measured.null_rows, measured.null_steps) == (1, 1)
    assert measure_array(whole.slice(4)).null_steps == 0
    assert measure_array(pa.chunked_array([], whole.type)).lengths.size == 0


def test_a_struct_step_counts_once_and_is_null_if_a_field_is():
    struct = pa.struct([("name", pa.string()), ("t", pa.int64())])
    measured = measure_array(pa.array(EVENTS, pa.list_(struct)))
    assert measured.lengths.tolist() == [1, 2, 0, 0, 1, 4]
    assert (measured.null_rows, measured.null_steps) == (1, 3)


def test_values_under_a_null_list_are_no_steps():
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4], pa.int32()), pa.array([1, None, None, 4]), mask=pa.array([False, True])
    )
    measured = measure_array(lists)
    assert measured.lengths.tolist() == [2, 0]
    assert (measured.null_rows, measured.null_steps) == (1, 1)


# -- ragmask inspect ----------------------------------------------------------------------


def test_inspect_the_file_that_ships():
    result = run("inspect", JAPANESE_VOWELS)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "9,961 steps in 640 rows" in result.stdout
    assert "frames   list<fixed_size_list<float>[12]>" in result.stdout
    assert "rm.stream(" in result.stdout
    assert "\x1b" not in result.stdout
    numbers = next(line for line in result.stdout.splitlines() if line.startswith("steps a row"))
    assert numbers.split()[3:] == ["7", "10", "13", "15", "18", "22", "25", "29", "15.6"]


def test_inspect_prints_the_waste_of_real_batches():
    shown = run("inspect", JAPANESE_VOWELS).stdout
    for rows in (32, 64, 128, 256, 512):
        steps = padded = 0
        for batch in rm.stream(JAPANESE_VOWELS, columns=["frames"]).batch(rows=rows):
            steps += batch["frames"].n_steps
            padded += batch["frames"].to_padded().mask.size
        line = next(line for line in shown.splitlines() if line.strip().startswith(f"{rows}  "))
        _, before, tokens, after = line.split()
        assert before == percent(1 - steps / padded)
        assert after == measured_padding(JAPANESE_VOWELS, "frames", int(tokens.replace(",", "")))


def measured_padding(path, column, tokens):
    report = rm.stream(path, [column]).batch(tokens=tokens, column=column).measure_padding()
    return percent(1 - report.real / report.padded)


def test_the_padding_that_inspect_promises_is_what_the_stream_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lengths = np.random.default_rng(0).lognormal(1, 1, 150_000).astype(np.int64)
    values, offsets = np.zeros(lengths.sum(), np.int8), np.append(0, lengths.cumsum())
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
    pq.write_table(pa.table({"ids": lists}), "long.parquet", row_group_size=60_000)
    shown = " ".join(run("inspect", "long.parquet").stdout.split())
    tokens = int(re.search(r"batch\(tokens=(\d+), column=\"ids\"\)", shown)[1])
    promised = re.search(r"take padding from \S+ to ([^\s,]+),", shown)[1]
    assert promised == measured_padding("long.parquet", "ids", tokens)


def code_shown(*arguments):
    """The advised code, as it is printed at the end."""
    shown = run("inspect", *arguments).stdout
    return "\n".join(line[2:] for line in shown[shown.rindex("  stream = ") :].splitlines())


def test_what_inspect_prints_runs(tmp_path):
    rng = np.random.default_rng(0)
    rows = [["word"] * length for length in rng.integers(0, 60, 500)]
    for key in ("year=2023", "year=2024"):
        (tmp_path / key).mkdir()
        pq.write_table(pa.table({"words": rows}), tmp_path / key / "part.parquet")
    uri = tmp_path.as_uri()
    for path in (tmp_path, uri, f"{uri}/**/*.parquet"):
        shown = run("inspect", path).stdout
        assert shown.startswith("2 files  1,000 rows, ")
        assert "year   int64" in shown
        text = code_shown(path)
        assert 'column="words"' in text
        names = {"rm": rm}
        exec(text, names)
        assert isinstance(names["padded"], rm.Padded)
    alone = tmp_path / "year=2023" / "part.parquet"
    size = decimal(alone.stat().st_size)
    assert run("inspect", alone.as_uri()).stdout.splitlines()[0].endswith(f"500 rows, {size}")


def test_inspect_every_kind_of_list(small):
    shown = " ".join(run("inspect", small).stdout.split())
    assert "6 steps in 6 rows; 3 empty rows (50%), of which 1 null list; 1 null step" in shown
    assert "8 steps in 6 rows; 2 empty rows (33%), of which 1 null list; 3 null steps" in shown
    assert "7 steps in 6 rows; 2 empty rows (33%), of which 1 null list; 1 null step" in shown
    assert "vocabulary = rm.Vocabulary.build(stream)" in shown
    assert 'vocabulary.encode(batch["words"])' in shown
    assert 'batch["events.t"].to_padded' in shown
    assert 'batch["ids"].to_padded' in shown


def test_inspect_a_folder_a_glob_and_a_column(small):
    alone = run("inspect", small, "--column", "ids", "-c", "ids").stdout
    assert "words ──" not in alone
    assert alone.count("ids ──") == 1
    for path in (small.parent, small.parent / "*.parquet"):
        shown = run("inspect", path, "-c", "ids").stdout
        assert shown.splitlines()[:-4] == alone.splitlines()[:-4]
    twice = run("inspect", small, small, "-c", "ids").stdout
    assert twice.startswith("2 files  12 rows")
    assert "14 steps in 12 rows" in twice


def test_inspect_arrow_files(small, tmp_path):
    table = pq.read_table(small)
    path = tmp_path / "small.arrow"
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, 2)
    lines = run("inspect", path).stdout.splitlines()
    assert lines[3:20] == run("inspect", small).stdout.splitlines()[3:20]


def test_inspect_no_rows_and_only_empty_rows(small, tmp_path):
    table = pq.read_table(small)
    for name, rows in (("zero", table.slice(0, 0)), ("empty", table.slice(2, 1))):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(rows, path)
        result = run("inspect", path, "-c", "words", "--plot", tmp_path / f"{name}.png")
        assert result.exit_code == 0
        assert f"0 steps in {rows.num_rows} row" in result.stdout
        assert "nothing to pad" in result.stdout


def test_inspect_fits_80_columns_but_for_code_and_paths(small):
    for line in run("inspect", small).stdout.splitlines():
        assert len(line) <= 80 or "rm.stream(" in line or str(small) in line


def test_plot(small, tmp_path):
    picture = tmp_path / "lengths.png"
    result = run("inspect", small, "--plot", picture)
    assert result.exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "lengths.png" in result.stdout
    run("inspect", JAPANESE_VOWELS, "--plot", picture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere.parquet"], "no such file"),
        (["inspect", "SMALL", "-c", "wrds"], "did you mean 'words'"),
        (["inspect", "SMALL", "-c", "label"], "'label' is int64"),
        (["inspect", "SMALL", "-c", "vector"], "only lists have lengths that differ"),
        (["inspect", "FLAT"], "no ragged column"),
        (["inspect", "TEXT"], "neither a Parquet nor an Arrow"),
        (["inspect", "SMALL", "--plot", "nowhere/x.png"], "cannot be written"),
        (["inspect", "SMALL", "--plot", "x.nonsense"], "cannot be drawn"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(
    arguments, message, small, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no data at all")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "flat.parquet")
    files = {"SMALL": "small.parquet", "FLAT": "flat.parquet", "TEXT": "text.txt"}
    arguments = [files.get(argument, argument) for argument in arguments]
    exit_code, _, stderr = run_main(capsys, monkeypatch, *arguments)
    assert exit_code == 1
    assert stderr.startswith("ragmask: ")
    assert message in stderr
    assert stderr.count("\n") == 1


# -- ragmask demo -------------------------------------------------------------------------


def test_demo():
    result = run("demo", "--passes", "2")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "Japanese Vowels" in result.stdout
    assert "CC BY 4.0" in result.stdout
    for fact in ("rows     640", "steps    9,961", "batches  10 of 64 rows", "36% of the padded"):
        assert fact in result.stdout
    assert "steps a second" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "\x1b" not in result.stdout


def test_the_rows_that_demo_shows_are_as_long_as_it_says():
    lines = run("demo", "--passes", "1", "--rows", "7").stdout.splitlines()
    first = next(position for position, line in enumerate(lines) if line.strip() == "frames") + 1
    for line in lines[first : first + 7]:
        length, blocks = line.split()
        assert len(blocks.rstrip("·")) == 2 * int(length)


def test_draw_row():
    values, mask = np.array([0.0, 1.0, 0.5, 0.0]), np.array([True, True, True, False])
    assert draw_row(values, mask, 0.0, 1.0).plain == "▁▁██▅▅··"
    assert draw_row(values, mask, 0.0, 1.0, ascii_only=True).plain == "118855.."
    assert draw_row(np.ones(1), mask[:1], 1.0, 1.0).plain == "▁▁"
    coloured = Console(force_terminal=True, color_system="truecolor", width=80)
    with coloured.capture() as captured:
        coloured.print(draw_row(values, mask, 0.0, 1.0))
    assert "\x1b[38;2" in captured.get()


# -- the entry point ----------------------------------------------------------------------


def test_version_and_help():
    assert run("--version").stdout == f"ragmask {rm.__version__}\n"
    shown = run("--help").stdout
    assert "demo" in shown
    assert "inspect" in shown
    assert "ragmask[plot]" in run("inspect", "-h").stdout


@pytest.mark.parametrize("arguments", [["inspect"], ["nonsense"], ["demo", "--rows", "0"]])
def test_bad_usage_exits_with_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_it_runs_as_a_process_without_a_utf8_terminal():
    code = "from ragmask.cli import main; main()"
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "inspect", str(JAPANESE_VOWELS)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "####" in process.stdout
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("typer", "cli", ["--version"]),
        ("rich", "cli", ["demo"]),
        ("matplotlib", "plot", ["inspect", str(JAPANESE_VOWELS), "--plot", "x.png"]),
    ],
)
def test_a_missing_package_names_its_extra(package, extra, arguments):
    said = run_python(
        f"""
import contextlib, io, sys
sys.modules[{package!r}] = None
from ragmask.cli import main
sys.argv = ["ragmask", *{arguments!r}]
sys.stderr = io.StringIO()
try:
    main()
except SystemExit as ended:
    print(ended.code, sys.stderr.getvalue())
"""
    )
    assert said.startswith("1 ragmask: ")
    assert said.endswith(f'pip install "ragmask[{extra}]"')


def test_importing_ragmask_brings_neither_typer_nor_rich():
    said = run_python(
        "import sys, ragmask, ragmask.cli; print({'typer', 'rich', 'numba'} & set(sys.modules))"
    )
    assert said == "set()"


# -- apply --------------------------------------------------------------------------------


@pytest.fixture
def applied(tmp_path):
    """A model of words and frames, saved with its vocabulary, and a file for it."""
    layers = rm.layers
    words = layers.Input((None,), "int32", name="words")
    frames = layers.Input((None, 2), name="frames")
    x = layers.Embedding(6, 4, mask_zero=True)(words)
    outputs = {
        "state": layers.LSTM(3)(x),
        "weights": layers.TemporalSoftmax()(x),
        "mean": layers.TemporalPool()(layers.Dense(1)(frames)),
    }
    model = layers.Model([words, frames], outputs, name="two")
    vocabulary = rm.Vocabulary(["a", "b", "c"])
    model.save(tmp_path / "model", vocabulary={"words": vocabulary})
    table = pa.table(
        {
            "words": pa.array(WORDS[:4] * 700),
            "pairs": pa.array([[[1.0, 2.0]], [], [[0.5, 0.5]] * 3, None] * 700, PAIRS),
            "number": range(2800),
            "spans": [[{"at": 0, "to": 5}]] * 2800,
            "a.b": [[0.5, -1.5], [], [2.5], None] * 700,
            "nested": [[[[1.0]]]] * 2800,
            "some": [1, None] * 1400,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=600)
    return tmp_path, model, vocabulary, table


PAIRS = pa.list_(pa.list_(pa.float32(), 2))


def call_apply(folder, *options):
    paths = [str(folder / name) for name in ("model", "in.parquet", "out.parquet")]
    command = ["apply", *paths, "--input", "frames=pairs", "--keep", "number", *options]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize("rows", [None, 7])
def test_apply_writes_what_the_model_gives(applied, rows):
    folder, model, vocabulary, table = applied
    result = call_apply(folder, *([] if rows is None else ["--rows", str(rows)]))
    assert result.exit_code == 0, result.output
    assert "2,800 rows to" in result.output
    out = pq.read_table(folder / "out.parquet")
    assert out.schema.names == ["number", "state", "weights", "mean"]
    assert out["number"].to_pylist() == list(range(2800))
    ids = vocabulary.encode(table["words"])
    expected = model([ids, rm.Ragged.from_arrow(table["pairs"])])
    found = np.array(out["state"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found, expected["state"])
    weights = rm.Ragged.from_arrow(out["weights"])
    np.testing.assert_array_equal(weights.mask, expected["weights"].mask)
    kept = weights.mask
    np.testing.assert_array_equal(weights.values[kept], expected["weights"].values[kept])
    np.testing.assert_allclose(out["mean"].to_pylist(), expected["mean"], 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "frames=nothing"], "there is no column 'nothing', which is the model's input"),
        (["--input", "images=pairs"], "the model has no input 'images'; it has 'words', 'frames'"),
        (["--input", "frames"], "--input is INPUT=COLUMN; got 'frames'"),
        (["--keep", "nothing"], "there is no column 'nothing'; there are words, pairs, number, "),
        (["--keep", "state"], "column 'state' cannot be kept"),
        (["--input", "frames=number"], "rows 0–1,023 of the data set: model 'two': input 'frames'"),
        (["--input", "words=number"], "rows 0–1,023 of the data set: model 'two': input 'words'"),
        (["--input", "words=spans"], "column 'spans' has fields; say which: spans.at, spans.to"),
        (["--input", "words=spans.by"], "input 'words': no column 'spans.by'"),
        (["--input", "frames=words"], "input 'frames': column 'words' is of list<element: string>"),
        (["--input", "frames=nested"], "column 'nested' is of list<"),
    ],
)
def test_apply_says_what_is_wrong(applied, options, message):
    folder, *_ = applied
    result = call_apply(folder, *options)
    assert isinstance(result.exception, rm.InvalidInputError)
    assert message in str(result.exception)
    assert sorted(path.name for path in folder.iterdir()) == ["in.parquet", "model"]


def test_apply_needs_a_vocabulary_for_strings(applied):
    folder, model, *_ = applied
    model.save(folder / "model")
    error = call_apply(folder).exception
    assert isinstance(error, rm.InvalidInputError)
    assert "strings where it was saved with a vocabulary" in str(error)


def apply(folder, model, *options):
    """The output of a model of one input, by hand through the command."""
    model.save(folder / "model")
    names = ("model", "in.parquet", "out.parquet")
    result = CliRunner().invoke(app, ["apply", *(str(folder / name) for name in names), *options])
    if result.exception is not None:
        raise result.exception
    return pq.read_table(folder / "out.parquet")


def single(shape, *between, dtype="float32"):
    return rm.layers.Sequential([rm.layers.Input(shape, dtype, name="x"), *between], name="single")


def test_apply_reads_fields_and_names_with_dots(applied):
    folder, *_ = applied
    model = single((None,), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=a.b")
    assert out["y"].to_pylist() == [[0.5, 0.0], [], [2.5], None] * 700
    out = apply(folder, model, "--input", "x=spans.to", "--keep", "a.b", "--keep", "a.b")
    assert out.schema.names == ["a.b", "y"]
    assert out["y"].to_pylist() == [[5]] * 2800


@pytest.mark.parametrize("rows", [3, 0])
def test_apply_keeps_columns_as_they_came_and_writes_files_of_no_rows(tmp_path, rows):
    kept = {
        "at": pa.array([0, None, 10**9], pa.timestamp("us", "UTC")),
        "kind": pa.array(["a", "b", None]).dictionary_encode(),
        "price": pa.array([1, 2, None], pa.decimal128(5, 2)),
        "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
        "spans": pa.array([[{"at": 1, "word": None}, None], None, []]),
        "meta": pa.array([{"lang": "de"}, None, {"lang": None}]),
    }
    table = pa.table({"x": pa.array([[1.0], None, []], pa.list_(pa.float32())), **kept})
    pq.write_table(table.slice(0, rows), tmp_path / "in.parquet")
    options = [part for name in kept for part in ("--keep", name)]
    out = apply(tmp_path, single((None,), rm.layers.Activation("relu", name="y")), *options)
    expected = pq.read_table(tmp_path / "in.parquet")
    for name in kept:
        assert out.schema.field(name).equals(expected.schema.field(name), check_metadata=True)
        assert out[name].to_pylist() == expected[name].to_pylist()
    assert out["y"].to_pylist() == [[1.0], None, []][:rows]


def test_apply_reads_the_vectors_it_wrote(applied):
    folder, *_ = applied
    call_apply(folder)
    (folder / "out.parquet").rename(folder / "in.parquet")
    found = pq.read_table(folder / "in.parquet")["state"]
    assert found.type == pa.list_(pa.float32(), 3)
    model = single((3,), rm.layers.Dense(2, name="y"))
    out = apply(folder, model, "--input", "x=state")["y"]
    vectors = np.array(found.to_pylist(), np.float32)
    np.testing.assert_allclose(out.to_pylist(), model(vectors), 1e-5, 1e-6)
    with pytest.raises(rm.InvalidInputError, match="column 'state' has rows that are not 4 numb"):
        apply(folder, single((4,), rm.layers.Dense(2)), "--input", "x=state")


def test_apply_takes_lists_of_numbers_for_steps_of_one(applied):
    folder, *_ = applied
    model = single((None, 1), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=a.b")
    assert out["y"].to_pylist() == [[[0.5], [0.0]], [], [[2.5]], None] * 700
    out = apply(folder, model, "--input", "x=spans.to")
    assert out["y"].to_pylist() == [[[5.0]]] * 2800
    with pytest.raises(rm.InvalidInputError, match=r"got steps of shape \(\)"):
        apply(folder, single((None, 2), rm.layers.Activation("relu")), "--input", "x=a.b")


def test_apply_writes_one_number_a_row_and_refuses_nulls(applied):
    folder, *_ = applied
    model = single((), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=number")
    assert out["y"].to_pylist() == list(range(2800))
    with pytest.raises(rm.InvalidInputError, match="input 'x': column 'some' has nulls"):
        apply(folder, model, "--input", "x=some")


@rm.layers.register
class ToPadded(rm.layers.Layer):
    """Gives what a Padded stands for."""

    def call(self, inputs):
        return inputs.to_padded()

    def compute_mask(self, inputs, mask=None):
        return inputs.to_padded().mask


def test_apply_writes_padded_outputs_without_their_padding(applied):
    folder, _, vocabulary, table = applied
    model = single((None,), ToPadded(name="y"), dtype="int32")
    model.save(folder / "model")
    out = apply(folder, rm.layers.load_model(folder / "model"), "--input", "x=spans.to")
    assert out["y"].to_pylist() == [[5]] * 2800
    between = rm.layers.Embedding(6, 2, mask_zero=True), ToPadded(name="y")
    model = single((None,), *between, dtype="int32")
    model.save(folder / "model", vocabulary=vocabulary)
    again = rm.layers.load_model(folder / "model")
    found = apply(folder, again, "--input", "x=words")["y"].to_pylist()
    words = [row or [] for row in table["words"].to_pylist()]
    assert [[step is None for step in row] for row in found] == [
        [word is None for word in row] for row in words
    ]


def test_apply_does_not_write_over_what_it_reads(applied):
    folder, *_ = applied
    before = (folder / "in.parquet").read_bytes()
    (folder / "link").symlink_to("in.parquet")
    for name in ("in.parquet", "link"):
        paths = [str(folder / one) for one in ("model", "*.parquet", name)]
        result = CliRunner().invoke(app, ["apply", *paths, "-i", "frames=pairs"])
        assert isinstance(result.exception, rm.InvalidInputError)
        assert "is the file being read" in str(result.exception)
    assert (folder / "in.parquet").read_bytes() == before


def test_apply_says_in_which_rows_an_error_is(applied):
    folder, *_ = applied
    numbers = pa.table({"x": [[1]] * 5000 + [[9]] + [[1]] * 5000})
    pq.write_table(numbers, folder / "in.parquet")
    embedding = rm.layers.Embedding(5, 2, name="few")
    (folder / "out.parquet").write_text("of before")
    with pytest.raises(rm.InvalidInputError, match=r"rows 5,000–5,999 of the data set: .*'few'"):
        apply(folder, single((None,), embedding, dtype="int32"), "--rows", "1000")
    assert (folder / "out.parquet").read_text() == "of before"
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_apply_needs_an_output(applied):
    folder, *_ = applied
    result = CliRunner().invoke(app, ["apply", str(folder / "model"), str(folder / "in.parquet")])
    assert result.exit_code == 2
    assert "last the file to write" in result.output
