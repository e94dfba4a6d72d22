"""Decoded row groups of files that are far away, kept in a folder."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

import ragmask as rm
from ragmask.streaming import cache as caches
from tests.arrow_files import write
from tests.faults import afar
from tests.interpreters import ROOT

ROWS = 60


def table_of(first=0, rows=ROWS):
    numbers = np.arange(first, first + rows)
    words = [[f"{number}-{step}" for step in range(number % 4)] for number in numbers.tolist()]
    return pa.table(
        {
            "ids": [list(range(one % 5)) if one % 7 else None for one in numbers.tolist()],
            "words": words,
            "name": pa.array([f"n{number % 3}" for number in numbers.tolist()]).dictionary_encode(),
            "number": numbers,
        }
    )


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    write(folder / "0.parquet", table_of(), "parquet", 13)
    write(folder / "1.arrow", table_of(ROWS), "file", 17)
    return folder


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept" / "here"


class Far:
    """The files as they are afar, and which were read."""

    def __init__(self):
        self.opened, self.seconds = [], 0.0
        self.system = afar()
        inner = self.system.handler
        opened = inner.open_input_file

        def open_input_file(path):
            self.opened.append(path)
            time.sleep(self.seconds)
            return opened(path)

        inner.open_input_file = open_input_file

    def stream(self, files, cache, columns=None, **options):
        return rm.stream(files, columns, filesystem=self.system, cache=cache, **options)

    def read(self, stream):
        """What is in a stream, and how many files were opened for it."""
        stream._source.groups  # noqa: B018 – footers are no row groups
        self.opened.clear()
        found = contents(stream)
        return found, len(self.opened)


def contents(stream):
    return [
        (batch.to_arrow().to_pydict(), batch.row_ids.tolist()) for batch in stream.batch(rows=7)
    ]


def entries(kept):
    return sorted(kept.glob("*.ragmask"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory_map": False},
        {"filter": [("number", ">", 20)]},
        {"columns": ["words", "number"]},
    ],
    ids=str,
)
def test_the_second_epoch_reads_nothing_from_afar(files, kept, options):
    far = Far()
    expected = contents(rm.stream(files, **options))
    stream = far.stream(files, kept, **options)
    found, first = far.read(stream)
    assert found == expected
    assert first > 0
    stream.set_epoch(0)
    assert far.read(stream) == (expected, 0)
    assert far.read(far.stream(files, kept, **options)) == (expected, 0)
    shuffled = far.read(far.stream(files, kept, **options).shuffle(0))[1]
    assert shuffled == 0


def test_other_columns_are_other_entries_and_options_are_not(files, kept):
    far = Far()
    far.read(far.stream(files, kept, ["ids"]))
    assert far.read(far.stream(files, kept, ["ids", "number"]))[1] > 0
    many = len(entries(kept))
    assert far.read(far.stream(files, kept, ["ids"], nulls="empty", missing="null"))[1] == 0
    assert len(entries(kept)) == many
    with pytest.raises(rm.StreamError, match="null"):
        far.read(far.stream(files, kept, ["ids"], nulls="error"))


def test_a_file_that_changed_is_read_anew(files, kept):
    far = Far()
    far.read(far.stream(files, kept))
    path = files / "0.parquet"
    told = path.stat()
    write(path, table_of(1000), "parquet", 13)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns + 1))
    assert far.read(far.stream(files, kept))[0] == contents(rm.stream(files))


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut at its end": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "a bit": lambda data: data[:-60] + bytes([data[-60] ^ 1]) + data[-59:],
    "longer": lambda data: data + data,
    "another": lambda data: b"what is this?" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("memory_map", [True, False])
def test_a_damaged_entry_is_read_again_and_written_anew(files, kept, damage, memory_map):
    far = Far()
    expected, _ = far.read(far.stream(files, kept))
    before = [path.read_bytes() for path in entries(kept)]
    for path, data in zip(entries(kept), before, strict=True):
        path.unlink()  # as another process would find it, whose first look it is
        path.write_bytes(DAMAGES[damage](data))
    caches._sound.clear()
    stream = far.stream(files, kept, memory_map=memory_map)
    found, reads = far.read(stream)
    assert found == expected
    assert reads > 0
    assert [path.read_bytes() for path in entries(kept)] == before
    assert far.read(far.stream(files, kept))[1] == 0


def test_a_folder_in_an_entrys_place_is_passed_over(files, kept):
    far = Far()
    expected, _ = far.read(far.stream(files, kept))
    for path in entries(kept):
        path.unlink()
        path.mkdir()
    with pytest.warns(UserWarning, match="cannot be written"):
        assert far.read(far.stream(files, kept))[0] == expected


def test_what_was_not_used_for_longest_goes(files, kept):
    far = Far()
    far.read(far.stream(files, kept))
    sizes = [path.stat().st_size for path in entries(kept)]
    used = far.stream([files / "1.arrow"], kept)
    for path in entries(kept):
        os.utime(path, (1, 1))
    far.read(used)
    most = sum(sizes) * 3 // 4
    before = set(entries(kept))
    recent = {path for path in before if path.stat().st_mtime > 1}
    far.read(far.stream([files / "0.parquet"], kept, ["ids"], cache_bytes=most))
    left = set(entries(kept))
    assert sum(path.stat().st_size for path in left) <= most * 1.1 + max(sizes)
    assert recent <= left
    assert before - left
    assert contents(used) == contents(rm.stream([files / "1.arrow"]))


def test_an_entry_larger_than_the_bound_is_not_kept(files, kept):
    far = Far()
    expected = contents(rm.stream(files))
    for _ in range(2):
        found, reads = far.read(far.stream(files, kept, cache_bytes=10))
        assert found == expected
        assert reads > 0
    assert not entries(kept)
    assert far.read(far.stream(files, kept, cache_bytes=None))[0] == expected
    assert entries(kept)


def test_a_folder_that_cannot_be_written_is_told_once(files, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    far = Far()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            found, _ = far.read(far.stream(files, blocked / "folder"))
            assert found == contents(rm.stream(files))
    assert [str(one.message).split(":")[0] for one in told] == [
        f"the cache {blocked / 'folder'} cannot be written, and keeps nothing more"
    ]


def test_a_full_disk_leaves_nothing_behind(files, kept, monkeypatch):
    def full(file, table):
        file.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches, "_write", full)
    far = Far()
    with pytest.warns(UserWarning, match="No space left"):
        found, _ = far.read(far.stream(files, kept))
    assert found == contents(rm.stream(files))
    assert not list(kept.iterdir())


def test_files_nearby_and_in_memory_are_not_kept(files, kept):
    contents(rm.stream(files, cache=kept))
    contents(rm.stream(table_of(), cache=kept))
    assert not kept.exists()


def test_a_pickled_stream_keeps_its_cache(files, kept):
    far = Far()
    expected, _ = far.read(far.stream(files, kept))
    stream = pickle.loads(pickle.dumps(rm.stream(files, filesystem=afar(), cache=kept)))
    for path in entries(kept):
        os.utime(path, (1, 1))
    assert contents(stream) == expected
    assert all(path.stat().st_mtime > 1 for path in entries(kept))


def test_fsspec_files_are_told_apart_by_what_their_system_tells(files, kept):
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory", skip_instance_cache=True)
    for change in range(2):
        made = pa.BufferOutputStream()
        pq.write_table(table_of(change), made, compression="none", use_dictionary=False)
        system.pipe_file("/far/rows.parquet", made.getvalue().to_pybytes())
        stream = rm.stream("/far/rows.parquet", ["number"], filesystem=system, cache=kept)
        for _ in range(2):
            assert stream.to_arrow()["number"].to_pylist()[0] == change
        assert len(entries(kept)) == change + 1
    system.rm("/far", recursive=True)


def test_pieces_are_entries_too(files, kept, monkeypatch):
    from ragmask.streaming import sizes

    monkeypatch.setattr(sizes, "ALONE", 100)
    monkeypatch.setattr(sizes, "_PIECE_BYTES", 200)
    far = Far()
    expected = contents(rm.stream(files))
    stream = far.stream(files, kept)
    assert any(group.is_piece for group in stream._source.groups)
    assert far.read(stream)[0] == expected
    assert far.read(far.stream(files, kept)) == (expected, 0)
    for path in entries(kept)[::2]:
        path.unlink()
    assert far.read(far.stream(files, kept))[0] == expected


def test_threads_and_streams_share_a_folder(files, kept):
    expected = contents(rm.stream(files))
    with ThreadPoolExecutor(6) as threads:
        every = list(
            threads.map(
                lambda _: contents(
                    rm.stream(files, filesystem=afar(), cache=kept, cache_bytes=12_000)
                ),
                range(12),
            )
        )
    assert all(found == expected for found in every)
    assert not [path for path in kept.iterdir() if path.suffix == ".tmp"]


_READ = """
import sys
import ragmask as rm
from tests.faults import afar
files, kept, times = sys.argv[1:]
for _ in range(int(times)):
    stream = rm.stream(files, filesystem=afar(), cache=kept, cache_bytes=20_000)
    rows = [row for batch in stream.batch(rows=7) for row in batch["number"].tolist()]
    assert rows == list(range(len(rows))), rows
print(len(rows), flush=True)
"""


def begin(files, kept, times):
    return subprocess.Popen(
        [sys.executable, "-c", _READ, files, kept, str(times)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_share_a_folder_and_one_that_is_killed_loses_nothing(files, kept):
    expected = contents(rm.stream(files))
    for wait in (0.0, 0.03, 0.1, 0.3):
        victim = begin(files, kept, 10_000)
        end = time.monotonic() + 60
        while not (kept.exists() and entries(kept)) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(wait)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        caches._sound.clear()
        assert contents(rm.stream(files, filesystem=afar(), cache=kept)) == expected
    both = [begin(files, kept, 30) for _ in range(2)]
    for one in both:
        out, error = one.communicate(timeout=100)
        assert one.returncode == 0, error
        assert out.split() == [str(2 * ROWS)]


def test_what_a_killed_process_left_is_swept_away(files, kept):
    far = Far()
    kept.mkdir(parents=True)
    old, new, others = kept / ".x.ragmask.1.tmp", kept / ".y.ragmask.2.tmp", kept / "mine.txt"
    for path in (old, new, others):
        path.write_bytes(b"1")
    os.utime(old, (1, 1))
    os.utime(others, (1, 1))
    far.read(far.stream(files, kept, cache_bytes=100_000))
    assert (old.exists(), new.exists(), others.exists()) == (False, True, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": 3}, "cache is the name of a folder; got 3"),
        ({"cache": ""}, "cache is the name of a folder; got ''"),
        ({"cache": "x", "cache_bytes": 0}, "cache_bytes must be at least 1"),
        ({"cache": "x", "cache_bytes": 1.5}, "cache_bytes must be"),
        ({"cache": "x", "decryption_properties": object()}, "what is encrypted in plain"),
    ],
)
def test_what_makes_no_cache_is_refused(files, options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.stream(files, **options)


def test_locks_of_a_fork_are_not_waited_for(files, kept):
    folder = caches._folder(kept)
    with folder.lock:
        caches._forget()
        done = threading.Thread(target=lambda: contents(Far().stream(files, kept)), daemon=True)
        done.start()
        done.join(30)
        assert not done.is_alive()


def test_a_system_of_no_times_is_not_kept(files, kept):
    class Timeless(type(afar().handler)):
        def get_file_info(self, paths):
            told = super().get_file_info(paths)
            return [pafs.FileInfo(one.path, one.type, size=one.size) for one in told]

    stream = rm.stream(files, filesystem=pafs.PyFileSystem(Timeless()), cache=kept)
    assert contents(stream) == contents(rm.stream(files))
    assert not kept.exists()
