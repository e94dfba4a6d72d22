"""Streams of files that tests write, and of the real data that ships."""

import gc
import os
import pickle
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS

FRAMES = pa.list_(pa.list_(pa.float32(), 2))
TABLE = pa.table(
    {
        "ids": pa.array([[1, 2, 3], [], [4, None], None, [5], [6, 7], [8, 9, 10], [11]]),
        "frames": pa.array(
            [[[1, 2]], [], [[3, 4], [5, 6]], [], [[7, 8]], [], [[9, 9]] * 3, []], FRAMES
        ),
        "spans": pa.array(
            [
                [{"begin": 0, "word": "a"}],
                [],
                [None, {"begin": 2, "word": None}],
                None,
                [],
                [{"begin": 5, "word": "f"}, {"begin": None, "word": "g"}],
                [],
                [{"begin": 7, "word": "h"}],
            ]
        ),
        "words": pa.array([["a"], [], ["b", "c"], None, [], [], [], ["d"]]),
        "label": pa.array([0, 1, 2, 3, 4, 5, 6, 7], pa.int8()),
        "score": pa.array([0.5, None, 2.5, 3.5, None, 5.5, 6.5, 7.5]),
        "day": pa.array([*range(8)], pa.date32()),
        "split": pa.array(["x", "y"] * 4).dictionary_encode(),
        "name": pa.array([*"abcdefgh"]),
    }
)
FORMATS = ["parquet", "arrow", "compressed arrow"]


def write(path, table=TABLE, format_="parquet", group_rows=3):
    if format_ == "parquet":
        pq.write_table(table, path, row_group_size=group_rows)
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd" if "compressed" in format_ else None)
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.schema, options=options) as writer,
        ):
            writer.write_table(table, max_chunksize=group_rows)
    return path


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    return write(tmp_path / "data", format_=request.param)


def rows_of(column):
    if isinstance(column, rm.Ragged):
        return [row.tolist() for row in column]
    return column.to_pylist() if isinstance(column, pa.Array) else column.tolist()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 100])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_hold_the_files_rows_in_order(path, rows, drop_last):
    stream = rm.stream(path).batch(rows, drop_last=drop_last)
    batches = list(stream)
    sizes = [
        min(rows, 8 - first) for first in range(0, 8, rows) if not drop_last or first + rows <= 8
    ]
    assert [batch.num_rows for batch in batches] == sizes
    assert len(stream) == len(batches)

    expected = TABLE.slice(0, sum(sizes))
    for name in ("ids", "frames"):
        got = [row for batch in batches for row in rows_of(batch[name])]
        assert got == [row or [] for row in expected[name].to_pylist()]
    for name in ("words", "label", "score", "name", "split"):
        got = [value for batch in batches for value in rows_of(batch[name])]
        assert got == expected[name].to_pylist(), name
    days = [day for batch in batches for day in batch["day"]]
    assert days == [np.datetime64("1970-01-01") + day for day in range(sum(sizes))]


@pytest.mark.parametrize("rows", [2, 8])
def test_struct_fields_share_rows_and_a_null_struct_masks_them_all(path, rows):
    batches = list(rm.stream(path, columns=["spans"]).batch(rows))
    begins = [row for batch in batches for row in rows_of(batch["spans.begin"])]
    words = [row for batch in batches for row in rows_of(batch["spans.word"])]
    assert begins == [[0], [], [None, 2], [], [], [5, None], [], [7]]
    assert words == [["a"], [], [None, None], [], [], ["f", "g"], [], ["h"]]
    for batch in batches:
        assert batch["spans"]["begin"] is batch["spans.begin"]
        assert list(batch) == ["spans"]


def test_columns_have_the_forms_that_a_batch_promises(path):
    batch = next(iter(rm.stream(path).batch(8)))
    assert isinstance(batch["ids"], rm.Ragged)
    assert isinstance(batch["frames"], rm.Ragged)
    assert batch["frames"].item_shape == (2,)
    assert type(batch["label"]) is np.ndarray
    assert batch["label"].dtype == np.int8
    assert isinstance(batch["score"], np.ma.MaskedArray)
    assert batch["score"].mask.tolist() == [value is None for value in TABLE["score"].to_pylist()]
    assert batch["day"].dtype == "datetime64[D]"
    assert batch["words"].type == TABLE.schema.field("words").type
    assert batch["split"].type == pa.string()


def test_a_batch_is_a_view_of_the_row_group(path):
    ids = [batch["ids"] for batch in rm.stream(path, columns=["ids"]).batch(2)]
    # rows 0-2, 3-5 and 6-7 are the groups, of 5, 3 and 4 steps; rows 2 and 3 span two of them
    assert [len(rows.values) for rows in ids] == [5, 2, 3, 4]
    one, two, three, *_ = rm.stream(path, columns=["ids"]).batch(1)
    assert np.shares_memory(one["ids"].values, three["ids"].values)
    assert two["ids"].lengths.tolist() == [0]


def test_an_uncompressed_arrow_file_is_mapped_not_read(tmp_path):
    table = pa.table({"ids": pa.array([[1, 2] * 500, [3]] * 4)})
    write(tmp_path / "data", table, "arrow", group_rows=8)
    before = pa.total_allocated_bytes()
    mapped = next(iter(rm.stream(tmp_path / "data").batch(8)))
    assert pa.total_allocated_bytes() < before + table.nbytes // 10
    plain = next(iter(rm.stream(tmp_path / "data", memory_map=False).batch(8)))
    assert pa.total_allocated_bytes() >= before + table.nbytes
    assert rows_of(mapped["ids"]) == rows_of(plain["ids"])


def test_chosen_columns_come_in_the_chosen_order(path):
    stream = rm.stream(path, columns=["label", "ids"]).batch(8)
    assert list(next(iter(stream))) == ["label", "ids"]
    assert stream.schema.names == ["label", "ids"]
    assert list(next(iter(rm.stream(path, columns="ids").batch(8)))) == ["ids"]


def test_several_files_are_one_stream(tmp_path):
    folder = tmp_path / "set" / "deep"
    folder.mkdir(parents=True)
    write(tmp_path / "set" / "b.parquet", TABLE.slice(0, 3))
    write(folder / "c.arrow", TABLE.slice(3, 5), "arrow")
    write(tmp_path / "set" / "_hidden.parquet", TABLE)
    (tmp_path / "set" / "notes.txt").write_text("not data")
    for paths in (
        tmp_path / "set",
        str(tmp_path / "set" / "**" / "[bc].*"),
        [tmp_path / "set" / "b.parquet", folder],
    ):
        stream = rm.stream(paths, columns=["label"]).batch(2)
        assert [value for batch in stream for value in batch["label"]] == list(range(8))
        assert stream.num_rows == 8
        assert len(stream.paths) == 2


def test_len_counts_rows_before_batching_and_batches_after(path):
    stream = rm.stream(path)
    assert len(stream) == 8
    assert len(stream.batch(3)) == 3
    assert len(stream.batch(3, drop_last=True)) == 2


def test_iterating_without_batches_says_what_to_do(path):
    with pytest.raises(ValueError, match=r"\.batch\(rows=256\)"):
        iter(rm.stream(path))


def test_a_stream_can_be_iterated_again_and_at_the_same_time(path):
    stream = rm.stream(path, columns=["label"]).batch(3)
    pairs = [
        (a["label"].tolist(), b["label"].tolist()) for a, b in zip(stream, stream, strict=True)
    ]
    assert [a for a, _ in pairs] == [b for _, b in pairs] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_map_takes_a_batch_and_gives_a_batch_or_a_dict(path):
    stream = (
        rm.stream(path, columns=["ids", "label"])
        .batch(4)
        .map(lambda batch: {"ids": batch["ids"] + 1, "twice": batch["label"] * 2})
        .map(lambda batch: rm.Batch({**batch, "padded": batch["ids"].to_padded()}))
    )
    first = next(iter(stream))
    assert list(first) == ["ids", "twice", "padded"]
    assert rows_of(first["ids"]) == [[2, 3, 4], [], [5, None], []]
    assert first["twice"].tolist() == [0, 2, 4, 6]


def test_map_that_returns_something_else_is_named(path):
    def count_rows(batch):
        return batch.num_rows

    with pytest.raises(TypeError, match=r"map\(count_rows\) must return a Batch or a dict.* int"):
        next(iter(rm.stream(path).batch(4).map(count_rows)))
    with pytest.raises(ValueError, match=r"'short' has 1 rows, and 'label' has 4"):
        next(
            iter(
                rm.stream(path, columns=["label"])
                .batch(4)
                .map(lambda batch: {**batch, "short": batch["label"][:1]})
            )
        )


def test_a_map_that_runs_out_is_named_and_other_errors_keep_their_type(path):
    few = iter([1, 2])

    def take_one(batch):
        return {"n": np.full(batch.num_rows, next(few))}

    for map_, name in [(take_one, "take_one"), (lambda batch: next(few), "<lambda>")]:
        for read in (list, rm.Stream.to_arrow, lambda s: s.to_parquet(path.with_name("out"))):
            stream = rm.stream(path).batch(2).map(map_)
            with pytest.raises(rm.InvalidInputError, match=rf"map\({name}\) raised StopIteration"):
                read(stream)
    for error in (KeyError, ZeroDivisionError, RuntimeError, KeyboardInterrupt, OSError):

        def fail(batch, error=error):
            raise error("mine")

        with pytest.raises(error, match="mine") as caught:
            list(rm.stream(path).batch(2).map(fail))
        assert caught.type is error


def test_a_null_list_is_an_empty_row_or_an_error_that_names_it(path):
    (batch,) = rm.stream(path, columns=["ids"]).batch(8)
    assert batch["ids"].lengths.tolist() == [3, 0, 2, 0, 1, 2, 3, 1]
    with pytest.raises(
        rm.StreamError, match=r"data: (row group|record batch) 1, column 'ids': row 0 is null"
    ):
        list(rm.stream(path, columns=["ids"], nulls="error").batch(8))


def test_to_arrow_gives_the_rows_back(path):
    for batch in rm.stream(path).batch(3):
        back = batch.to_arrow()
        for name in ("label", "score", "day", "name", "ids", "frames", "spans"):
            first = int(batch["label"][0])
            expected = TABLE[name].slice(first, batch.num_rows).to_pylist()
            got = back[name].to_pylist()
            assert got == expected, name
            assert back.schema.field(name) == TABLE.schema.field(name)


def test_a_pickled_batch_ships_its_own_rows_alone(tmp_path):
    words = pa.table({"ids": [[1] * 50] * 1000, "name": ["x" * 50] * 1000})
    batch = next(iter(rm.stream(write(tmp_path / "data", words, group_rows=1000)).batch(10)))
    shipped = pickle.dumps(batch)
    assert len(shipped) < 10 * (50 * 8 + 50) + 2000
    back = pickle.loads(shipped)
    assert rows_of(back["ids"]) == [[1] * 50] * 10
    assert back["name"].to_pylist() == ["x" * 50] * 10


def test_a_pickled_stream_streams(path):
    stream = pickle.loads(pickle.dumps(rm.stream(path, columns=["label"]).batch(5)))
    assert [batch["label"].tolist() for batch in stream] == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_a_file_without_rows_gives_no_batch(tmp_path):
    for format_ in FORMATS:
        stream = rm.stream(write(tmp_path / "none", TABLE.slice(0, 0), format_)).batch(4)
        assert (len(stream), list(stream)) == (0, [])


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ragmask-decode")]


def test_closing_early_leaves_no_thread(path):
    batches = iter(rm.stream(path).batch(1))
    next(batches)
    assert decoding_threads()
    batches.close()
    assert not decoding_threads()


def test_breaking_out_leaves_no_thread(path):
    for _ in rm.stream(path).batch(1):
        break
    gc.collect()
    assert not decoding_threads()


def test_only_a_few_row_groups_are_decoded_ahead(tmp_path):
    table = pa.table({"ids": pa.array([[7] * 1000] * 100)})
    write(tmp_path / "data", table, group_rows=1)
    one_group = 1000 * 8
    before = pa.total_allocated_bytes()
    most = 0
    for _ in rm.stream(tmp_path / "data").batch(1):
        time.sleep(0.001)  # a slow consumer: the background could run far ahead
        most = max(most, pa.total_allocated_bytes() - before)
    assert one_group <= most < 12 * one_group


# -- bad input ----------------------------------------------------------------------------


def test_a_missing_column_is_named_with_what_there_is(path):
    with pytest.raises(rm.StreamError, match=r"data: no column 'labl' \(did you mean 'label'\?\)"):
        rm.stream(path, columns=["labl"])


def test_a_missing_path_an_empty_folder_and_an_empty_glob_are_named(tmp_path):
    with pytest.raises(rm.StreamError, match=r"nowhere: there is no such file"):
        rm.stream(tmp_path / "nowhere")
    with pytest.raises(rm.StreamError, match=r"the folder holds no \.parquet"):
        rm.stream(tmp_path)
    with pytest.raises(rm.StreamError, match=r"\*\.parquet: no file matches"):
        rm.stream(str(tmp_path / "*.parquet"))
    with pytest.raises(rm.InvalidInputError, match="no path was given"):
        rm.stream([])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1garbagePAR1", b"ARROW1", b"hello, world"])
def test_a_file_that_is_no_data_is_named(tmp_path, content):
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(rm.StreamError, match=r"bad\.parquet"):
        rm.stream(tmp_path / "bad.parquet")


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, format_, share):
    whole = write(tmp_path / "whole", format_=format_).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(rm.StreamError, match="cut"):
        list(rm.stream(tmp_path / "cut").batch(2))


@pytest.mark.parametrize("format_", ["parquet", "compressed arrow"])
def test_garbage_in_the_middle_is_an_error_with_its_row_group_or_right_data(tmp_path, format_):
    whole = bytearray(write(tmp_path / "whole", format_=format_).read_bytes())
    rng = np.random.default_rng(0)
    failures = []
    for _ in range(30):
        torn = bytearray(whole)
        at = int(rng.integers(8, len(whole) // 2))
        torn[at : at + 8] = rng.bytes(8)
        (tmp_path / "torn").write_bytes(torn)
        try:
            for batch in rm.stream(tmp_path / "torn", columns=["ids", "label"]).batch(2):
                batch["ids"].to_padded()
        except rm.RagmaskError as error:
            failures.append(str(error))
    assert failures
    assert all("torn" in failure for failure in failures)


def test_an_error_in_the_background_names_its_row_group_and_spares_those_before(tmp_path):
    path = write(tmp_path / "data", TABLE.select(["label"]))
    group = pq.read_metadata(path).row_group(2).column(0)
    torn = bytearray(path.read_bytes())
    torn[group.data_page_offset : group.data_page_offset + 10] = b"\xff" * 10
    path.write_bytes(torn)
    batches = iter(rm.stream(path).batch(3))
    assert next(batches)["label"].tolist() == [0, 1, 2]
    assert next(batches)["label"].tolist() == [3, 4, 5]
    with pytest.raises(rm.StreamError, match="data: row group 2 cannot be read"):
        next(batches)
    assert not decoding_threads()


def test_files_that_disagree_on_a_column_are_both_named(tmp_path):
    write(tmp_path / "a.parquet", pa.table({"ids": pa.array([[1]])}))
    write(tmp_path / "b.parquet", pa.table({"ids": pa.array([[1.5]])}))
    with pytest.raises(
        rm.StreamError, match=r"b\.parquet: column 'ids' is list.*double.*a\.parquet"
    ):
        list(rm.stream(tmp_path).batch(1))
    write(tmp_path / "b.parquet", pa.table({"other": [1]}))
    with pytest.raises(rm.StreamError, match=r"b\.parquet: no column 'ids'"):
        list(rm.stream(tmp_path).batch(1))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_changes_while_it_is_streamed_is_noticed(tmp_path, format_):
    path = write(tmp_path / "data", format_=format_, group_rows=1)
    batches = iter(rm.stream(path).batch(1))
    next(batches)
    time.sleep(0.01)
    other = write(tmp_path / "other", TABLE.slice(0, 5), format_, group_rows=1)
    other.replace(path)
    with pytest.raises(rm.StreamError, match="data: the file changed"):
        list(batches)


def same_size_and_time(path, other):
    """Another file, of the same length and time."""
    times = path.stat()
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    return other


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("settle", [lambda s: s.batch(1), lambda s: s.shuffle(0, 2).batch(1)])
def test_a_file_replaced_under_its_size_and_time_is_noticed(tmp_path, format_, prefetch, settle):
    path = write(tmp_path / "data", pa.concat_tables([TABLE] * 9), format_, group_rows=1)
    other = same_size_and_time(path, tmp_path / "other")
    stream = settle(rm.stream(path).prefetch(prefetch))
    batches = iter(stream)
    next(batches)
    other.replace(path)
    with pytest.raises(rm.StreamError, match="data: the file changed while it was being streamed"):
        list(batches)
    with pytest.raises(rm.StreamError, match="data: the file changed while it was being streamed"):
        list(stream)
    assert list(settle(rm.stream(path)))


def test_another_process_may_see_another_inode(tmp_path):
    path = write(tmp_path / "data", group_rows=1)
    stream = rm.stream(path).batch(1)
    expected = [batch.row_ids.tolist() for batch in stream]
    shipped = pickle.dumps(stream)
    same_size_and_time(path, tmp_path / "other").replace(path)  # as a mount elsewhere does
    assert [batch.row_ids.tolist() for batch in pickle.loads(shipped)] == expected
    stream.load_state_dict(pickle.loads(shipped).state_dict())
    path.touch()
    with pytest.raises(rm.StreamError, match="data: the file changed"):
        list(pickle.loads(shipped))


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "data", pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(rm.StreamError, match="several columns are named a"):
        rm.stream(path)


@pytest.mark.parametrize("rows", [0, -1, 2.5, "4", True])
def test_a_batch_of_no_rows_is_refused(path, rows):
    with pytest.raises(ValueError, match="rows must be"):
        rm.stream(path).batch(rows)


def test_unknown_option_words_are_refused(path):
    with pytest.raises(ValueError, match="nulls must be"):
        rm.stream(path, nulls="drop")
    with pytest.raises(TypeError, match="map takes a function"):
        rm.stream(path).map("ids")


# -- real data ----------------------------------------------------------------------------


def test_japanese_vowels_streamed_are_the_table():
    table = pq.read_table(JAPANESE_VOWELS)
    batches = list(rm.stream(JAPANESE_VOWELS).batch(100))
    lengths = np.concatenate([batch["frames"].lengths for batch in batches])
    values = np.concatenate([batch["frames"].compact().values for batch in batches])
    assert lengths.tolist() == pc.list_value_length(table["frames"]).to_pylist()
    assert (lengths.min(), lengths.max(), values.shape) == (7, 29, (9961, 12))
    flat = table["frames"].combine_chunks().flatten().flatten()
    assert np.array_equal(values.reshape(-1), flat.to_numpy())
    speakers = np.concatenate([batch["speaker"] for batch in batches])
    assert speakers.tolist() == table["speaker"].to_pylist()


def test_vectors_and_padded_columns_become_arrow():
    vectors = np.arange(12.0).reshape(2, 3, 2)
    rows = rm.Ragged.from_rows([[1, 2], [3]])
    table = rm.Batch({"vector": vectors, "ids": rows.to_padded()}).to_arrow()
    assert table["vector"].to_pylist() == vectors.tolist()
    assert table["ids"].to_pylist() == [[1, 2], [3]]
    hidden = np.ma.masked_equal(np.arange(6).reshape(2, 3), 2)
    with pytest.raises(TypeError, match=r"column 'v' cannot become Arrow.*partially masked array"):
        rm.Batch({"v": hidden}).to_arrow()


def test_a_stream_is_no_array_and_has_no_items():
    stream = rm.stream(JAPANESE_VOWELS).batch(rows=256)
    for take in (np.asarray, lambda stream: np.mean(stream)):
        with pytest.raises(
            rm.UnsupportedTypeError, match=r"interop.keras.StreamDataset\(stream, x="
        ):
            take(stream)
    with pytest.raises(rm.UnsupportedTypeError, match=r"no item 0.*torch.StreamDataset\(stream\)"):
        stream[0]
    with pytest.raises(rm.UnsupportedTypeError, match=r"its batches have: .*batch\['frames'\]"):
        stream["frames"]
    assert not hasattr(stream, "shape")
    with pytest.raises(AttributeError, match="no attribute 'epochs'"):
        stream.epochs  # noqa: B018
    assert len(list(pickle.loads(pickle.dumps(stream)))) == len(list(stream)) == 3
