"""Where rows come from: globs, hive folders, filters, file systems; and how much is in memory."""

import glob
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import chdir
from itertools import accumulate, chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import fs as pafs

import ragmask as rm
from ragmask.streaming import retry
from ragmask.streaming.reader import Reader
from tests.faults import afar
from tests.interpreters import ROOT, run_python
from tests.streams import plain


def table_of(numbers):
    ids = [[number] * (number % 4) for number in numbers]
    return pa.table({"number": numbers, "ids": pa.array(ids, pa.list_(pa.int64()))})


def write(path, table, group_rows=3):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=group_rows)
    else:
        pq.write_table(table, path, row_group_size=group_rows)
    return path


def column(stream, name="number"):
    """A column of the whole stream, as a list."""
    return [value for batch in stream.batch(4) for value in plain(batch[name])]


# -- globs --------------------------------------------------------------------------------

FOLDERS = ["", "a/", "b/", "a/b/", "a/.c/", ".d/", "a/b/[x]/", "ab/"]
NAMES = ["a", "b", "ab", ".a", "_a", "[a]", "a.b"]
PARTS = ["*", "?", "[ab]", "[!a]", "a*", "**", "a", "*b", ".*", "?.b", "[[]a]", "..", "**b"]


@given(
    st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), min_size=1),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
    st.booleans(),
)
@example({("a/.c/", "a"), ("a/b/", "a"), (".d/", "a")}, ["**", "a"], False)
def test_a_glob_finds_what_pythons_own_finds(files, parts, relative):
    pattern = "/".join(parts)
    if ".." in parts[1:] or not glob.has_magic(pattern):
        return
    with TemporaryDirectory() as root, chdir(root):
        Path("x").mkdir()
        content = write("content", table_of([1])).read_bytes()
        for folder, name in files:
            for base in (".", "x"):
                path = Path(base, folder, f"{name}.p")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        os.chdir("x")
        if not relative:
            pattern = f"{root}/x/{pattern}"
        pattern += ".p"
        found = set(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
        found = {path for path in found if path.is_file()}
        if not found:
            with pytest.raises(rm.StreamError, match="no file matches"):
                rm.stream(pattern)
            return
        paths = rm.stream(pattern).paths
        assert [Path(one) for one in paths] == [Path(one) for one in sorted(paths)]
        assert Counter(map(Path, paths)) == Counter(found)


def test_paths_with_dots_and_a_tilde_are_understood(tmp_path, monkeypatch):
    write(tmp_path / "v1.0" / "part.parquet", table_of([1, 2]))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("../v1.0", "../v1.0/", "./../v1.0/*", "~/v1.0", "~/v*/part.parquet", "../*/*t"):
        assert column(rm.stream(path)) == [1, 2], path
    write("~nobody's.parquet", table_of([3]))
    assert column(rm.stream("~nobody's.parquet")) == [3]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    write(tmp_path / "[1].parquet", table_of([1]))
    write(tmp_path / "1.parquet", table_of([2]))
    assert column(rm.stream(tmp_path / "[1].parquet")) == [1]
    assert column(rm.stream(tmp_path / "[1]*.parquet")) == [2]


def test_a_uri_may_hold_a_glob_and_options_behind_it(tmp_path):
    write(tmp_path / "a b" / "part-1.parquet", table_of([1]))
    write(tmp_path / "a b" / "part-2.parquet", table_of([2]))
    uri = (tmp_path / "a b").as_uri()
    assert column(rm.stream(uri)) == [1, 2]
    assert column(rm.stream(f"{uri}/part-?.parquet")) == [1, 2]
    assert column(rm.stream([f"{uri}/part-2.parquet", tmp_path / "a b" / "*-1*"])) == [2, 1]
    with pytest.raises((rm.StreamError, rm.MissingExtraError), match="gopher"):
        rm.stream("gopher://somewhere/else")


def test_an_error_keeps_the_keys_of_a_uri_to_itself():
    with pytest.raises((rm.StreamError, rm.MissingExtraError), match="gopher://…@some") as caught:
        rm.stream("gopher://name:secret@somewhere/else")
    assert "secret" not in str(caught.value)


# -- folders that are columns -------------------------------------------------------------

PARTITIONS = {
    "year=2023/lang=de": [0, 1, 2, 3, 4],
    "year=2023/lang=a%2Fb%20c%C3%A9": [5, 6],
    "year=2024/lang=__HIVE_DEFAULT_PARTITION__": [7, 8, 9, 10],
    "year=-5/lang=007": [11],
    "year=__HIVE_DEFAULT_PARTITION__/lang=de": [12, 13],
}
YEARS = [2023] * 7 + [2024] * 4 + [-5] + [None] * 2
LANGS = ["de"] * 5 + ["a/b cé"] * 2 + [None] * 4 + ["007"] + ["de"] * 2


@pytest.fixture(params=["parquet", "arrow"])
def hive(request, tmp_path):
    for folder, numbers in PARTITIONS.items():
        write(tmp_path / folder / f"part.{request.param}", table_of(numbers))
    return str(tmp_path)


def test_folders_named_key_equals_value_are_columns(hive):
    stream = rm.stream(hive)
    assert stream.schema.names == ["number", "ids", "year", "lang"]
    assert [stream.schema.field(name).type for name in ("year", "lang")] == [
        pa.int64(),
        pa.string(),
    ]
    for number, year, lang in zip(
        column(stream), column(stream, "year"), column(stream, "lang"), strict=True
    ):
        assert (year, lang) == (YEARS[number], LANGS[number])
    assert column(rm.stream(f"{hive}/year=2023/*/part*"), "lang") == [*LANGS[5:7], *LANGS[:5]]
    assert rm.stream(f"{hive}/year=2023/*/*").schema.names == ["number", "ids", "lang"]
    assert (
        sorted(column(rm.stream(f"{hive}/*/lang=de/*"), "year"), key=str) == [2023] * 5 + [None] * 2
    )


@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
@pytest.mark.parametrize(
    "columns", [["year"], ["lang", "year"], ["number"], ["lang", "number"], None]
)
def test_keys_may_be_picked_alone_or_left_out(hive, columns, filesystem):
    stream = rm.stream(hive, columns, filesystem=filesystem)
    batches = list(stream.shuffle(0, 100).batch(3))
    expected = {"year": YEARS, "lang": LANGS, "number": list(range(14))}
    for batch in batches:
        assert list(batch) == (columns or ["number", "ids", "year", "lang"])
        for name in set(batch) - {"ids"}:
            assert plain(batch[name]) == [expected[name][row] for row in numbers_of(hive, batch)]
    assert sum(batch.num_rows for batch in batches) == 14


def numbers_of(hive, batch):
    """The numbers of a batch's rows, which lie in the order of their folders."""
    order = [number for folder in sorted(PARTITIONS) for number in PARTITIONS[folder]]
    return [order[row] for row in batch.row_ids]


@pytest.mark.parametrize(
    "settle",
    [
        lambda stream: stream.batch(3),
        lambda stream: stream.shuffle(1, window_rows=6).batch(3),
        lambda stream: stream.shuffle(1, window_rows=100).batch(5),
        lambda stream: stream.batch(tokens=6, column="ids"),
        lambda stream: stream.shuffle(1, window_rows=7).batch(tokens=6, column="ids"),
        lambda stream: stream.shuffle(1, window_rows=100).pack(5, "ids").batch(2),
    ],
    ids=["rows", "shuffled", "one window", "tokens", "shuffled tokens", "packed"],
)
@pytest.mark.parametrize("world_size", [1, 3])
def test_keys_stay_with_their_rows_however_these_are_batched(hive, settle, world_size):
    seen = []
    for rank in range(world_size):
        for batch in settle(rm.stream(hive).shard(rank, world_size)):
            numbers, years, langs = (plain(batch[name]) for name in ("number", "year", "lang"))
            if isinstance(batch["number"], rm.Ragged):
                numbers, years, langs = (list(chain(*rows)) for rows in (numbers, years, langs))
            assert years == [YEARS[number] for number in numbers]
            assert langs == [LANGS[number] for number in numbers]
            seen += numbers
    assert sorted(seen) == list(range(14))


def test_a_files_own_column_wins_over_a_folder_of_its_name(tmp_path):
    for suffix in ("parquet", "arrow"):
        write(tmp_path / suffix / "number=7" / f"part.{suffix}", table_of([1, 2]))
        stream = rm.stream(tmp_path / suffix)
        assert stream.schema.names == ["number", "ids"]
        assert column(stream) == [1, 2]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_key_that_only_the_first_file_lacks_as_a_column_is_the_folders(tmp_path, suffix):
    write(tmp_path / "key=1" / f"a.{suffix}", table_of([1]))
    write(tmp_path / "key=2" / f"b.{suffix}", table_of([2]).append_column("key", [[9]]))
    stream = rm.stream(tmp_path, ["number", "key"])
    assert (column(stream), column(stream, "key")) == ([1, 2], [1, 2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "02", "-3"], [1, 2, -3]),
        (["1", "--2"], ["1", "--2"]),
        (["1", "x"], ["1", "x"]),
        (["1", "٣"], ["1", "٣"]),
        (["1", "9" * 30], ["1", "9" * 30]),
        (["1", ""], ["1", ""]),
        (["1", "a=b"], ["1", "a=b"]),
        (["1", None], [1, None]),
    ],
)
def test_keys_are_whole_numbers_where_all_are_and_else_words(tmp_path, values, expected):
    folders = [f"{place}/the%20key={value}" for place, value in enumerate(values)]
    if values[-1] is None:
        folders[-1] = "1"
    for place, folder in enumerate(folders):
        write(tmp_path / folder / "part.parquet", table_of([place]))
    assert column(rm.stream(tmp_path), "the key") == expected


def test_a_key_that_is_no_text_is_named(tmp_path):
    write(tmp_path / "key=%FF" / "part.parquet", table_of([1]))
    with pytest.raises(rm.StreamError, match=rf"{tmp_path} cannot be listed"):
        rm.stream(tmp_path)


def test_a_file_given_twice_is_read_twice_with_the_keys_of_each(tmp_path):
    write(tmp_path / "key=1" / "part.parquet", table_of([1, 2]))
    stream = rm.stream([tmp_path, tmp_path / "key=1"]).shuffle(0)
    rows = zip(column(stream), column(stream, "key"), strict=True)
    assert Counter(rows) == Counter([(1, 1), (2, 1), (1, None), (2, None)])


# -- filters ------------------------------------------------------------------------------

MIXED = pa.schema(
    {
        "number": pa.int64(),
        "whole": pa.int8(),
        "real": pa.float64(),
        "word": pa.string(),
        "flag": pa.bool_(),
        "ids": pa.list_(pa.int16()),
    }
)
VALUES = {
    "whole": st.integers(0, 3),
    "real": st.sampled_from([0.0, 1.0, 1.5, float("nan"), float("inf")]),
    "word": st.sampled_from(["", "a", "b", "ba"]),
    "flag": st.booleans(),
    "ids": st.lists(st.integers(0, 9), max_size=3),
}
KEYS = [1, None, 2]


@st.composite
def mixed_tables(draw):
    """Two or three files' tables, whose rows are numbered through."""
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    tables = []
    for first, last in zip([0, *accumulate(sizes)], accumulate(sizes), strict=False):
        rows = last - first
        columns = {"number": list(range(first, last))}
        for name, values in VALUES.items():
            columns[name] = draw(st.lists(values | st.none(), min_size=rows, max_size=rows))
        tables.append(pa.table(columns, MIXED))
    return tables


def comparisons(name, value):
    operators = ["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"]
    return st.tuples(st.sampled_from(operators), value).map(
        lambda drawn: getattr(pc.field(name), drawn[0])(drawn[1])
    )


CONDITIONS = st.recursive(
    st.one_of(
        comparisons("whole", VALUES["whole"]),
        comparisons("real", VALUES["real"]),
        comparisons("word", VALUES["word"]),
        comparisons("key", st.integers(0, 2)),
        comparisons("number", st.integers(0, 20)),
        st.sampled_from(["whole", "real", "word", "key", "ids"]).map(
            lambda name: pc.field(name).is_null()
        ),
        st.sampled_from(["whole", "real", "word", "key"]).map(
            lambda name: pc.field(name).is_valid()
        ),
        st.just(pc.is_nan(pc.field("real"))),
        st.just(pc.field("real").is_null(nan_is_null=True)),
        st.just(pc.field("flag")),
        st.lists(VALUES["whole"] | st.none(), max_size=2).map(
            lambda values: pc.field("whole").isin(pa.array(values, pa.int8()))
        ),
        st.integers(0, 3).map(lambda n: pc.list_value_length(pc.field("ids")) > n),
        st.integers(0, 5).map(lambda n: pc.field("whole") + pc.field("key") == n),
        st.just(pc.starts_with(pc.field("word"), "b")),
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: ~one),
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
    ),
    max_leaves=5,
)
TUPLES = st.lists(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("whole"), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), st.just(2)
            ),
            st.tuples(st.just("real"), st.sampled_from(["<", "!=", "=="]), st.just(1.0)),
            st.tuples(st.just("word"), st.sampled_from(["in", "not in"]), st.just(["a", "zz"])),
            st.tuples(st.just("key"), st.sampled_from(["==", "!="]), st.integers(1, 2)),
        ),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=2,
)


@given(
    mixed_tables(),
    CONDITIONS | TUPLES,
    st.sampled_from(["parquet", "arrow"]),
    st.integers(1, 4),
    st.none() | st.sets(st.sampled_from([*MIXED.names, "key"]), min_size=1),
)
def test_a_filter_keeps_exactly_the_rows_that_pyarrow_keeps(
    tables, condition, suffix, group_rows, columns
):
    expression = condition
    if isinstance(condition, list):
        expression = pq.filters_to_expression(condition)
    with TemporaryDirectory() as folder:
        whole = []
        for place, table in enumerate(tables):
            key = "__HIVE_DEFAULT_PARTITION__" if KEYS[place] is None else KEYS[place]
            write(Path(folder, str(place), f"key={key}", f"part.{suffix}"), table, group_rows)
            keys = pa.array([KEYS[place]] * len(table), pa.int64())
            whole.append(table.append_column("key", keys))
        # in memory there are no statistics, which know nothing of NaN
        kept = pads.dataset(pa.concat_tables(whole)).to_table(filter=expression)
        stream = rm.stream(folder, columns and sorted(columns), filter=condition)
        rows = [row for batch in stream.batch(4) for row in batch.row_ids.tolist()]
        assert rows == kept["number"].to_pylist()
        for name in set(stream.schema.names) - {"real", "ids"}:
            assert column(stream, name) == kept[name].to_pylist(), name
        shards = [
            row
            for rank in range(3)
            for batch in pickle.loads(pickle.dumps(stream.shuffle(1, 5).shard(rank, 3).batch(2)))
            for row in batch.row_ids.tolist()
        ]
        assert Counter(shards) == Counter(rows)


@pytest.fixture
def ordered(tmp_path):
    """Twelve rows in row groups of three, in three folders."""
    for place in range(3):
        numbers = range(12 * place, 12 * place + 12)
        table = table_of(numbers).append_column("real", pa.array(map(float, numbers)))
        write(tmp_path / f"key={place}" / "part.parquet", table)
    return tmp_path


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (pc.field("number") == 17, [17]),
        ([("number", ">=", 14), ("number", "<", 16)], [14, 15]),
        (pc.field("real") > 33.5, [34, 35]),
        ((pc.field("key") == 1) & (pc.field("number") < 14), [12, 13]),
        ([("key", "==", 0), ("number", ">", 9)], [10, 11]),
        ([[("number", "==", 0)], [("number", "==", 35)]], [0, 35]),
        (pc.field("number").is_null(), []),
    ],
)
@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
def test_row_groups_that_statistics_rule_out_are_not_read(ordered, condition, rows, filesystem):
    for path in ordered.rglob("*.parquet"):
        content = bytearray(path.read_bytes())
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_row_groups):
            first = 12 * int(path.parent.name[4:]) + 3 * index
            if not set(rows) & set(range(first, first + 3)):
                group = metadata.row_group(index)
                for place in range(group.num_columns):
                    chunk = group.column(place)
                    begin = chunk.dictionary_page_offset or chunk.data_page_offset
                    content[begin : begin + chunk.total_compressed_size] = (
                        b"\xff" * chunk.total_compressed_size
                    )
        path.write_bytes(content)
    stream = rm.stream(ordered, ["ids"], filter=condition, filesystem=filesystem)
    assert [row for batch in stream.batch(4) for row in batch.row_ids.tolist()] == rows


def test_only_the_row_groups_that_may_match_are_decoded(ordered, monkeypatch):
    decoded = []
    original = Reader.read_table

    def read_table(self, groups):
        decoded.extend(group.first_row for group in groups)
        return original(self, groups)

    monkeypatch.setattr(Reader, "read_table", read_table)
    assert column(rm.stream(ordered, filter=[("number", "in", [4, 25])])) == [4, 25]
    assert decoded == [3, 24]


def test_a_filter_that_keeps_nothing_gives_no_batch(ordered):
    long = pc.list_value_length(pc.field("ids")) > 3
    for condition in (pc.field("number") > 99, (pc.field("number") == 4) & long):
        stream = rm.stream(ordered, filter=condition)
        assert list(stream.batch(4)) == []
        assert list(stream.shuffle(0).batch(tokens=9, column="ids")) == []
        assert list(stream.pack(9, "ids").batch(4)) == []
        assert stream.to_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (pc.field("number"), "is not a condition"),
        (pc.field("number") + 1, "is not a condition"),
        (pc.field("nothing") > 1, "does not fit the columns number, ids, real, key: .*nothing"),
        ([("nothing", "==", 1)], "does not fit the columns"),
        ([("number", "==", "word")], "does not fit the columns"),
        (pc.field("ids") > 1, "does not fit the columns"),
        (pc.field(0) > 1, "must refer to columns by name"),
        ("number > 1", "cannot be read"),
        (5, "cannot be read"),
        ([], "cannot be read"),
        ([("number", "~", 1)], "cannot be read"),
        ([("number", "in", 1)], "cannot be read"),
    ],
)
def test_a_filter_that_is_none_is_refused(ordered, condition, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.stream(ordered, filter=condition)


def test_a_filtered_stream_has_no_length_and_says_why(ordered):
    stream = rm.stream(ordered, filter=[("number", ">", 4)])
    for one in (stream, stream.batch(4)):
        with pytest.raises(TypeError, match="depends on the rows the filter keeps"):
            len(one)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (pc.field("real") != 5, [1, 3]),
        (~(pc.field("real") > 3), [1]),
        (pc.is_nan(pc.field("real")), [1]),
        ([("real", "not in", [5.0, 7.0])], [1]),
    ],
)
def test_a_filter_finds_the_nans_that_statistics_hide(tmp_path, condition, rows):
    table = pa.table({"number": [0, 1, 2, 3], "real": [5.0, float("nan"), 5.0, 7.0]})
    path = write(tmp_path / "part.parquet", table)
    assert column(rm.stream(path, ["number"], filter=condition)) == rows


def test_a_filter_looks_into_structs(tmp_path):
    table = pa.table({"number": [1, 2, 3], "at": [{"x": 0.5}, None, {"x": float("nan")}]})
    path = write(tmp_path / "part.parquet", table, group_rows=1)
    assert column(rm.stream(path, ["number"], filter=pc.field("at", "x") < 1)) == [1]
    assert column(rm.stream(path, ["number"], filter=~(pc.field("at", "x") < 1))) == [3]


# -- file systems -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_folder_of_a_file_system_is_one_too(tmp_path, suffix):
    write(tmp_path / "set" / "year=2024" / f"part.{suffix}", table_of(range(9)))
    for path in ("set", "set/", "set/*/part.*", "*/year=2024/*", "", "**"):
        inside = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
        stream = pickle.loads(pickle.dumps(rm.stream(path, filesystem=inside)))
        assert column(stream) == list(range(9)), path
        if path != "*/year=2024/*":
            assert column(stream, "year") == [2024] * 9, path


def test_paths_on_two_file_systems_are_refused(tmp_path):
    path = write(tmp_path / "part.parquet", table_of([1]))
    with pytest.raises(rm.StreamError, match="must be on one file system"):
        rm.stream([path, "s3://key:secret@bucket/x?endpoint_override=127.0.0.1:1&scheme=http"])


@pytest.mark.parametrize("filesystem", ["local", 5, pafs.LocalFileSystem, open])
def test_what_is_no_file_system_is_refused(tmp_path, filesystem):
    with pytest.raises(rm.UnsupportedTypeError, match=r"must be a pyarrow\.fs\.FileSystem"):
        rm.stream(tmp_path, filesystem=filesystem)


@pytest.mark.parametrize(
    "filesystem", [None, pafs.LocalFileSystem(), afar()], ids=["none", "local", "afar"]
)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_files_of_other_types_or_columns_are_named(tmp_path, suffix, filesystem):
    for place in range(4):
        write(tmp_path / f"{place}.{suffix}", table_of([place]))
    write(tmp_path / f"5.{suffix}", pa.table({"number": ["five"], "ids": [[5]]}))
    with pytest.raises(rm.StreamError, match=rf"5\.{suffix}: column 'number' is string, and int64"):
        column(rm.stream(str(tmp_path), filesystem=filesystem))
    assert column(rm.stream(str(tmp_path), ["ids"], filesystem=filesystem), "ids")[-1] == [5]


@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_file_that_changes_between_shuffled_windows_is_named(
    tmp_path, filesystem, prefetch, change
):
    path = str(write(tmp_path / "part.parquet", table_of(range(300)), group_rows=3))
    stream = rm.stream(path, filesystem=filesystem).shuffle(0, window_rows=9).prefetch(prefetch)
    batches = iter(stream.batch(9))
    seen = [number for _ in range(2) for number in next(batches)["number"].tolist()]
    if change == "gone":
        Path(path).unlink()
    else:
        write(tmp_path / "other.parquet", table_of(range(400)), group_rows=3).replace(path)
    message = {"gone": "there is no such file", "other": "the file changed"}[change]
    with pytest.raises(rm.StreamError, match=rf"part\.parquet: {message}"):
        seen.extend(number for batch in batches for number in batch["number"].tolist())
    assert len(set(seen)) == len(seen) < 300


# -- reads that fail ----------------------------------------------------------------------


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)


class ClientError(Exception):
    """As clients raise them: no OSError."""


@pytest.mark.parametrize("error", [OSError, EOFError, TimeoutError, ClientError, pa.ArrowInvalid])
def test_whatever_a_client_raises_is_tried_again_and_wrapped(tmp_path, short_waits, error):
    path = str(write(tmp_path / "part.parquet", table_of(range(9))))
    dead = False

    def fault(path, reads):
        if dead or reads % 4 == 2:
            raise error("the line went dead")

    assert column(rm.stream(path, filesystem=afar(fault))) == list(range(9))
    stream = rm.stream(path, filesystem=afar(fault), retries=3).prefetch(0)
    dead = True
    with pytest.raises(rm.StreamError, match=r"row group 0 cannot be read, after 4 tries: .*dead"):
        column(stream)


@pytest.mark.parametrize("fails", [1, 2, 50])
def test_listing_is_tried_again(tmp_path, short_waits, monkeypatch, fails):
    write(tmp_path / "part.parquet", table_of([1, 2]))
    filesystem, calls = afar(), []
    handler = filesystem.handler
    original = handler.get_file_info_selector

    def get_file_info_selector(selector):
        calls.append(selector)
        if len(calls) <= fails:
            raise ConnectionResetError("the line went dead")
        return original(selector)

    monkeypatch.setattr(handler, "get_file_info_selector", get_file_info_selector)
    if fails < 5:
        assert column(rm.stream(str(tmp_path), filesystem=filesystem)) == [1, 2]
    else:
        with pytest.raises(rm.StreamError, match=r"after 5 tries: .*the line went dead"):
            rm.stream(str(tmp_path), filesystem=filesystem)


INTERRUPTED = """
import sys, time
import ragmask as rm
from tests.faults import afar

path, prefetch = sys.argv[1:]

def fault(path, reads):
    if reads > 6:
        sys.stdout.write("stalled\\n")  # in one piece: two threads may say so at once
        sys.stdout.flush()
        time.sleep(60)

for batch in rm.stream(path, filesystem=afar(fault)).prefetch(int(prefetch)).batch(3):
    pass
"""


def test_an_interrupt_ends_a_process_whose_reads_stall(tmp_path):
    path = write(tmp_path / "part.parquet", table_of(range(30)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(path), str(prefetch)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for prefetch in (0, 3)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "stalled\n"
        begin = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
        # reads that were left get a few seconds to end before the interpreter does
        assert time.perf_counter() - begin < 10
    finally:
        for process in processes:
            process.kill()
            process.communicate()


SLOW = """
import sys, time
import ragmask as rm

path, prefetch = sys.argv[1:]
for batch in rm.stream(path).shuffle(0, window_rows=9).prefetch(int(prefetch)).batch(1):
    print("streaming", flush=True)
    time.sleep(2)
"""


def test_an_interrupt_ends_a_process_that_streams_slowly(tmp_path):
    path = write(tmp_path / "part.parquet", table_of(range(300)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW, str(path), str(prefetch)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for prefetch in (0, 3)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "streaming\n"
        begin = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            assert process.communicate(timeout=30)[1].splitlines()[-1] == "KeyboardInterrupt"
            assert process.returncode == -signal.SIGINT
        assert time.perf_counter() - begin < 2
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
def test_closing_a_shuffled_stream_early_leaves_no_thread(tmp_path, filesystem, prefetch):
    def decoding():
        return [one for one in threading.enumerate() if one.name.startswith("ragmask-decode")]

    path = str(write(tmp_path / "part.parquet", table_of(range(300))))
    stream = rm.stream(path, filesystem=filesystem).shuffle(0, window_rows=9).prefetch(prefetch)
    batches = iter(stream.batch(tokens=9, column="ids"))
    next(batches)
    assert bool(decoding()) == bool(prefetch)
    batches.close()
    assert not decoding()


# -- forks --------------------------------------------------------------------------------

FORKED = """
import os, sys, threading, traceback, warnings
import ragmask as rm
from tests.faults import afar

warnings.simplefilter("ignore", DeprecationWarning)  # of forks of a process with threads
path, where, prefetch = sys.argv[1], sys.argv[2], int(sys.argv[3])
filesystem = afar() if where == "afar" else None

def numbers(batches):
    return sorted(number for batch in batches for number in batch["number"].tolist())

def go_on(stream, begun):
    try:
        next(begun)
    except rm.StreamError as error:
        assert "before a fork" in str(error), error
    else:
        raise AssertionError("a loop went on in the child")
    stream.set_epoch(0)
    assert numbers(stream) == list(range(60))
    assert numbers(rm.stream(path, filesystem=filesystem).batch(7)) == list(range(60))

def fork(stream):
    assert numbers(stream) == list(range(60))  # and so threads and clients have run
    stream.set_epoch(0)
    begun = iter(stream)
    first = numbers([next(begun)])
    decoding = [one for one in threading.enumerate() if one.name.startswith("ragmask-decode")]
    assert bool(decoding) == bool(prefetch)
    child = os.fork()
    if child == 0:
        try:
            go_on(stream, begun)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted([*first, *numbers(begun)]) == list(range(60))

stream = rm.stream(path, filesystem=filesystem).prefetch(prefetch).batch(2)
fork(stream)
fork(stream.shuffle(0, window_rows=9))
"""


@pytest.mark.parametrize("where", ["here", "afar"])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_after_a_fork_a_stream_begins_anew_and_a_loop_does_not_go_on(tmp_path, where, prefetch):
    path = write(tmp_path / "part.parquet", table_of(range(60)), group_rows=6)
    run_python(FORKED, path, where, prefetch)


# -- memory -------------------------------------------------------------------------------

STEPS, GROUP_ROWS = 50, 400
PEAK = """
import sys, time
import pyarrow as pa
import pyarrow.parquet as pq
import ragmask as rm

groups, group_rows, *paths = sys.argv[1:]
def peak():
    return pa.default_memory_pool().max_memory()

decoded = pq.ParquetFile(paths[0], pre_buffer=False).read_row_groups(
    list(range(max(1, int(groups)))), use_threads=False
)
print(peak())
del decoded
for prefetch in (0, 1, 3):
    for path in paths:
        stream = rm.stream(path).prefetch(prefetch)
        if int(groups):
            stream = stream.shuffle(0, int(groups) * int(group_rows))
        for batch in stream.batch(200):
            time.sleep(0.002)  # time enough for the background to run ahead
        print(prefetch, peak())
"""


@pytest.mark.parametrize("groups", [0, 1, 4])
def test_memory_is_a_few_windows_whatever_the_size_of_files(tmp_path, groups):
    """`prefetch + 2` windows, and what pyarrow needs besides while it decodes two of them."""
    lists = pa.ListArray.from_arrays(
        pa.array(range(0, STEPS * GROUP_ROWS + 1, STEPS), pa.int32()),
        pa.array(range(STEPS * GROUP_ROWS), pa.int64()),
    )
    table = pa.table([lists] * 8, names=[*"abcdefgh"])
    paths = [tmp_path / "small.parquet", tmp_path / "large.parquet"]
    for path, many in zip(paths, (16, 64), strict=True):
        with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as file:
            for _ in range(many):
                file.write_table(table)
    window = max(1, groups) * table.nbytes
    alone, *lines = run_python(PEAK, groups, GROUP_ROWS, *paths).splitlines()
    besides = int(alone) - window
    for line in lines:
        prefetch, peak = map(int, line.split())
        decoders = max(1, min(2, prefetch))
        assert peak <= 1.02 * ((prefetch + 2) * window + decoders * besides)
