"""The steps of each row in the order of their values."""

from typing import Any

import numpy as np

from ragmask.arrays.protocol import LARGEST, AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.registry import SORT
from ragmask.ops.input import Input, as_dtype, flat_items
from ragmask.rows.checks import check_count
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows, copy_rows, kept_counts


def temporal_sort(
    x: Ragged | Padded | Any, *, descending: bool = False, mask: Any = None, out: Any = None
) -> Any:
    """Each row's kept steps in the order of their values, for each feature by itself.

    >>> import ragmask as rm
    >>> rm.temporal_sort(rm.Ragged.from_rows([[3, 1, 2], [], [5, 4]]))
    Ragged(3 rows, 5 steps, int64, lengths 0–3)
      [1 2 3]
      []
      [4 5]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) or Arrow's lists, of floats, integers, bools,
        dates or durations.
    descending : the largest first.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind, of x's dtype. Masked steps go to the row's end, and are 0. Equals stay in
    their order (0.0 and -0.0 are). A NaN, or a date that is none, is larger than all others: the
    last, as numpy has it, or the first where `descending`. Raises UnsupportedTypeError for other
    dtypes.
    """
    given = Input.of(x, mask)
    rows = given.rows
    output = given.output(rows.item_shape, rows.dtype, out)
    room = rows.layout.end_to_end
    sort_rows(rows, "temporal_sort", check_flag(descending), room, output, None)
    return given.give(output, sorted_mask(rows))


def temporal_argsort(
    x: Ragged | Padded | Any, *, descending: bool = False, mask: Any = None, out: Any = None
) -> Any:
    """Which steps `temporal_sort` puts where: their numbers, counted from the row's first step.

    >>> import ragmask as rm
    >>> rm.temporal_argsort(rm.Ragged.from_rows([[3, 1, 2], [], [5, 4]]))
    Ragged(3 rows, 5 steps, int64, lengths 0–3)
      [1 2 0]
      []
      [1 0]

    Takes what `temporal_sort` takes. Returns x's kind, int64. Masked steps are counted, and so is
    padding before a row; at the row's end, where they go, is 0.
    """
    given = Input.of(x, mask)
    rows = given.rows
    steps = given.output(rows.item_shape, np.int64, out)
    room = rows.layout.end_to_end
    sort_rows(rows, "temporal_argsort", check_flag(descending), room, None, steps)
    return given.give(steps, sorted_mask(rows))


def temporal_topk(x: Ragged | Padded | Any, k: int, *, mask: Any = None) -> tuple[Any, Any]:
    """The `k` largest of each row's kept steps, the largest first, and which steps they are.

    >>> import ragmask as rm
    >>> values, steps = rm.temporal_topk(rm.Ragged.from_rows([[3, 1, 2], [5]]), 2)
    >>> values.to_rows(), steps.to_rows()
    ([array([3, 2]), array([5])], [array([0, 2]), array([0])])

    x and mask : as `temporal_sort` takes them.

    Returns (values, steps), of x's kind: rows of as many steps as are kept, `k` at most; of a
    Padded or an array `k` steps, or its width, masked behind the kept ones. The steps are int64,
    counted from the row's first. Of equals the first comes first; a NaN is the largest, as in
    torch. Raises InvalidInputError for a negative k.
    """
    k = check_count("k", k)
    given = Input.of(x, mask)
    rows, arrays = given.rows, given.arrays
    kept = kept_counts(rows)
    width = min(k, given.width)
    is_flat = given.is_ragged
    most = min(k, LARGEST)
    lengths = arrays.cut(rows.starts, kept, 0, most)[1]
    if not is_flat:
        wanted = Layout.of_lengths(arrays, arrays.full(width, (len(rows),), np.int64))
    else:
        wanted = Layout.of_lengths(arrays, lengths)
    # on a device a row is sorted in its place
    room = wanted if arrays.is_host else rows.layout.end_to_end
    values = arrays.empty((room.n_steps, *rows.item_shape), rows.dtype)
    steps = arrays.empty(values.shape, np.int64)
    sort_rows(rows, "temporal_topk", True, room, values, steps)
    if room is not wanted:
        cut = Layout(arrays, room.starts, wanted.lengths)
        values, steps = (Rows(one, cut).compact().values for one in (values, steps))
    if is_flat:
        made = (Rows(arrays.read_only(one), wanted, None, rows.form) for one in (values, steps))
        first, second = map(given.give_view, made)
    else:
        narrow = given._replace(width=width)
        kept_mask = None if rows.mask is None else first_steps(wanted, lengths)
        first, second = narrow.give(values, kept_mask), narrow.give(steps, kept_mask)
    return first, second


def check_flag(descending: object) -> bool:
    if not isinstance(descending, bool | np.bool_):
        raise InvalidInputError(f"descending must be True or False; got {descending!r}")
    return bool(descending)


def sort_rows(
    rows: Rows,
    op: str,
    descending: bool,
    room: Layout,
    values: AnyArray | None,
    steps: AnyArray | None,
) -> None:
    """Write the rows' kept steps in order, and which they are, where there is room for them.

    values (n, *item) of the rows' dtype, steps int64 (n, *item); either may be None. A row has the
    steps that `room` says: the first kept ones, and zeros behind them.
    """
    arrays, dtype = rows.arrays, rows.dtype
    keys, has_nat = as_keys(rows, op)
    if steps is None and not arrays.is_host:  # equals are told apart by their places
        steps = arrays.empty((room.n_steps, *rows.item_shape), np.int64)
    target = values
    if values is not None and dtype != keys.dtype:
        target = values.view(np.int64) if has_nat else arrays.empty(values.shape, keys.dtype)
    flat = flat_items(keys.values)
    if flat.shape[1] and room.n_steps:
        rows.layout.run(
            SORT,
            flat.shape[1],
            flat,
            keys.starts,
            keys.lengths,
            keys.mask,
            descending,
            has_nat,
            room.starts,
            room.lengths,
            None if target is None else flat_items(target),
            None if steps is None else flat_items(steps),
        )
    if target is not values and not has_nat:
        arrays.assign(target, values)


def as_keys(rows: Rows, op: str) -> tuple[Rows, bool]:
    """(rows of numbers in the same order, of few dtypes; whether the smallest of them is NaT)."""
    dtype = rows.dtype
    if dtype.kind in "mM":
        return rows.over(rows.values.view(np.int64)), True
    if dtype.kind == "f" and dtype.itemsize <= 8:
        computed = rows.arrays.computed(dtype)
    elif dtype.kind in "biu":
        wide = (np.dtype(name) for name in ("int32", "int64", "uint64"))
        computed = next(one for one in wide if np.can_cast(dtype, one))
    else:
        raise UnsupportedTypeError(
            f"{op} takes floats, integers, bools, dates and durations; got {dtype}"
        )
    return rows if computed == dtype else as_dtype(rows, computed), False


def first_steps(layout: Layout, counts: AnyArray) -> AnyArray:
    """A mask, bool (n_steps,), of rows of which the first `counts` steps are kept."""
    arrays = layout.arrays
    mask = arrays.full(False, (layout.n_steps,), np.bool_)
    nowhere = arrays.full(0, (len(layout),), np.int64)
    ones = arrays.frozen(arrays.full(True, (layout.longest,), np.bool_))
    copy_rows(ones, Layout(arrays, nowhere, counts), layout.starts, mask)
    return mask


def sorted_mask(rows: Rows) -> AnyArray | None:
    """The mask of rows once they are sorted."""
    if rows.mask is None:
        return None
    return first_steps(rows.layout.end_to_end, kept_counts(rows))
