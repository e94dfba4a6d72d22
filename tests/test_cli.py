"""The command line: its output as a person gets it."""

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.filesize import decimal
from typer.testing import CliRunner

import ragmask as rm
from ragmask.cli import main
from ragmask.cli.advice import percent
from ragmask.cli.app import app
from ragmask.cli.demo import draw_row
from ragmask.data import JAPANESE_VOWELS
from tests.interpreters import run_python
from tests.words import EVENTS, WORDS

pytestmark = pytest.mark.usefixtures("no_terminal")


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
