"""Convolution over time."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.coerce import same_device, to_array, values_array
from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.constants import POOL_CODES
from ragmask.kernels.registry import CONV, CONV_WEIGHT_GRADIENT, POOL
from ragmask.ops.input import Input, as_dtype, flat_items, floats
from ragmask.rows.checks import check_count
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

MOST_SPAN = 2**62  # steps, of which int64 still counts two
_MOST_PARTS = 128  # that the gradient of the weights is added up in, each of as many rows


def temporal_conv(
    x: Ragged | Padded | Any,
    kernel: Any,
    bias: Any = None,
    *,
    causal: bool = True,
    dilation: int = 1,
    mask: Any = None,
    out: Any = None,
) -> Any:
    """Weigh the steps around each step and add them up, for each feature by itself.

    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([[1.0, 2.0, 3.0], [], [4.0, 5.0]])
    >>> rm.temporal_conv(x, [10.0, 1.0])
    Ragged(3 rows, 5 steps, float64, lengths 0–3)
      [1.0 12.0 23.0]
      []
      [4.0 45.0]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item), or Arrow's lists. float16 (computed in float32),
        float32 or float64.
    kernel : (taps, *item), of numbers, which are taken in x's dtype; as torch and Keras have it,
        not turned round.
    bias : (*item,), or None.
    causal : whether step i sees the steps i - taps + 1 to i, and `kernel[-1]` meets step i itself.
        Else the steps before it are (taps - 1) // 2, and the others come after it: Keras's "same".
    dilation : how many steps lie between two taps. Centred, (taps - 1) · dilation // 2 are before.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind, of x's dtype. What lies outside a row counts as 0, and so does a masked step,
    which gets 0. The taps are added in order, to the bias. Raises InvalidInputError for a kernel or
    bias that does not fit, and for one of no taps.
    """
    given = Input.of(x, mask)
    rows, arrays, dtype = floats(given.rows, "x"), given.arrays, given.rows.dtype
    computed = HOST.computed(rows.dtype)
    weights = _weights(rows, "kernel", kernel, computed, 1)
    biases = None if bias is None else _weights(rows, "bias", bias, computed, 0)
    before = steps_before(len(weights), causal, dilation)
    output = given.output(rows.item_shape, dtype, out, weights, biases)
    if computed != rows.dtype:
        rows = as_dtype(rows, computed)
    target = output if computed == dtype else arrays.empty(output.shape, computed)
    convolve(rows, weights, biases, before, dilation, given.out_starts, target)
    if target is not output:
        arrays.assign(target, output)
    return given.give(output, given.rows.compact_mask())


def _weights(rows: Rows, name: str, given: Any, dtype: np.dtype[Any], lead: int) -> AnyArray:
    """The kernel, (taps, features), or the bias, (features,), of this dtype.

    `lead` says how many axes come before those of an item.
    """
    array = to_array(given, name)
    same_device(x=rows.values, **{name: array})
    if array.dtype.kind not in "biuf":
        raise UnsupportedTypeError(f"{name} must be numbers; got {array.dtype}")
    check_shape(name, array.shape, rows.item_shape, lead)
    flat = rows.arrays.as_dtype(values_array(array.reshape(-1), name), dtype)
    return rows.arrays.frozen(flat).reshape(*array.shape[:lead], math.prod(rows.item_shape))


def check_shape(name: str, shape: Any, item_shape: tuple[int, ...], lead: int) -> None:
    """Raise unless a kernel, or a bias, fits the steps."""
    shape = tuple(shape)
    if len(shape) != lead + len(item_shape) or shape[lead:] != item_shape:
        wanted = ("taps", *map(str, item_shape))[1 - lead :]
        comma = "," if len(wanted) == 1 else ""
        raise InvalidInputError(
            f"{name} must be ({', '.join(wanted)}{comma}) for steps of shape {item_shape}; "
            f"got {shape}"
        )
    if lead and shape[0] == 0:
        raise InvalidInputError(f"{name} has no taps: its shape {shape} needs at least 1 in front")


def steps_before(taps: int, causal: bool, dilation: int) -> int:
    """How many steps before its own a step sees first."""
    span = (taps - 1) * check_count("dilation", dilation, 1)
    if span >= MOST_SPAN:
        raise InvalidInputError(
            f"{taps} taps, each {dilation} steps from the next, are more than can be counted"
        )
    return span if causal else span // 2


def convolve(
    rows: Rows,
    kernel: AnyArray,
    bias: AnyArray | None,
    before: int,
    dilation: int,
    out_starts: AnyArray,
    out: AnyArray,
) -> None:
    """Write the convolution of rows to `out`, (n_steps, *item). Arrays are checked, of one dtype.

    Negative `before` and `dilation` take the taps the other way: that is what gradients do.
    """
    features = math.prod(rows.item_shape)
    if not features:
        return
    biases = rows.arrays.full(0, (features,), rows.dtype) if bias is None else bias.reshape(-1)
    rows.layout.run(
        CONV,
        features * len(kernel),
        rows.values.reshape(-1),
        rows.starts,
        rows.lengths,
        rows.mask,
        rows.arrays.frozen(flat_items(kernel)),
        rows.arrays.frozen(biases),
        before,
        dilation,
        out_starts,
        out.reshape(-1),
    )


def conv_gradient(
    x: Rows,
    kernel: AnyArray,
    gradient: AnyArray,
    causal: bool,
    dilation: int,
    wants_x: bool = True,
) -> tuple[AnyArray | None, AnyArray]:
    """The gradient of x, if it is wanted, and (taps + 1, *item): the kernel's, then the bias's.

    x : what was convolved, compact, of floats that are computed in; kernel (taps, *item) and
    gradient (n_steps, *item) of its dtype. A masked step gets and gives 0.

    The gradient of x is a convolution too, whose taps go the other way. The others are sums over
    rows, in parts of as many rows each: how many there are says which, and threads do not.
    """
    arrays, taps = x.arrays, len(kernel)
    before = steps_before(taps, causal, dilation)
    kernel, gradient = arrays.frozen(kernel), arrays.frozen(gradient)
    of_x = None
    if wants_x:
        of_x = arrays.empty(x.values.shape, x.dtype)
        convolve(x.over(gradient), kernel, None, -before, -dilation, x.starts, of_x)
    sums = _weight_sums(x, gradient, taps, before, dilation)
    return of_x, sums.reshape(taps + 1, *x.item_shape)


def _weight_sums(x: Rows, gradient: AnyArray, taps: int, before: int, dilation: int) -> AnyArray:
    """(taps + 1, features): the gradient of the kernel, and behind it that of the bias."""
    arrays, rows = x.arrays, len(x)
    flat, of_steps = flat_items(x.values), flat_items(gradient)
    features = flat.shape[1]
    parts = min(rows, _MOST_PARTS)
    edges = np.arange(parts + 1) * rows // max(parts, 1)
    places = edges[:-1], np.diff(edges), np.array([parts])
    part_starts, part_lengths, count = (arrays.frozen(arrays.from_host(one)) for one in places)
    of_parts = arrays.empty((parts, (taps + 1) * features), x.dtype)
    sums = arrays.empty((1, (taps + 1) * features), x.dtype)
    if features:
        Layout(arrays, part_starts, part_lengths).run(
            CONV_WEIGHT_GRADIENT,
            (taps + 1) * features * (len(flat) // max(rows, 1)),
            flat,
            x.starts,
            x.lengths,
            x.mask,
            of_steps,
            before,
            dilation,
            part_starts,
            part_lengths,
            of_parts.reshape(parts * (taps + 1), features),
        )
        all_parts = Layout.of_lengths(arrays, count)
        all_parts.run(
            POOL,
            (taps + 1) * features,
            arrays.frozen(of_parts),
            all_parts.starts,
            all_parts.lengths,
            None,
            POOL_CODES["sum"],
            sums,
        )
    return sums
