"""How batches look when they are printed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array, Bools

_SHOWN_ROWS = 6
_SHOWN_INNER_ROWS = 4


def with_rows(head: str, rows: int, show: Callable[[int], tuple[Array, Bools | None]]) -> str:
    """The head line, then the first rows, a line each."""
    return with_lines(head, rows, lambda row: _row_text(*show(row)))


def with_lines(head: str, rows: int, text: Callable[[int], str]) -> str:
    """The head line, then the texts of the first rows, a line each."""
    lines = [head, *("  " + text(row) for row in range(min(rows, _SHOWN_ROWS)))]
    if rows > _SHOWN_ROWS:
        lines.append(f"  … {rows - _SHOWN_ROWS:,} more")
    return "\n".join(lines)


def nested_row_text(
    inner_rows: int, show: Callable[[int], tuple[Array, Bools | None] | None]
) -> str:
    """One row of rows on one line, inner rows that are masked as dots."""
    texts = []
    for step in range(min(inner_rows, _SHOWN_INNER_ROWS)):
        parts = show(step)
        texts.append("·" if parts is None else _row_text(*parts, most=6))
    return f"[{' '.join(texts)}{' …' if inner_rows > _SHOWN_INNER_ROWS else ''}]"


def _row_text(values: Array, mask: Bools | None, most: int = 10) -> str:
    """One row on one line, masked steps as dots."""
    most = most if values.ndim == 1 else 3
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
