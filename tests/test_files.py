"""Everything that writes a file: which names it takes, and what a full disk leaves behind."""

import json
import os
import resource
import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import ragmask as rm
from ragmask.cli import apply, plot
from ragmask.files import whole_folder
from ragmask.layers import Embedding, Input, Sequential, load_model
from tests.interpreters import run_python

NOT_TEXT = os.fsdecode(b"caf\xe9")
WORDS = rm.Vocabulary([f"word {n}" for n in range(50)])


def model():
    return Sequential([Input((None,), "int32", name="ids"), Embedding(60, 8, name="vectors")])


def weights():
    return rm.LSTMWeights(np.ones((3, 8)), np.ones((2, 8)), np.ones(8))


@pytest.fixture
def data(tmp_path):
    """A file to read, and a model to run on it."""
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"ids": [[1, 2], [3]] * 500}), tmp_path / "data" / "in.parquet")
    model().save(tmp_path / "data" / "model")
    return tmp_path / "data"


def apply_to(data, target):
    source = [str(data / "in.parquet")]
    paths = str(data / "model"), source, str(target)
    apply.run(*paths, [], [], 100, "local", None, Console(quiet=True))


WRITERS = {
    "to_parquet": lambda data, target: rm.stream(data / "in.parquet").to_parquet(target),
    "apply": apply_to,
    "model": lambda data, target: model().save(target, vocabulary=WORDS),
    "vocabulary": lambda data, target: WORDS.save(target),
    "weights": lambda data, target: weights().save(target),
}
FILES = [name for name in WRITERS if name != "model"]


@pytest.fixture(params=WRITERS)
def write(request, data):
    return lambda target: WRITERS[request.param](data, target)


@pytest.fixture(params=FILES)
def write_file(request, data):
    return lambda target: WRITERS[request.param](data, target)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# -- names --------------------------------------------------------------------------------


@pytest.mark.parametrize("points_to", ["file", "nowhere", "folder", "link", "/dev/null", NOT_TEXT])
def test_a_link_is_refused_and_stays(write, tmp_path, points_to):
    (tmp_path / "file").write_text("dear")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(points_to)
    with pytest.raises(rm.StreamError, match=r"link is a link to .*: name what it points to") as it:
        write(tmp_path / "link")
    assert str(it.value).encode()
    assert (tmp_path / "link").readlink() == Path(points_to)
    assert (tmp_path / "file").read_text() == "dear"
    assert names_in(tmp_path) == ["data", "file", "folder", "link"]


def test_what_is_no_file_is_refused_and_stays(write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        for name, kind in [("pipe", "a pipe"), ("socket", "a socket"), ("/dev/null", "a device")]:
            before = os.lstat(tmp_path / name)
            with pytest.raises(rm.StreamError, match=f"{name} is {kind} and not a file"):
                write(tmp_path / name)
            assert os.lstat(tmp_path / name) == before
    assert names_in(tmp_path) == ["data", "pipe", "socket"]


def test_a_folder_is_no_name_for_a_file(write_file, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(rm.StreamError, match="folder is a folder: name the file to write"):
        write_file(tmp_path / "folder")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "new", "deep/new"])
def test_nothing_is_written_into_a_saved_models_folder(write, data, name):
    (data / "model" / "deep").mkdir()
    before = (data / "model" / "model.json").read_bytes()
    with pytest.raises(rm.StreamError, match=r"lies in the folder of a saved model, .*/data/model"):
        write(data / "model" / name)
    assert names_in(data / "model") == ["deep", "model.json", "weights.safetensors"]
    assert (data / "model" / "model.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"format": "layers-model"}', "\xff"])
def test_a_folder_with_another_model_json_is_one_like_others(write_file, tmp_path, content):
    (tmp_path / "model.json").write_text(content, encoding="latin-1")
    write_file(tmp_path / "out")
    assert names_in(tmp_path) == ["data", "model.json", "out"]


def test_names_that_no_system_takes_are_named(write, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/out", "o" * 300, "a\0b", "file/deep/out"):
        with pytest.raises(rm.StreamError, match="cannot be written"):
            write(tmp_path / name)
    assert names_in(tmp_path) == ["data", "file"]


def test_the_longest_name_that_the_system_takes(write, tmp_path):
    write(tmp_path / ("o" * 255))
    assert names_in(tmp_path) == ["data", "o" * 255]


# -- disks --------------------------------------------------------------------------------


@contextmanager
def no_room_for_more_than(size):
    """No file may grow larger: the system's error is of the kind that a full disk gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_what_was_there(write, tmp_path, size, before):
    if before:
        write(tmp_path / "out")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    contents = [path.read_bytes() for path in files]
    with (
        no_room_for_more_than(size),
        pytest.raises(rm.StreamError, match=r"/out cannot be written: File too large"),
    ):
        write(tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == files
    assert [path.read_bytes() for path in files] == contents
    assert names_in(tmp_path) == ["data", "out"] if before else ["data"]


def test_a_picture_is_written_as_other_files_are(tmp_path):
    def write(target):
        plot.draw({"ids": np.empty(0, np.int64)}, [], lambda rows: [1], target)

    write(tmp_path / "out.png")
    before = (tmp_path / "out.png").read_bytes()
    with no_room_for_more_than(100), pytest.raises(rm.StreamError, match=r"out\.png cannot"):
        write(tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == before
    (tmp_path / "link.png").symlink_to("out.png")
    with pytest.raises(rm.StreamError, match=r"link to out\.png"):
        write(tmp_path / "link.png")
    assert names_in(tmp_path) == ["link.png", "out.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_nothing(write, tmp_path, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(error):
        write(tmp_path / "out")
    assert names_in(tmp_path) == ["data"]


def test_what_is_there_is_replaced(write_file, tmp_path):
    write_file(tmp_path / "out")
    expected = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_text("dear")
    (tmp_path / "out").chmod(0o600)
    write_file(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == expected
    assert names_in(tmp_path) == ["data", "out"]


# -- names that are no text ---------------------------------------------------------------


@pytest.mark.parametrize("name", [NOT_TEXT, f"{NOT_TEXT}/out"])
def test_a_name_that_is_no_text_can_be_written_and_read(data, tmp_path, name):
    if "/" in name:
        (tmp_path / NOT_TEXT).mkdir()
    for kind, write in WRITERS.items():
        write(data, tmp_path / f"{name}.{kind}")
    (tmp_path / "table").write_bytes(Path(tmp_path / f"{name}.to_parquet").read_bytes())
    assert pq.read_table(tmp_path / "table").num_rows == 1000
    assert rm.Vocabulary.load(tmp_path / f"{name}.vocabulary") == WORDS
    assert (rm.LSTMWeights.load(tmp_path / f"{name}.weights").kernel == 1).all()
    again = load_model(tmp_path / f"{name}.model")
    assert again.vocabularies == {"ids": WORDS}


def test_errors_about_such_names_can_be_printed(write_file, tmp_path):
    broken = tmp_path / NOT_TEXT
    broken.mkdir()
    with pytest.raises(rm.StreamError, match=r"caf\\udce9 is a folder"):
        write_file(broken)
    for load in (rm.Vocabulary.load, rm.LSTMWeights.load, load_model):
        for name in ("nowhere", "broken"):
            (broken / "broken").write_text("{}")
            with pytest.raises(rm.RagmaskError, match=rf"caf\\udce9/{name}") as raised:
                load(broken / name)
            assert str(raised.value).encode()


@pytest.mark.parametrize("pattern", ["{}.parquet", "{}", "{}/*.parquet", "{}*"])
def test_a_stream_says_that_it_reads_no_such_name(data, tmp_path, pattern):
    (tmp_path / NOT_TEXT).mkdir()
    content = (data / "in.parquet").read_bytes()
    for name in (f"{NOT_TEXT}.parquet", f"{NOT_TEXT}/in.parquet"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(rm.StreamError, match=r"caf\\udce9.* is not UTF-8") as raised:
        rm.stream(tmp_path / pattern.format(NOT_TEXT))
    assert str(raised.value).encode()


def test_a_folder_that_holds_such_a_name_cannot_be_listed(data):
    (data / f"{NOT_TEXT}.parquet").write_bytes((data / "in.parquet").read_bytes())
    with pytest.raises(rm.StreamError, match="data cannot be listed"):
        rm.stream(data)
    assert rm.stream(data / "in.parquet").num_rows == 1000


# -- what is read -------------------------------------------------------------------------


GOOD = {"format": "ragmask vocabulary 1", "unknown_id": 1, "words": ["a", "b"]}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"unknown_id": "1"}, "unknown_id must be an integer; got '1'"),
        ({"unknown_id": True}, "unknown_id must be an integer; got True"),
        ({"unknown_id": 1.5}, r"unknown_id must be an integer; got 1\.5"),
        ({"unknown_id": -1}, "unknown_id must be at least 0; got -1"),
        ({"unknown_id": None}, "unknown_id must be an integer; got None"),
        ({"unknown_id": [1]}, r"unknown_id must be an integer; got \[1\]"),
        ({"unknown_id": 2**70}, "unknown_id must be at most 9223372036854775806; got"),
        ({"words": "abc"}, "its words must be a list of strings; got 'abc'"),
        ({"words": {}}, "its words must be a list of strings; got {}"),
        ({"words": None}, "its words must be a list of strings; got None"),
        ({"words": [1]}, "words must be strings; got 1"),
        ({"words": [None]}, "words must be strings; got None"),
        ({"words": ["a", ["b"]]}, r"words must be strings; got \['b'\]"),
        ({"words": ["a", "b", "a"]}, "the word 'a' appears twice"),
        (
            {"words": ["a", "\ud800"]},
            r"a word holds a lone surrogate, '\\ud800'",
        ),
        ({"format": 1}, "its format is 1, not 'ragmask vocabulary 1'"),
        ({"format": ["ragmask vocabulary 1"]}, "its format is"),
    ],
)
def test_a_vocabulary_of_other_types_is_named_and_said_why(tmp_path, changed, why):
    (tmp_path / "v.json").write_text(json.dumps(GOOD | changed))
    with pytest.raises(rm.InvalidInputError, match=rf"v\.json is not a saved vocabulary: {why}"):
        rm.Vocabulary.load(tmp_path / "v.json")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON: 'utf-8' codec"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b'{"unknown_id": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[]", r"its format is \[\]"),
        (b"null", "its format is None"),
        (b'"ragmask vocabulary 1"', "its format is 'ragmask vocabulary 1', not"),
    ],
)
def test_a_vocabulary_that_is_none_is_named_and_said_why(tmp_path, content, why):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(rm.InvalidInputError, match=rf"v\.json is not a saved vocabulary: {why}"):
        rm.Vocabulary.load(tmp_path / "v.json")


@pytest.mark.parametrize("load", [rm.Vocabulary.load, rm.LSTMWeights.load])
def test_a_file_that_is_not_there_is_named(tmp_path, load):
    with pytest.raises(rm.StreamError, match="nowhere cannot be read: No such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(OSError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("words", [["\ud800"], ["a", "b\udcff"], ["\udc00\ud800"]])
def test_half_characters_are_no_words(words):
    with pytest.raises(rm.InvalidInputError, match="a word holds a lone surrogate"):
        rm.Vocabulary(words)
    for use in (rm.Vocabulary(["a"]).encode, rm.Vocabulary.build):
        with pytest.raises(rm.UnsupportedTypeError, match="words must be strings or lists of"):
            use(words)


@pytest.mark.parametrize("words", [["a", 1], [["a"], "b"], [object()], [2**70]])
def test_lists_of_other_things_are_no_words(words):
    for use in (rm.Vocabulary(["a"]).encode, rm.Vocabulary.build):
        with pytest.raises(rm.UnsupportedTypeError, match="words must be strings or lists of"):
            use(words)


def test_importing_what_writes_imports_no_optional_package():
    code = "import sys, ragmask.files; print('pyarrow' in sys.modules, 'numba' in sys.modules)"
    assert run_python(code) == "False False"


# -- folders ------------------------------------------------------------------------------


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with whole_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "out").exists()
        assert folder.parent.name.startswith(".")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_a_folder_that_failed_leaves_nothing(tmp_path):
    def fail():
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("take", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nothing")])
def test_a_folder_replaces_nothing_even_what_came_meanwhile(tmp_path, take):
    def late():
        with whole_folder(tmp_path / "late"):
            take(tmp_path / "late")

    take(tmp_path / "out")
    with pytest.raises(rm.StreamError, match=r"out is (there, and is not replaced|a link)"):
        whole_folder(tmp_path / "out").__enter__()
    with pytest.raises(
        rm.StreamError, match="late is there, and is not replaced: name a new folder"
    ):
        late()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late", "out"]


def test_a_folder_without_a_place_is_named(tmp_path):
    with pytest.raises(rm.StreamError, match="no/out cannot be written: No such file"):
        whole_folder(tmp_path / "no" / "out").__enter__()
