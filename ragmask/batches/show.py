"""How batches look when they are printed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array, Bools

_SHOWN_ROWS = 6


def with_rows(head: str, rows: int, show: Callable[[int], tuple[Array, Bools | None]]) -> str:
    """The head line, then the first rows, a line each."""
    lines = [head]
    for row in range(min(rows, _SHOWN_ROWS)):
        values, mask = show(row)
        lines.append("  " + _row_text(values, mask))
    if rows > _SHOWN_ROWS:
        lines.append(f"  … {rows - _SHOWN_ROWS:,} more")
    return "\n".join(lines)


def _row_text(values: Array, mask: Bools | None) -> str:
    """One row on one line, masked steps as dots."""
    most = 10 if values.ndim == 1 else 3
    texts = [
        "·" if mask is not None and not mask[step] else _step_text(values[step])
        for step in range(min(len(values), most))
    ]
    return f"[{' '.join(texts)}{' …' if len(values) > most else ''}]"


def _step_text(step: Any) -> str:
    with np.printoptions(threshold=4, edgeitems=2, precision=4):
        return str(step).replace("\n", "")


def item_name(item_shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """What a step is: `float32`, or `12 float32`."""
    shape = "×".join(map(str, item_shape))
    return f"{shape} {dtype}" if shape else str(dtype)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
