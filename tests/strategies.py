"""The one Hypothesis strategy of raggedness, and small helpers to look at what it drew."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import ragmask as rm
from tests import reference

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
TIMES = ("datetime64[D]", "datetime64[s]", "datetime64[ns]", "timedelta64[ms]", "timedelta64[us]")
DTYPES = (*INTEGERS, *FLOATS, "complex64", "complex128", "bool", *TIMES)
ITEM_SHAPES = ((), (3,), (2, 2))


def fewer(times):
    """A part of the examples that the profile asks for: where a test is one of many, or slow."""
    return settings(max_examples=max(settings().max_examples // times, 5))


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


# -- rows of rows -------------------------------------------------------------------------


@st.composite
def nesteds(draw, dtypes=DTYPES, item_shapes=ITEM_SHAPES, masked=(False, True), tame=False):
    """A NestedRagged: gaps, overlaps, repeats and masks at both levels, and views of views."""
    n, starts, lengths = draw(layouts(max_rows=5, max_steps=6))
    inner = draw(raggeds(dtypes, item_shapes, masked, tame=tame))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if len(inner):
        inner = inner[random.integers(0, len(inner), n)]
    else:
        inner = rm.Ragged(inner.values, np.zeros(n, int), np.zeros(n, int), inner.mask)
    mask = random.random(n) < 0.7 if draw(st.sampled_from(masked)) else None
    nested = rm.NestedRagged(inner, starts, lengths, mask)
    view = draw(st.sampled_from(["as it is", "permuted", "sliced", "truncated"]))
    if view == "permuted":
        return nested[random.permutation(len(nested))]
    if view == "sliced":
        return nested[1 : max(len(nested) - 1, 1)]
    if view == "truncated":
        return nested.truncate(max(nested.max_length - 1, 0), "pre")
    return nested


def nested_rows_of(nested):
    """(rows of inner rows of bytes, of bools, rows of bools) of a NestedRagged's bare arrays."""
    outer, inner = nested._parts
    steps, keeps = rows_of(rm.Ragged(inner.values, inner.starts, inner.lengths, inner.mask))
    mask = np.ones(len(inner), bool) if outer.mask is None else outer.mask
    place = outer.starts.tolist(), outer.lengths.tolist()
    return tuple(reference.cut_rows(part, *place) for part in (steps, keeps, mask.tolist()))


# -- for the ops --------------------------------------------------------------------------


def with_normals(ragged, dtype, item_shape=(), specials=0.0, seed=0):
    """The same rows over normal numbers, of which a share are NaN and infinities."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((len(ragged.values), *item_shape)) * 3
    special = random.choice([np.nan, np.inf, -np.inf], values.shape)
    return over(
        ragged, np.where(random.random(values.shape) < specials, special, values).astype(dtype)
    )


def over(ragged, values):
    """The same rows of other values, wherever they lie."""
    return rm.Ragged(values, ragged.starts, ragged.lengths, ragged.mask)


def as_kind(ragged, kind):
    """The rows as they are, as a Padded that is masked, or as a dense array of full rows."""
    if kind == "ragged":
        return ragged
    padded = ragged.to_padded(padding="pre" if len(ragged) % 2 else "post")
    return padded if kind == "padded" else padded.values


def lists_of(batch):
    """(rows of steps of features, rows of bools): what reference.py takes, of any batch."""
    from tests import reference

    values = batch if isinstance(batch, np.ndarray) else batch.values
    given_mask = getattr(batch, "mask", None)
    if isinstance(batch, rm.Ragged):
        mask = np.ones(len(values), bool) if given_mask is None else given_mask
        steps = values.reshape(len(values), int(np.prod(batch.item_shape))).tolist()
        place = batch.starts.tolist(), batch.lengths.tolist()
        return reference.cut_rows(steps, *place), reference.cut_rows(mask.tolist(), *place)
    mask = np.ones(values.shape[:2], bool) if given_mask is None else given_mask
    return values.reshape(*values.shape[:2], int(np.prod(values.shape[2:]))).tolist(), mask.tolist()


def as_rows(ragged, values):
    """(rows of steps of features) of other values of a compact batch."""
    return lists_of(rm.Ragged(values, ragged.starts, ragged.lengths))[0]


def assert_rows(rows, expected, tolerance=0.0):
    """Rows of steps of features are as long as these, and as large."""
    assert [len(row) for row in rows] == [len(row) for row in expected]
    flat, wanted = (
        np.array([feature for row in batch for step in row for feature in step])
        for batch in (rows, expected)
    )
    np.testing.assert_allclose(flat, wanted, tolerance, tolerance)


def forms(rows, masks, garbage):
    """The same rows in every layout. Between them, and where they are masked, lies garbage."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ends = np.cumsum(lengths)
    values, mask = np.concatenate(rows), np.concatenate(masks)
    values[~mask] = garbage
    compact = rm.Ragged(values, ends - lengths, lengths, None if mask.all() else mask)

    backwards = np.cumsum(lengths[::-1] + 3)[::-1] - lengths
    spread = np.full((int(lengths.sum()) + 3 * len(rows) + 2, *values.shape[1:]), garbage)
    spread, kept = spread.astype(values.dtype), np.ones(len(spread), bool)
    for row, start in enumerate(backwards):
        spread[start : start + lengths[row]] = compact.values[ends[row] - lengths[row] : ends[row]]
        kept[start : start + lengths[row]] = masks[row]
    wide = compact.to_padded(compact.max_length + 5, value=garbage)
    narrow = slice(0, compact.max_length)
    return {
        "compact": compact,
        "view": rm.Ragged(spread, backwards, lengths, None if mask.all() else kept),
        "post": compact.to_padded(value=garbage),
        "pre": compact.to_padded(value=garbage, padding="pre"),
        "wide": wide,
        "wide rows, narrow view": rm.Padded(wide.values[:, narrow], wide.mask[:, narrow]),
    }
