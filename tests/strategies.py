"""The one Hypothesis strategy of raggedness, and small helpers to look at what it drew."""

import numpy as np
from hypothesis import strategies as st

import ragmask as rm
from tests import reference

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
TIMES = ("datetime64[D]", "datetime64[s]", "datetime64[ns]", "timedelta64[ms]", "timedelta64[us]")
DTYPES = (*INTEGERS, *FLOATS, "complex64", "complex128", "bool", *TIMES)
ITEM_SHAPES = ((), (3,), (2, 2))


@st.composite
def layouts(draw, max_rows=6, max_steps=12, compact=False):
    """(steps, starts, lengths): end to end, or in any order with gaps and overlaps."""
    rows = draw(st.integers(0, max_rows))
    longest = draw(st.sampled_from([0, 1, 3, max_steps]))
    if compact or draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, longest), min_size=rows, max_size=rows))
        before, after = (0, 0) if compact else draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        ends = before + np.cumsum(lengths, dtype=np.int64)
        return before + sum(lengths) + after, ends - lengths, np.array(lengths, np.int64)
    steps = draw(st.integers(0, 2 * max_steps))
    starts = draw(st.lists(st.integers(0, steps), min_size=rows, max_size=rows))
    lengths = [draw(st.integers(0, min(longest, steps - start))) for start in starts]
    return steps, np.array(starts, np.int64), np.array(lengths, np.int64)


@st.composite
def raggeds(
    draw,
    dtypes=DTYPES,
    item_shapes=ITEM_SHAPES,
    masked=(False, True),
    max_rows=6,
    max_steps=12,
    compact=False,
    tame=False,
):
    """A Ragged: empty rows, no rows, gaps, overlaps, views of views, with and without a mask.

    Values are any bits (NaN payloads and NaT too), or 0 to 99 where `tame`.
    """
    steps, starts, lengths = draw(layouts(max_rows, max_steps, compact))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    item_shape = draw(st.sampled_from(item_shapes))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (steps, *item_shape)
    if tame or dtype.kind == "b":
        values = random.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    else:
        size = int(np.prod(shape))
        values = np.frombuffer(random.bytes(size * dtype.itemsize), dtype).reshape(shape)
    mask = random.random(steps) < 0.7 if draw(st.sampled_from(masked)) else None
    ragged = rm.Ragged(values, starts, lengths, mask)
    if compact:
        return ragged
    view = draw(st.sampled_from(["as it is", "permuted", "sliced", "truncated"]))
    if view == "permuted":
        return ragged[random.permutation(len(ragged))]
    if view == "sliced":
        return ragged[1 : max(len(ragged) - 1, 1)]
    if view == "truncated":
        return ragged.truncate(max(ragged.max_length - 1, 0), "pre")
    return ragged


def steps_of(array):
    """The steps of (n, *item) values as bytes, so that equal means equal bit for bit."""
    return [np.asarray(step).tobytes() for step in array]


def rows_of(ragged):
    """(rows of bytes, rows of bools) of a Ragged, taken from its bare arrays."""
    mask = np.ones(len(ragged.values), bool) if ragged.mask is None else ragged.mask
    place = ragged.starts.tolist(), ragged.lengths.tolist()
    return (
        reference.cut_rows(steps_of(ragged.values), *place),
        reference.cut_rows(mask.tolist(), *place),
    )


def padded_rows_of(padded):
    """(rows of bytes, rows of bools) of a Padded."""
    mask = np.ones(padded.shape[:2], bool) if padded.mask is None else padded.mask
    return [steps_of(row) for row in padded.values], mask.tolist()
