"""Files of other formats, in memory, and damaged ones."""

import gzip
import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask.streaming import formats
from tests.arrow_files import write

# -- other files, and what is in memory ---------------------------------------------------


def test_names_that_people_give_to_parquet_files(tmp_path):
    names = ["a.PARQUET", "b.parquet.gzip", "c.parquet.snappy", "d.Parq", "e.pq", "f.arrows"]
    for number, name in enumerate(names):
        kind = "stream" if name.endswith("arrows") else "parquet"
        write(tmp_path / name, pa.table({"n": [number]}), kind)
    (tmp_path / "readme.md").write_text("no data")
    assert rm.stream(tmp_path).to_arrow()["n"].to_pylist() == list(range(6))
    packed = tmp_path / "g.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.PARQUET").read_bytes()))
    with pytest.raises(rm.StreamError, match="it is packed with gzip: unpack it first"):
        rm.stream(packed)


def test_tables_bytes_and_open_files_are_streamed(tmp_path):
    table = pa.table({"ids": pa.chunked_array([[[1]], [[2, 3], None]]), "n": [1, 2, 3]})
    path = write(tmp_path / "data", table, "parquet")
    content = path.read_bytes()
    with path.open("rb") as file:
        on_disk = rm.stream(file)
        assert on_disk.paths == (str(path),)
    for source in (table, table.to_reader(), content, io.BytesIO(content), [table], on_disk):
        stream = source if isinstance(source, rm.Stream) else rm.stream(source)
        assert stream.to_arrow().equals(table)
        state = next(iter(stream.batch(1))).state
        other = pickle.loads(pickle.dumps(stream)).batch(1)
        other.load_state_dict(state)
        assert other.to_arrow().equals(table.slice(1))
    assert rm.stream([table, table]).to_arrow().num_rows == 6
    assert rm.stream(table.to_batches()[0]).to_arrow().equals(table.slice(0, 1))
    assert rm.stream(table.slice(0, 0)).to_arrow().equals(table.slice(0, 0))
    with pytest.raises(rm.UnsupportedTypeError, match="not both"):
        rm.stream([table, path])
    with pytest.raises(rm.UnsupportedTypeError, match="binary mode"):
        rm.stream(io.StringIO("text"))
    for source in (5, None, {"a": [1]}, 1.5):
        with pytest.raises(rm.UnsupportedTypeError, match=f"got {type(source).__name__}"):
            rm.stream(source)
    with pytest.raises(rm.StreamError, match="neither a Parquet nor an Arrow"):
        rm.stream(b"no data at all")


# -- damage -------------------------------------------------------------------------------


def wild():
    """Arrays that lead outside of their memory."""
    offsets = np.array([0, 1, 2**31 - 5, 3], np.int32)
    text = pa.py_buffer(b"abc")
    strings = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), text])
    yield strings
    yield strings.view(pa.binary())
    yield pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), strings)
    yield pa.StructArray.from_arrays([strings], ["a"])
    places = pa.py_buffer(np.array([0, 99, 1], np.int8))
    yield pa.DictionaryArray.from_buffers(
        pa.dictionary(pa.int8(), pa.string()), 3, [None, places], pa.array(["a", "b"])
    )
    yield pa.Array.from_buffers(
        pa.list_(pa.int64()), 3, [None, pa.py_buffer(offsets)], children=[pa.array([1, 2, 3])]
    )


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("array", [*wild()], ids=lambda array: str(array.type))
def test_what_leads_outside_of_its_memory_is_refused_before_it_is_read(tmp_path, array, kind):
    table = pa.table({"x": array, "n": [1, 2, 3]})
    path = write(tmp_path / "data", table, kind)
    for stream in (
        rm.stream(path).batch(2),
        rm.stream(path).shuffle(0).batch(2),
        rm.stream(path, ["n"], filter=pc.field("x").is_valid()).batch(2),
    ):
        with pytest.raises(rm.StreamError, match=r"data: record batch 0.* is broken"):
            list(stream)
    with pytest.raises(rm.StreamError, match="is broken"):
        rm.stream(path, ["x"]).to_parquet(tmp_path / "out")
    assert rm.stream(path, ["n"]).to_arrow()["n"].to_pylist() == [1, 2, 3]
    with pytest.raises(rm.StreamError, match=r"<table 0>: .* is broken"):
        rm.stream(table)


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
@pytest.mark.parametrize("counted", [2, 4, 10**9])
def test_a_footers_count_of_rows_is_checked(tmp_path, monkeypatch, kind, counted):
    path = write(tmp_path / "data", pa.table({"n": [1, 2, 3]}), kind)
    read = formats.read_footer

    def count(*args):
        file = read(*args)
        return formats.File(file.path, file.format, file.stamp, file.schema, (counted,))

    monkeypatch.setattr("ragmask.streaming.source.read_footer", count)
    with pytest.raises(rm.StreamError, match=f"3 rows were decoded, .* counts {counted}"):
        list(rm.stream(path).batch(2))


def test_checksums_of_pages_are_checked_where_asked(tmp_path):
    path = tmp_path / "data"
    table = pa.table({"a": [1, 2], "n": [3, 4]})
    options = {"compression": None, "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, path, **options)
    column = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 0xFF
    path.write_bytes(content)
    assert rm.stream(path).to_arrow()["n"].to_pylist() != [3, 4]
    with pytest.raises(rm.StreamError, match=r"data: row group 0, column 'n' .*CRC"):
        rm.stream(path, verify=True).to_arrow()
    assert rm.stream(path, ["a"], verify=True).to_arrow()["a"].to_pylist() == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_bytes_that_are_flipped_give_rows_or_our_errors(tmp_path, seed):
    random = np.random.default_rng(seed)
    table = pa.table(
        {
            "n": list(range(40)),
            "l": [list(range(n % 4)) for n in range(40)],
            "d": pa.array([f"k{n % 3}" for n in range(40)]).dictionary_encode(),
            "ls": [[f"a{step}" for step in range(n % 3)] for n in range(40)],
            "st": [[{"a": 1, "b": "x"}] * (n % 2) for n in range(40)],
        }
    )
    for kind in ("parquet", "file", "stream"):
        whole = write(tmp_path / kind, table, kind, rows=15).read_bytes()
        for _ in range(25):
            content = bytearray(whole)
            first = 0 if random.random() < 0.5 else len(content) * 2 // 3
            content[random.integers(first, len(content))] = random.integers(256)
            (tmp_path / "bad").write_bytes(content)
            try:
                stream = rm.stream(tmp_path / "bad", memory_map=False).shuffle(seed).batch(7)
                rows = [number for batch in stream for number in batch.row_ids]
            except rm.RagmaskError:
                continue
            assert sorted(rows) == list(range(40))
