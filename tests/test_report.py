"""`ragmask inspect --html`: a report in one file, and that it tells the truth."""

import os
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.cli.advice import percent
from ragmask.cli.charts import histogram_chart, lines_chart
from ragmask.cli.lengths import Bin, histogram
from ragmask.data import JAPANESE_VOWELS
from tests.pages import HOSTILE, read
from tests.test_cli import run, run_main, small

__all__ = ["small"]  # a fixture
pytestmark = pytest.mark.usefixtures("no_terminal")


def report(path, *arguments):
    target = path.parent / "report.html"
    result = run("inspect", path, *arguments, "--html", target)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"written: {target}"
    return read(target.read_text("utf-8"))


@pytest.fixture
def lists(tmp_path):
    """Lengths of a long tail, in several windows' worth of row groups."""
    lengths = np.random.default_rng(0).lognormal(2, 1, 3000).astype(np.int64)
    values, offsets = np.zeros(lengths.sum(), np.int8), np.append(0, lengths.cumsum())
    ids = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"ids": ids, "label": lengths}), path, row_group_size=700)
    return path, lengths


def rows_of(table):
    return [[cell.text for cell in row.find("th", "td")] for row in table.find("tr")]


def table_of(page, label):
    return next(one for one in page.find("scroll") if one["aria-label"] == label)


def test_the_padding_it_tells_is_what_streams_do(lists):
    path, _ = lists
    head, *rows = rows_of(table_of(report(path), "Padding by batch size"))
    assert head == [
        "rows of a batch",
        "in file order",
        "by length",
        "by padded steps",
        "packed",
    ]
    assert [row[0] for row in rows] == ["32", "64", "128", "256", "512", "1,024"]
    for _, *cells in rows[::2]:
        for cell in cells:
            told, call = cell.split(" ", 1)
            call = re.sub(r"(tokens=\d+|bucket=True)", r"\1, column='ids'", call)
            call = re.sub(r"pack\((\d+)\)", r"pack(\1, 'ids')", call)
            steps = padded = 0
            for batch in eval(f"rm.stream(path, ['ids']).{call}", {"rm": rm, "path": path}):
                steps += batch["ids"].n_steps
                padded += batch["ids"].to_padded().mask.size
            assert told == percent(1 - steps / padded), call


def test_its_chart_is_its_table(lists):
    page = report(lists[0])
    _, *rows = rows_of(table_of(page, "Padding by batch size"))
    chart = page.find("chart")[1]
    told = dict(
        re.findall(
            r"(in file order|by length|by padded steps|packed): ([^;]+)", chart["aria-label"]
        )
    )
    for place, shares in enumerate(told.values(), 1):
        assert shares.split(", ") == [row[place].split(" ")[0] for row in rows]
    assert len(chart.find("polyline")) == 4


def test_bars_and_their_numbers_are_the_rows(lists):
    path, lengths = lists
    page = report(path)
    (details,) = page.find("details")
    _, *rows = rows_of(details)
    counts = {}
    for steps, count in rows:
        first, _, last = steps.replace(",", "").partition("–")
        own = (lengths >= int(first)) & (lengths <= int(last or first))
        assert int(count.replace(",", "")) == own.sum()
        counts[steps] = own.sum()
    assert sum(counts.values()) == len(lengths)
    heights = [float(bar["height"]) for bar in page.find("chart")[0].find("rect")]
    filled = [count for count in counts.values() if count]
    assert len(heights) == len(filled)
    scale = max(heights) / max(filled)
    assert heights == pytest.approx([max(1, scale * count) for count in filled], abs=0.06)
    quantiles = rows_of(table_of(page, "Quantiles of the lengths"))
    assert quantiles[1][1:9] == [
        f"{int(np.quantile(lengths, share, method='inverted_cdf')):,}"
        for share in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
    ]


def test_what_it_advises_runs_and_is_what_is_printed(lists):
    path, _ = lists
    page = report(path)
    (code,) = page.find("pre")
    names = {"rm": rm}
    exec(code.text, names)
    assert isinstance(names["padded"], rm.Padded)
    printed = run("inspect", path).stdout
    assert code.text.splitlines() == [
        line[2:] for line in printed.splitlines()[-len(code.text.splitlines()) :]
    ]
    settings = [term.text for term in page.find("dt")]
    assert settings[0].startswith("tokens=")
    assert all(setting in printed for setting in settings)


def test_every_kind_of_list_and_column(small):
    page = report(small)
    rows = rows_of(table_of(page, "The columns"))
    assert rows[1] == ["words", "list<string>", "see below"]
    assert ["label", "int64", "not measured"] in rows
    for link in page.find("a"):
        assert link["href"][1:] in [title.attributes.get("id") for title in page.find("h2")]
    assert "6 steps in 6 rows; 3 empty rows (50%), of which 1 null list; 1 null step" in page.text
    assert "# encode is yours" not in page.text
    assert [title.text for title in page.find("h2")] == ["Columns", "words", "events", "ids"]
    assert [title.text for title in report(small, "-c", "ids").find("h2")] == ["Columns", "ids"]


def test_no_rows_and_no_steps(tmp_path):
    path = tmp_path / "none.parquet"
    for rows in ([], [None, []]):
        pq.write_table(pa.table({"ids": pa.array(rows, pa.list_(pa.int8()))}), path)
        assert "there is nothing to pad" in report(path).text
    pq.write_table(pa.table({"ids": [[1]]}), path)
    assert "every row has 1 steps" in report(path).text


def test_several_files_are_named(tmp_path):
    for number in range(30):
        pq.write_table(pa.table({"ids": [[1], [2, 3]]}), tmp_path / f"{number:02}.parquet")
    result = run("inspect", tmp_path, "--html", tmp_path.parent / "r.html")
    assert result.exit_code == 0
    page = read((tmp_path.parent / "r.html").read_text("utf-8"))
    assert "60 rows in 30 files" in page.text
    assert "19.parquet" in page.text
    assert "20.parquet" not in page.text
    assert "10 more" in page.text


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if "long" not in kind])
def test_no_name_leaves_its_place(kind, tmp_path):
    name = HOSTILE[kind].encode(errors="replace").decode().replace("\0", "0")
    path = tmp_path / f"{name.replace('/', '|')} .parquet"
    pq.write_table(pa.table({name: [["a"], ["b", "c"]] * 40}), path)
    page = report(path)
    names = {"rm": rm}
    exec(page.find("pre")[0].text, names)  # escaped in the page, and a string of Python again
    assert isinstance(names["padded"], rm.Padded)


def test_a_report_may_have_a_name_that_is_no_text(lists):
    path, _ = lists
    target = path.parent / os.fsdecode(b"r\xff.html")
    result = run("inspect", path, "--html", target)
    assert result.stdout.splitlines()[-1].endswith("r\\udcff.html")
    read(target.read_text("utf-8"))


def test_it_replaces_a_file_but_not_what_it_reads(lists, capsys, monkeypatch):
    path, _ = lists
    target = path.parent / "report.html"
    target.write_text("before")
    report(path)
    assert "before" not in target.read_text("utf-8")
    before = path.read_bytes()
    refused = {
        path: "is the file being read",
        path.parent: "is a folder",
        path.parent / "nowhere" / "r.html": "cannot be written",
    }
    (path.parent / "link.html").symlink_to(target)
    refused[path.parent / "link.html"] = "is a link"
    for name, message in refused.items():
        code, _, err = run_main(capsys, monkeypatch, "inspect", path, "--html", name)
        assert code == 1
        assert message in err
        assert len(err.splitlines()) == 1
    assert path.read_bytes() == before


def test_a_report_of_the_data_that_ships(tmp_path):
    target = tmp_path / "r.html"
    assert run("inspect", JAPANESE_VOWELS, "--html", target).exit_code == 0
    page = read(target.read_text("utf-8"))
    assert page.find("html")[0]["lang"] == "en"
    assert page.find("title")[0].text == f"Lengths in {JAPANESE_VOWELS}"
    assert target.stat().st_size < 30_000


# -- charts -------------------------------------------------------------------------------


def places(chart):
    """Where texts stand: (anchor, x, letters)."""
    return [(one["text-anchor"], float(one["x"]), len(one.text)) for one in chart.find("text")]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), st.integers(0, 10**6))
def test_nothing_of_a_histogram_is_cut_off(lengths, far):
    lengths = np.array([*lengths, far])
    marks = {"50%": int(np.median(lengths)), "99%": int(lengths.max())}
    page = read(histogram_chart(histogram(lengths, 24), marks, "words"))
    (chart,) = page.find("chart")
    for bar in chart.find("rect"):
        assert float(bar["x"]) >= 46
        assert float(bar["x"]) + float(bar["width"]) <= 371
        assert float(bar["y"]) >= 40
    below = []
    for text in chart.find("text"):
        wide = 6.2 * len(text.text)
        x = float(text["x"]) - {"start": 0, "middle": wide / 2, "end": wide}[text["text-anchor"]]
        assert x >= -1
        assert x + wide <= 381
        if text["y"] == "201.0":
            below.append((x, x + wide))
    assert all(one[1] <= two[0] for one, two in pairwise(below))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_lines_lie_inside_their_axes(shares):
    sizes = [32 << place for place in range(len(shares))]
    page = read(lines_chart(sizes, {"a": shares, "b": shares[::-1]}, "words"))
    for line in page.find("polyline"):
        for point in line["points"].split():
            x, y = map(float, point.split(","))
            assert 46 <= x <= 370
            assert 40 <= y <= 186


def test_a_bar_for_each_bin():
    page = read(histogram_chart([Bin(0, 9, 5), Bin(10, 19, 0), Bin(20, 29, 10)], {}, "words"))
    assert [bar["height"] for bar in page.find("rect")] == ["73.0", "146.0"]
