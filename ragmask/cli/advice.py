"""Batch settings that fit the lengths of a column, each with its reason. Pure functions."""

import json
from dataclasses import dataclass, field

import numpy as np

from ragmask.cli.lengths import (
    WINDOW_BATCHES,
    cut,
    grouped,
    padded_steps,
    padding_share,
    quantile,
    widths,
)
from ragmask.devices import Ints

# Enough work for a batch to be worth its overhead, and small beside any memory.
_STEPS_A_BATCH = 16_384


@dataclass
class Advice:
    """Settings for `Stream.batch` and `Ragged.to_padded`; None where one is not advised."""

    rows: int
    window: int | None = None
    maxlen: int | None = None
    multiple_of: int | None = None
    reasons: list[tuple[str, str]] = field(default_factory=list)
    """(setting, why), in the order they should be read."""


def advise(lengths: Ints) -> Advice:
    """Settings for these rows. At least one row must have a step."""
    mean = float(lengths.mean())
    # a power of two, and no fewer than eight batches where there are rows enough
    wanted = round(np.log2(_STEPS_A_BATCH / mean))
    most = int(np.log2(max(1, lengths.size / 8)))
    rows = 2 ** max(3, min(wanted, most, 10))
    advice = Advice(rows)
    steps = _roughly(min(rows, lengths.size) * mean)
    why = f"about {steps} steps a batch; a starting point, your model and memory decide"
    advice.reasons.append((f"rows={rows}", why))

    if int(lengths.min()) == int(lengths.max()):
        why = f"every row has {int(lengths[0]):,} steps: there is no padding"
        advice.reasons.append(("nothing else", why))
        return advice
    order = _advise_order(advice, lengths)
    _advise_maxlen(advice, order)
    _advise_multiple(advice, order)
    return advice


def _advise_order(advice: Advice, lengths: Ints) -> Ints:
    """Sort windows of rows by length, where that pays; the lengths in the order advised."""
    window = advice.rows * WINDOW_BATCHES
    order = grouped(lengths, window)
    before = percent(padding_share(lengths, advice.rows))
    after = percent(padding_share(order, advice.rows))
    # by the size of the arrays: shares near 100% hardly differ where sizes differ manifold
    shrinks = padded_steps(lengths, advice.rows) / padded_steps(order, advice.rows)
    if shrinks > 1.2:
        advice.window = window
        why = (
            f"sorting windows of {window:,} rows takes padding from {before} to {after}, arrays "
            f"{shrinks:.1f} times smaller; in training, shuffle the batches again afterwards"
        )
        advice.reasons.append(("sort by length", why))
        return order
    why = f"padding is {before} in file order, and sorting by length would leave {after}"
    advice.reasons.append(("file order", why))
    return lengths


def _advise_maxlen(advice: Advice, order: Ints) -> None:
    """A cut at the 99% quantile, where the tail beyond it is long."""
    longest, maxlen = int(order.max()), quantile(order, 0.99)
    maxlen += -maxlen % 8
    if maxlen == 0 or longest < 2 * maxlen:
        return
    lost = cut(order, maxlen)
    before = padding_share(order, advice.rows)
    after = padding_share(np.minimum(order, maxlen), advice.rows)
    advice.maxlen = maxlen
    advice.reasons.append(
        (
            f"maxlen={maxlen}",
            f"cuts {percent(lost.rows / order.size)} of the rows and "
            f"{percent(lost.steps / int(order.sum()))} of the steps; the widest batch is "
            f"{maxlen:,} instead of {longest:,} steps, padding {percent(after)} "
            f"instead of {percent(before)}",
        )
    )


def _advise_multiple(advice: Advice, order: Ints) -> None:
    """Round widths, where that leaves far fewer of them and costs little."""
    if advice.maxlen is not None:
        order = np.minimum(order, advice.maxlen)
    multiple = 64 if order.mean() > 512 else 8
    many = np.unique(widths(order, advice.rows)).size
    few = np.unique(widths(order, advice.rows, multiple)).size
    before = padding_share(order, advice.rows)
    after = padding_share(order, advice.rows, multiple)
    grows = padded_steps(order, advice.rows, multiple) / padded_steps(order, advice.rows)
    if many < 6 or few > many / 2 or grows > 1.1:
        return
    advice.multiple_of = multiple
    advice.reasons.append(
        (
            f"multiple_of={multiple}",
            f"{few} widths of batches instead of {many}, for models compiled for each shape; "
            f"padding {percent(after)} instead of {percent(before)}",
        )
    )


def code(advice: Advice, paths: str, column: str, rows_of: str) -> str:
    """The advice as a loop to copy. `rows_of` is the expression that makes `batch` Ragged."""
    pad = [f"maxlen={advice.maxlen}"] if advice.maxlen is not None else []
    pad += [f"multiple_of={advice.multiple_of}"] if advice.multiple_of is not None else []
    to_padded = f"to_padded({', '.join(pad)})"
    lines = [f"stream = rm.stream({paths}, columns=[{quoted(column)}])"]
    if "vocabulary." in rows_of:
        lines.append("vocabulary = rm.Vocabulary.build(stream)")
    if advice.window is None:
        lines += [
            f"for batch in stream.batch(rows={advice.rows}):",
            f"    padded = {rows_of}.{to_padded}",
        ]
    else:
        lines += [
            f"for batch in stream.batch(rows={advice.window}):",
            f"    r = {rows_of}",
            "    r = r[np.argsort(r.lengths)]  # a view; order other columns alike",
            f"    for first in range(0, len(r), {advice.rows}):",
            f"        padded = r[first : first + {advice.rows}].{to_padded}",
        ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """A string as Python code, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _roughly(number: float) -> str:
    """Two digits that count."""
    return f"{float(f'{number:.2g}'):,.0f}"


def percent(share: float) -> str:
    """A share as a person writes it: 12%, 3.4%, 0.05%."""
    number = 100 * share
    if number == 0 or number >= 9.95:
        return f"{number:.0f}%"
    if number < 0.01:
        return "<0.01%"
    return f"{number:.1f}%" if number >= 0.095 else f"{number:.2f}%"
