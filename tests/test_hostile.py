"""What once crashed the interpreter, read foreign memory or lost a mask in silence."""

import os
import warnings
from fractions import Fraction
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask import arrow
from ragmask.arrays import host
from ragmask.arrays.host import HostArrays
from ragmask.data import JAPANESE_VOWELS
from ragmask.kernels import cpu
from ragmask.layers import fusion
from ragmask.ops.pool import How
from tests.strategies import over


def test_weights_cannot_be_exchanged_under_their_packed_form():
    weights = rm.LSTMWeights(np.zeros((2, 16)), np.zeros((4, 16)), np.zeros(16))
    with pytest.raises(AttributeError):
        weights.kernel = np.zeros((200_000, 16))


def test_changing_a_shape_in_place_changes_no_batch():
    given = np.arange(6.0)
    given.flags.writeable = False
    batch = rm.Ragged(given, [0, 3], [3, 3])
    for array in (given, batch.values, batch.starts, batch.lengths):
        array.shape = (1, array.size)
    assert rm.temporal_pool(batch, "last").tolist() == [2, 5]


@pytest.mark.parametrize("shape", [(24,), (2, 12), (1, 24, 1), (12, 2)])
def test_changing_the_shape_of_a_padded_array_in_place_changes_no_batch(shape):
    given, mask = np.arange(24.0).reshape(2, 3, 4), np.ones((2, 3), bool)
    batch = rm.Padded(given, mask)
    expected = rm.temporal_pool(batch, "sum").tolist()
    for array in (given, batch.values):
        array.shape = shape
    for array in (mask, batch.mask):
        array.shape = (6,)
    assert batch.shape == (2, 3, 4)
    assert rm.temporal_pool(batch, "sum").tolist() == expected


# What another thread may do between a check and its kernel: it is done right after the check.

BEYOND = [4, 5, 2**40, 2**61, 2**62, 2**63 - 1, -1, -(2**40), -(2**63)]


@pytest.mark.parametrize("words", [1, 3, 4, 16])
@pytest.mark.parametrize("masked", [False, True])
def test_ids_written_after_their_check_read_nothing_outside_the_table(words, masked, monkeypatch):
    ids = np.zeros(len(BEYOND), np.int64)
    checked = HostArrays.first_outside

    def check(*arguments):
        first = checked(*arguments)
        ids[:] = BEYOND
        return first

    monkeypatch.setattr(HostArrays, "first_outside", check)
    around = np.full((12, words), 99.0, np.float32)  # foreign memory
    around[4:8] = 1
    mask = np.arange(len(ids)) != 3 if masked else None
    for batch in (rm.Ragged(ids, [0, 5], [5, 4], mask), ids.reshape(3, 3)):
        ids[:] = 0
        found = rm.embedding(batch, around[4:8])
        assert set(np.unique(getattr(found, "values", found))) <= {0, 1}


def test_a_mask_written_after_the_check_of_ids_lets_none_pass():
    ids, mask = np.array([0, 7, -9, 1]), np.ones(4, bool)
    for table in (np.ones((2, 3), np.uint32), np.ones((0, 3), np.uint32)):
        out = np.full(12, 5, np.uint32)
        place = np.array([0]), np.array([4])
        cpu.embedding(0, 1, ids, *place, mask, table.reshape(-1), 3, place[0], out)
        assert set(out) <= {0, 1}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("bad", BEYOND)
def test_ids_written_after_their_check_start_a_layer_inside_its_table(kind, bad, monkeypatch):
    monkeypatch.setattr(fusion, "pays", lambda *sizes: True)
    layers = rm.layers
    recurrent = getattr(layers, kind)(5, return_sequences=True)
    model = layers.Sequential([layers.Embedding(4, 3), recurrent])
    ids = np.array([1, 2, 3, 0, 1, 2])
    batch = rm.Ragged(ids, [0, 4], [4, 2])
    right = model(batch).values.copy()
    checked = HostArrays.first_outside

    def check(*arguments):
        first = checked(*arguments)
        ids[2] = bad
        return first

    monkeypatch.setattr(HostArrays, "first_outside", check)
    raced = model(batch).values
    np.testing.assert_array_equal(raced[[0, 1, 4, 5]], right[[0, 1, 4, 5]])
    assert np.isfinite(raced).all()


class _Changing(np.ndarray):
    """A mask that another thread writes to as soon as somebody has looked for its first step."""

    def argmax(self, *arguments, **options):
        found = np.asarray(self).argmax(*arguments, **options)
        self.base[...] = [[True, False, False], [False, True, False], [True, True, True]]
        return found


def test_a_span_lies_inside_its_row_whatever_becomes_of_the_mask():
    mask = np.array([[False, False, True], [False, True, True], [False, False, False]])
    first, kept = host._spans(mask.view(_Changing))
    assert ((first >= 0) & (kept >= 0) & (first + kept <= 3)).all()


@pytest.mark.parametrize("picked", [[True, False, True], [False] * 3, [True] * 3])
def test_rows_picked_by_bools_are_picked_by_one_reading_of_them(picked):
    bools = np.array(picked)
    batch = rm.Ragged.from_rows([[1], [2, 3], [4, 5, 6]])
    assert not np.shares_memory(batch._row_numbers(bools), bools)
    assert len(batch[bools]) == sum(picked)


def arrow_lists(kind, offsets, sizes):
    """Lists of any layout over offsets that numpy may write to."""
    items = pa.array(np.arange(9))
    buffers = [None, pa.py_buffer(offsets)] + ([pa.py_buffer(sizes)] if "view" in kind else [])
    return pa.Array.from_buffers(getattr(pa, kind)(items.type), 3, buffers, children=[items])


ROUTES = {
    "Ragged": lambda o, s: rm.Ragged(np.arange(9), o[:-1], s),
    "from_offsets": lambda o, s: rm.Ragged.from_offsets(np.arange(9), o),
    "from_padded": lambda o, s: rm.Ragged.from_padded(np.zeros((3, 9)), lengths=s),
    "picked": lambda o, s: rm.Ragged.from_rows([[1]] * 9)[o[:-1]],
    "list_": lambda o, s: rm.Ragged.from_arrow(arrow_lists("list_", o, s)),
    "large_list": lambda o, s: rm.Ragged.from_arrow(arrow_lists("large_list", o, s)),
    "list_view": lambda o, s: rm.Ragged.from_arrow(arrow_lists("list_view", o, s)),
    "large_list_view": lambda o, s: rm.Ragged.from_arrow(arrow_lists("large_list_view", o, s)),
}


@pytest.mark.parametrize("route", ROUTES)
def test_where_rows_lie_is_a_copy_whoever_said_it(route):
    number = np.int32 if route in ("list_", "list_view") else np.int64
    offsets, sizes = np.array([0, 2, 5, 8], number), np.array([2, 3, 3], number)
    batch = ROUTES[route](offsets, sizes)
    expected = [row.tolist() for row in batch]
    for one in (batch.starts, batch.lengths):
        assert not any(np.shares_memory(one, given) for given in (offsets, sizes))
    offsets[:], sizes[:] = 2**30, 2**30
    assert [row.tolist() for row in batch] == expected


@pytest.mark.parametrize("place", [2, 2**30, -1, -(2**31)])
@pytest.mark.parametrize("nulls", [False, True])
def test_words_whose_places_change_after_their_check_get_ids_of_the_vocabulary(
    place, nulls, monkeypatch
):
    places, words = np.array([0, 1, 0, 1], np.int32), pa.array(["a", None if nulls else "b"])
    checked = arrow.read_strings

    def read(array):
        found = checked(array)
        places[1:3] = place
        return found

    monkeypatch.setattr(arrow, "read_strings", read)
    ids = rm.Vocabulary(["a", "b"]).encode(pa.DictionaryArray.from_arrays(places, words))
    assert set(np.asarray(ids)) <= {0, 2, 3}


@pytest.mark.parametrize("left", [0, 1, 4])
@pytest.mark.parametrize("maxlen", [None, 3])
def test_a_list_that_shrinks_while_it_is_padded_is_not_read_past_its_end(left, maxlen):
    rows = [[1, 2, 3, 4, 5], [6]]

    class Value:
        @property
        def ndim(self):
            del rows[0][left:]
            return 0

        def __array__(self, dtype=None, copy=None):
            return np.array(0.0)

    padded = rm.pad_sequences(rows, maxlen, value=Value())
    assert set(padded.ravel()) <= {0, 1, 2, 3, 4, 5, 6}


def test_rows_of_more_steps_than_can_be_counted_are_refused():
    huge = rm.Ragged(np.empty((2**62, 0), "u1"), [0] * 4, [2**62] * 4)
    for use in (lambda: huge.n_steps, huge.compact, lambda: rm.masking(huge)):
        with pytest.raises(rm.InvalidInputError, match=r"more than 2\*\*63 steps"):
            use()


def nothing(rows=2, steps=2**44):
    """Rows of steps that hold no number, and take no memory however many they are."""
    return rm.Ragged(np.empty((steps, 0), "u1"), [0] * rows, [steps] * rows)


SOME = rm.Ragged.from_rows([[1, 2, 3], [4]])
HUGE = [2**40, 2**62, 2**63, 2**70, 10**40]


@pytest.mark.parametrize("sections", HUGE)
@pytest.mark.parametrize(
    "given",
    [SOME, SOME.to_padded(), nothing(), SOME[:0], rm.Ragged.from_rows([[], []]), np.ones((2, 0))],
    ids=["ragged", "padded", "nothing", "no rows", "empty rows", "no width"],
)
def test_more_sections_than_anybody_could_hold_are_refused(sections, given):
    for width in (None, given.shape[1] if hasattr(given, "shape") else 2**62):
        with pytest.raises(rm.InvalidInputError, match="sections must be at most 1048576"):
            rm.temporal_split(given, sections, width=width)
    with pytest.raises(rm.InvalidInputError, match="sections must be at most 1048576"):
        rm.layers.TemporalSplit(sections)


def test_sections_of_many_rows_are_counted_before_they_are_made():
    rows = nothing(rows=5000, steps=0)
    with pytest.raises(rm.InvalidInputError, match="5000 rows in 1048576 sections"):
        rm.temporal_split(rows, 1 << 20)
    assert len(rm.temporal_split(rows, 1 << 10)) == 1 << 10


def test_a_width_of_any_size_that_can_be_counted_is_only_a_number():
    first, second = rm.temporal_split(SOME, 2, width=2**62)
    assert (first.lengths.tolist(), second.lengths.tolist()) == ([3, 1], [0, 0])
    for width in (2**63, 2**70):
        for cut in (rm.temporal_split, rm.layers.TemporalSplit):
            with pytest.raises(rm.InvalidInputError, match="width must be at most"):
                cut(*([SOME] if cut is rm.temporal_split else []), 2, width=width)


@pytest.mark.parametrize("size", HUGE[1:])
@pytest.mark.parametrize("batch", [SOME, nothing(), nothing(1, 0)], ids=["some", "many", "none"])
def test_a_padded_array_that_cannot_be_counted_is_refused(size, batch):
    for options in ({"maxlen": 2 * size}, {"multiple_of": 2 * size, "maxlen": 1}):
        with pytest.raises(rm.InvalidInputError, match="is larger than any memory"):
            batch.to_padded(**options)
    assert batch.truncate(size).n_steps == batch.n_steps


@pytest.mark.parametrize("maxlen", HUGE[1:])
@pytest.mark.parametrize("sequences", [[[1, 2], [3]], [[], []], [[[1.5]]], [["a"]]])
@pytest.mark.parametrize("dtype", ["int32", object])
def test_sequences_padded_to_what_cannot_be_counted_are_refused(maxlen, sequences, dtype):
    with pytest.raises(rm.InvalidInputError, match="is larger than any memory"):
        rm.pad_sequences(sequences, maxlen, dtype=dtype)


def test_steps_that_hold_no_number_are_never_gone_through():
    batch = nothing()
    for how in get_args(How):
        assert rm.temporal_pool(batch, how).shape == ((2,) if how == "count" else (2, 0))
    assert rm.temporal_repeat(np.empty((2, 0)), batch).n_steps == 2**45
    assert rm.temporal_softmax(over(batch, np.empty((2**44, 0)))).n_steps == 2**45
    assert rm.embedding(rm.Ragged.from_rows([[0, 1]]), np.empty((2, 0))).item_shape == (0,)
    assert batch.compact().n_steps == 2**45
    assert (batch + 1).n_steps == 2**45
    assert [part.n_steps for part in rm.temporal_split(batch)] == [2**44] * 2
    most = rm.Ragged(np.empty((2**61, 0), "u1"), [0], [2**61])
    with pytest.raises(rm.InvalidInputError, match="is larger than any memory"):
        rm.temporal_pool(most, "sum")  # of 8 bytes each


@pytest.mark.parametrize("size", HUGE[1:])
def test_layers_whose_weights_cannot_be_counted_are_refused(size):
    layers = rm.layers
    for layer, given in (
        (layers.Embedding(size, 2), [[1]]),
        (layers.Embedding(2, size), [[1]]),
        (layers.Dense(size), np.ones((1, 2))),
        (layers.LSTM(size), np.ones((1, 2, 3))),
        (layers.GRU(size), np.ones((1, 2, 3))),
        (layers.SimpleRNN(size), np.ones((1, 2, 3))),
    ):
        with pytest.raises(rm.InvalidInputError, match="is larger than any memory"):
            layer(np.array(given))
    for shape in ((None, size), (size,), (None, 2, size)):
        with pytest.raises(rm.InvalidInputError, match="is larger than any memory"):
            layers.Input(shape)


@pytest.mark.parametrize("size", HUGE)
def test_settings_of_a_stream_of_any_size(size, tmp_path):
    pq.write_table(pa.table({"ids": [[1, 2], [3]] * 5}), tmp_path / "f")
    stream = rm.stream(tmp_path / "f")
    for batched in (
        stream.batch(size),
        stream.batch(tokens=size),
        stream.batch(tokens=size, bucket=True),
        stream.shuffle(size, window_rows=size).batch(size),
    ):
        assert [batch.num_rows for batch in batched] == [10]
    assert [batch["ids"].n_steps for batch in stream.pack(size).batch(1)] == [15]
    with pytest.raises(rm.InvalidInputError, match="world_size must be at most 1048576"):
        stream.shard(0, size)
    assert rm.Vocabulary.build(pa.array(["a", "b"]), max_size=size).words == ["a", "b"]
    if size > 2**62:
        with pytest.raises(rm.InvalidInputError, match="n must be at most"):
            stream.prefetch(size)
        with pytest.raises(rm.InvalidInputError, match="unknown_id must be at most"):
            rm.Vocabulary(["a"], unknown_id=size)


@pytest.mark.parametrize("said", [{"value": 0}, {"lengths": [2]}, {"mask": np.ones((1, 3), bool)}])
def test_a_padded_mask_is_never_dropped(said):
    padded = rm.Padded(np.array([[1, 2, 0]]), np.array([[True, False, False]]))
    with pytest.raises(rm.InvalidInputError, match=r"mask"):
        rm.Ragged.from_padded(padded, **said)
    assert rm.Ragged.from_padded(padded).lengths.tolist() == [1]


def test_objects_do_not_come_in_through_operators():
    with pytest.raises(TypeError, match=r"numpy\.multiply has dtype object"):
        rm.Ragged.from_rows([[1, 2], [3]]) * Fraction(1, 2)


def test_padding_reads_a_changing_collection_once():
    class Crops:
        def __init__(self):
            self.reads = 0

        def __len__(self):
            return 2

        def __iter__(self):
            self.reads += 1
            return iter([[1], [2, 3]] if self.reads == 1 else [[1, 2], [3]])

    assert rm.pad_sequences(Crops()).tolist() == [[0, 1], [2, 3]]


def test_a_null_struct_of_one_list_is_a_null_row():
    lists = pa.array([[1], [2]])
    structs = pa.StructArray.from_arrays([lists], ["x"], mask=pa.array([False, True]))
    assert rm.Ragged.from_arrow(structs).lengths.tolist() == [1, 0]
    with pytest.raises(rm.InvalidInputError, match="row 1 is null"):
        rm.Ragged.from_arrow(structs, nulls="error")


def test_empty_rows_leave_a_batch_compact():
    batch = rm.Ragged.from_arrow(pa.array([[], [1, 2], [], [3], [], None]))
    assert batch.is_compact
    assert batch.offsets.tolist() == [0, 0, 2, 2, 3, 3, 3]


def test_a_list_is_no_place_to_write_to():
    batch = rm.Ragged.from_rows([[1, 2]])
    with pytest.raises(TypeError, match="out's values must be an array; got list"):
        batch.to_padded(out=([0, 0], [False, False]))


def test_ops_on_the_parts_of_a_masked_split_copy_no_more_than_the_part():
    padded = rm.Padded(np.ones((50, 4000), np.float32), np.ones((50, 4000), bool))
    part = rm.temporal_split(padded, 1000)[500]
    rows = rm.Ragged.from_padded(part)
    assert np.shares_memory(rows.values, padded.values)
    assert rm.temporal_pool(part, "sum").tolist() == [4.0] * 50


def test_a_loop_begun_before_a_fork_says_so_in_the_child(tmp_path):
    pq.write_table(pa.table({"ids": [[1]] * 40}), tmp_path / "f", row_group_size=2)
    batches = iter(rm.stream(tmp_path / "f").batch(2))
    next(batches)
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python's, and JAX's if it is loaded, on fork beside threads
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            next(batches)
        except rm.StreamError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"began before a fork" in os.read(read, 200)
    assert len(list(batches)) == 19


VOWELS = rm.stream(JAPANESE_VOWELS)
OPTIONS = {
    "columns": lambda odd: rm.stream(JAPANESE_VOWELS, odd),
    "filter": lambda odd: rm.stream(JAPANESE_VOWELS, filter=odd),
    "nulls": lambda odd: rm.stream(JAPANESE_VOWELS, nulls=odd),
    "missing": lambda odd: rm.stream(JAPANESE_VOWELS, missing=odd),
    "items": lambda odd: rm.stream(JAPANESE_VOWELS, items=odd),
    "cut": lambda odd: VOWELS.truncate(3, odd),
    "side": lambda odd: VOWELS.truncate(3, side=odd),
    "packed": lambda odd: VOWELS.pack(30, odd),
    "bucket": lambda odd: VOWELS.batch(rows=2, bucket=True, column=odd),
    "tokens": lambda odd: VOWELS.batch(tokens=64, column=odd),
    "texts": lambda odd: VOWELS.tokenize(odd, lambda texts: texts),
    "into": lambda odd: VOWELS.tokenize("split", lambda texts: texts, into=odd),
    "new name": lambda odd: VOWELS.rename({"frames": odd}),
    "names": lambda odd: VOWELS.rename(odd),
    "parts": lambda odd: VOWELS.split(odd, seed=0),
    "take": lambda odd: VOWELS.take(odd),
    "sources": lambda odd: rm.mix(odd),
    "weights": lambda odd: rm.mix({"a": VOWELS}, odd),
    "until": lambda odd: rm.mix({"a": VOWELS}, until=odd),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "odd",
    [np.array(["frames", "x"]), np.ones(2), 3, np.nan, True, b"frames", "\udc80", {"frames": "x"}],
    ids=["texts", "numbers", "3", "nan", "True", "bytes", "surrogate", "mapping"],
)
def test_odd_options_of_streams_are_refused_in_ragmasks_own_words(option, odd):
    if (option, str(odd)) in [("take", "3"), ("names", "{'frames': 'x'}")]:
        return  # is meant so
    with pytest.raises(rm.RagmaskError):
        OPTIONS[option](odd)
