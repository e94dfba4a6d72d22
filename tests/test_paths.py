"""Where rows come from: globs, hive folders, file systems."""

import glob
import os
import pickle
from collections import Counter
from contextlib import chdir
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import fs as pafs

import ragmask as rm
from tests.faults import afar
from tests.streams import plain
from tests.tables import column, table_of, write

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


@pytest.mark.parametrize("paths", [[[1, 2], [3]], ["a.parquet", 3], [None], {"ids": [[1]]}, 7])
def test_what_is_no_path_is_refused_with_what_to_do(paths):
    with pytest.raises(rm.UnsupportedTypeError, match=r'reads paths.*pa\.table\(\{"ids": rows'):
        rm.stream(paths)


def test_a_uri_on_a_given_file_system_is_refused_and_not_tried_again():
    far = pafs.S3FileSystem(endpoint_override="localhost:1", anonymous=True)
    with pytest.raises(rm.InvalidInputError, match=r"s3://…@b/rows: .*no s3:// before them$"):
        rm.stream("s3://key:secret@b/rows", filesystem=far)
