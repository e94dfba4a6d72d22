"""Padding, laying end to end, packing, looking up and masking rows on CUDA."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.coerce import as_words
from ragmask.arrays.host import offsets_of
from ragmask.kernels import cuda
from ragmask.kernels.cuda.launch import parts_of
from tests import reference
from tests.cuda import running
from tests.strategies import assert_rows, lists_of, over, raggeds, rows_of, steps_of

GARBAGE = 0xA5
# a warp's row by 16 bytes and by words, and a block's row
LENGTHS = {"uint8": [700, 33, 17001, 600, 5], "float32": [150, 0, 4203, 3], "float64": [2101, 70]}


def long_rows(dtype, item_shape=(), masked=True, seed=0):
    """Rows of any bits. Every other one lies as it would end to end, for copies of 16 bytes."""
    random = np.random.default_rng(seed)
    lengths = np.array(LENGTHS[dtype])
    row = np.arange(len(lengths))
    starts = np.cumsum(lengths) - lengths + 16 * row + row % 2
    shape = (int(starts[-1] + lengths[-1]), *item_shape)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    values = np.frombuffer(random.bytes(size), dtype).reshape(shape)
    return rm.Ragged(values, starts, lengths, random.random(len(values)) < 0.7 if masked else None)


def words_of(array):
    """Flat unsigned words, and how many of them are a step."""
    item_bytes = array.itemsize * int(np.prod(array.shape[1:]))
    (words,) = as_words(item_bytes, array)
    return words, item_bytes // words.itemsize


def output(steps, like):
    """Words for so many steps, and a guard word behind them; and the steps themselves."""
    words, per_step = words_of(like)
    out = np.full(steps * per_step + 1, GARBAGE, words.dtype)
    return out, out[:-1].view(like.dtype).reshape(steps, *like.shape[1:])


def pad(ragged, width, pre, value, masked):
    words, per_step = words_of(ragged.values)
    out, steps = output(len(ragged) * width, ragged.values)
    out_mask = np.full(len(ragged) * width + 1, True) if masked else None
    segments = ragged.starts, ragged.lengths, ragged.mask
    shape = value, (per_step, width, pre)
    running.run(cuda.pad, len(ragged), words, *segments, *shape, out, out_mask)
    assert out[-1] == GARBAGE
    return steps, out_mask


def check_pad(ragged, width, pre, value, masked=True):
    rows, masks = rows_of(ragged)
    padding = "pre" if pre else "post"
    steps, mask = pad(ragged, width, pre, value, masked)
    repeated = np.resize(value, words_of(ragged.values)[1]).tobytes()
    assert steps_of(steps) == reference.compact(reference.pad(rows, width, padding, repeated))[0]
    if masked:
        assert mask.tolist() == [
            *reference.compact(reference.pad(masks, width, padding, False))[0],
            True,
        ]


def pattern_of(ragged, whole_step):
    words, per_step = words_of(ragged.values)
    return np.arange(1, 1 + (per_step if whole_step else 1)).astype(words.dtype)


@running.few_examples
@given(raggeds(), st.integers(0, 5), st.booleans(), st.booleans(), st.booleans())
def test_padded_rows_are_the_reference(ragged, extra, pre, whole_step, masked):
    pattern = pattern_of(ragged, whole_step)
    check_pad(ragged, ragged.max_length + extra, pre, pattern, masked)


@pytest.mark.parametrize("dtype", LENGTHS)
@pytest.mark.parametrize("pre", [False, True])
def test_long_padded_rows_are_the_reference(dtype, pre):
    item_shape = (3,) if dtype == "float64" else ()
    ragged = long_rows(dtype, item_shape, masked=pre)
    check_pad(ragged, ragged.max_length + 1, pre, pattern_of(ragged, True))


def check_compact(ragged):
    words, per_step = words_of(ragged.values)
    out, steps = output(ragged.n_steps, ragged.values)
    offsets = offsets_of(ragged.lengths)
    segments = ragged.starts, ragged.lengths, per_step, offsets[:-1]
    running.run(cuda.compact, len(ragged), words, *segments, out)
    assert (steps_of(steps), offsets.tolist()) == reference.compact(rows_of(ragged)[0])
    assert out[-1] == GARBAGE


@running.few_examples
@given(raggeds())
def test_rows_end_to_end_are_the_reference(ragged):
    check_compact(ragged)


@pytest.mark.parametrize("dtype", LENGTHS)
def test_long_rows_end_to_end_are_the_reference(dtype):
    check_compact(long_rows(dtype))


def check_pack(ragged):
    order, times = reference.pack(rows_of(ragged)[0])
    ragged = ragged[np.array(order, np.int64)]
    words, per_step = words_of(ragged.values)
    out, steps = output(ragged.n_steps, ragged.values)
    step_starts = offsets_of(np.array([len(time) for time in times], np.int64))[:-1]
    segments = ragged.starts, ragged.lengths, per_step, step_starts
    running.run(cuda.pack, len(ragged), words, *segments, out)
    assert steps_of(steps) == reference.compact(times)[0]
    assert out[-1] == GARBAGE


@running.few_examples
@given(raggeds())
def test_packed_rows_are_the_reference(ragged):
    check_pack(ragged)


@pytest.mark.parametrize(("dtype", "item_shape"), [("float32", ()), ("float64", (140,))])
def test_long_packed_rows_are_the_reference(dtype, item_shape):
    ragged = long_rows(dtype, item_shape)
    check_pack(ragged if not item_shape else ragged.truncate(17))


def check_embedding(ids, table):
    words, per_step = words_of(table)
    out, vectors = output(ids.n_steps, table)
    offsets = offsets_of(ids.lengths)
    numbers = ids.values.astype(np.int64)
    if ids.mask is not None:
        numbers[~ids.mask] = -(2**40)
    segments = ids.starts, ids.lengths, ids.mask, words, per_step, offsets[:-1]
    running.run(cuda.embedding, len(ids), numbers, *segments, out)
    rows, masks = reference.cut_rows(ids.values.tolist(), ids.starts, ids.lengths), rows_of(ids)[1]
    expected, _ = reference.embedding(rows, masks, table.reshape(len(table), -1).tolist())
    assert_rows(lists_of(rm.Ragged(vectors, offsets[:-1], ids.lengths))[0], expected)
    assert out[-1] == GARBAGE


@running.few_examples
@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], tame=True, max_steps=40),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from([(), (3,), (4,), (100,), (200,), (2, 2)]),
)
def test_vectors_of_ids_are_the_reference(ids, dtype, item_shape):
    random = np.random.default_rng(0)
    check_embedding(ids, random.standard_normal((100, *item_shape)).astype(dtype))


@pytest.mark.parametrize("width", [3, 400])
def test_long_rows_of_ids_are_the_reference(width):
    random = np.random.default_rng(0)
    lengths = [40, 0, 17000 // 4 // width + 30]
    starts = np.cumsum(lengths) - lengths
    values = random.integers(0, 9, sum(lengths))
    ids = rm.Ragged(values, starts, lengths, random.random(len(values)) < 0.8)
    check_embedding(ids, random.standard_normal((9, width)).astype(np.float32))


@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("vocabulary", [0, 4])
def test_ids_written_after_their_check_read_nothing_outside_the_table(width, masked, vocabulary):
    """The simulator's arrays are numpy's: one that is read past its end raises."""
    numbers = np.array([4, 5, 2**40, 2**61, 2**62, 2**63 - 1, -1, -(2**40), -(2**63)])
    table = np.ones(vocabulary * width, np.uint32)
    out = np.full(numbers.size * width, 5, np.uint32)
    segments = np.array([0]), np.array([numbers.size])
    mask = np.ones(numbers.size, bool) if masked else None
    running.run(cuda.embedding, 1, numbers, *segments, mask, table, width, segments[0], out)
    assert set(out) <= {0, 1}


@pytest.mark.parametrize("parts", [2, 3])
def test_blocks_that_share_rows_move_all_of_them(monkeypatch, parts):
    """Whatever the kernel, and whether a row is for a warp or a block of each part."""
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    ragged = long_rows("float32")
    check_compact(ragged)
    check_pack(ragged)
    check_pad(ragged, ragged.max_length + 1, False, pattern_of(ragged, True))
    check_masking(over(ragged, ragged.values.view(np.uint32).reshape(-1, 1) % 2), np.uint32(0))
    random = np.random.default_rng(0)
    lengths = np.array([40, 0, 90])
    ids = rm.Ragged(random.integers(0, 9, 130), np.cumsum(lengths) - lengths, lengths)
    check_embedding(ids, random.standard_normal((9, 52)).astype(np.float32))


def test_a_block_for_every_16_kib_that_are_moved():
    words = np.zeros(7 << 11, np.uint64)
    for kernel in (cuda.compact, cuda.pack, cuda.embedding):
        assert parts_of(kernel, 1, words) == 7
        assert parts_of(kernel, 2, words) == 3
        assert parts_of(kernel, 9, words) == parts_of(kernel, 9, words[:0]) == 1


def check_masking(ragged, value):
    offsets = offsets_of(ragged.lengths)
    out = np.full((ragged.n_steps + 1, *ragged.item_shape), GARBAGE, ragged.dtype)
    out_mask = np.full(ragged.n_steps + 1, True)
    segments = ragged.starts, ragged.lengths, ragged.mask, value, offsets[:-1]
    running.run(cuda.masking, len(ragged), ragged.values, *segments, out, out_mask)
    expected, masks = reference.masking(*lists_of(ragged), value.item())
    found = rm.Ragged(out[:-1], offsets[:-1], ragged.lengths, out_mask[:-1])
    assert_rows(lists_of(found)[0], expected)
    assert lists_of(found)[1] == masks
    assert (out[-1] == GARBAGE).all()
    assert out_mask[-1]


@running.few_examples
@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=80),
    st.sampled_from(["float16", "float32", "float64", "int64", "uint8", "complex64"]),
    st.sampled_from([1, 2, 3, 33, 70]),
    st.sampled_from([0.5, 0.98]),
    st.sampled_from([0, 2, np.nan]),
)
def test_masked_values_are_the_reference(ragged, dtype, features, share, value):
    if value != value and dtype.endswith(("int64", "int8")):
        value = 3
    random = np.random.default_rng(0)
    shape = len(ragged.values), features
    values = np.where(random.random(shape) < share, value, random.integers(0, 5, shape))
    values = values.astype(dtype)
    if dtype.startswith("float"):
        values[random.random(shape) < 0.01] = np.nan
    check_masking(over(ragged, values), np.dtype(dtype).type(value))


@pytest.mark.parametrize("features", [70, 150])
def test_every_feature_of_a_step_is_looked_at(features):
    """Each step has one that differs, and the last step none."""
    values = np.eye(features + 1, features, dtype=np.float32)
    check_masking(rm.Ragged(values, [0, 9], [features + 1, 12]), np.float32(0))


@running.few_examples
@given(raggeds(dtypes=("uint8",), item_shapes=[()], masked=(True,)))
def test_counts_are_the_reference(ragged):
    check_counts(ragged)


def test_counts_of_long_rows_are_the_reference():
    check_counts(long_rows("uint8"))


def check_counts(ragged):
    out = np.full(len(ragged) + 1, GARBAGE)
    running.run(cuda.count_kept, len(ragged), ragged.mask, ragged.starts, ragged.lengths, out)
    assert out.tolist() == [*(sum(row) for row in rows_of(ragged)[1]), GARBAGE]
