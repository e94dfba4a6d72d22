"""What callers say about rows of tensors, checked; while it is traced, when it runs."""

from typing import Any

import numpy as np
import torch

from ragmask.arrays.host import check_offsets
from ragmask.arrays.protocol import LARGEST, Array
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import check_count


def check_width(x: Any, width: int) -> None:
    """Raise unless all rows fit into it: where this is compiled, when it runs."""
    check_count("width", width, most=LARGEST)
    if torch.compiler.is_compiling():
        torch._assert_async((x.lengths <= width).all(), "a row is longer than the width")
    elif width < x.longest:
        raise InvalidInputError(
            f"width {width} is less than the longest row, {x.longest}: truncate(width) first"
        )


def check_parts(values: Any, offsets: Any, mask: Any) -> None:
    given = [values, offsets, *([] if mask is None else [mask])]
    if not all(isinstance(one, torch.Tensor) for one in given):
        kinds = ", ".join(type(one).__name__ for one in given)
        raise UnsupportedTypeError(f"values, offsets and mask must be tensors; got {kinds}")
    if len({one.device for one in given}) > 1:
        places = ", ".join(str(one.device) for one in given)
        raise DeviceError(f"values, offsets and mask must live on one device; got {places}")
    if values.ndim == 0 or values.layout != torch.strided:
        raise UnsupportedTypeError(
            "values are a plain tensor with a step axis; got "
            f"{'a single value' if values.ndim == 0 else values.layout}"
        )
    if offsets.dtype != torch.int64 or offsets.ndim != 1:
        raise UnsupportedTypeError(
            f"offsets must be int64 (rows + 1,); got {offsets.dtype} {tuple(offsets.shape)}: "
            "take offsets.long()"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != values.shape[:1]):
        raise InvalidInputError(
            f"mask must be bool ({len(values)},); got {mask.dtype} {tuple(mask.shape)}"
        )
    numbers = _numbers(offsets)
    if numbers is None:
        return
    check_offsets(len(values), numbers)
    if numbers[0] != 0 or numbers[-1] != len(values):
        raise InvalidInputError(
            f"offsets go from {numbers[0]} to {numbers[-1]}, and the rows must cover all "
            f"{len(values)} values: cut the values to them"
        )


def check_lengths(lengths: Any, rows: int, width: int) -> None:
    """Of the rows of a padded tensor: past its own width lies the next one."""
    if not isinstance(lengths, torch.Tensor) or lengths.shape != (rows,):
        got = tuple(lengths.shape) if isinstance(lengths, torch.Tensor) else type(lengths).__name__
        raise InvalidInputError(f"lengths must be a tensor ({rows},); got {got}")
    if lengths.dtype.is_floating_point or lengths.dtype in (torch.bool, torch.complex64):
        raise UnsupportedTypeError(f"lengths must be integers; got {lengths.dtype}")
    if torch.compiler.is_compiling():
        fits = (lengths >= 0) & (lengths <= width)
        torch._assert_async(fits.all(), "a row is longer than the padded width")
        return
    numbers = _numbers(lengths)
    if numbers is not None and (bad := np.flatnonzero((numbers < 0) | (numbers > width))).size:
        raise InvalidInputError(
            f"row {bad[0]} has length {numbers[bad[0]]}; the padded width is {width}"
        )


def _numbers(tensor: torch.Tensor) -> Array | None:
    """What it holds; None where that is nothing yet: on meta, or while it is being traced."""
    try:
        numbers: Array = tensor.numpy(force=True)
    except RuntimeError:
        return None
    return numbers
