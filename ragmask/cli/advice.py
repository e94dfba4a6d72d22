"""Batch settings that fit the lengths of a column, each with its reason. Pure functions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.cli.lengths import (
    Batches,
    by_rows,
    by_tokens,
    cut,
    evenly,
    mean_cost,
    quantile,
    tokens_for,
)
from ragmask.streaming.arrange import Rounding
from ragmask.streaming.plan import Window

# Enough work for a batch to be worth its overhead, and small beside any memory.
_STEPS_A_BATCH = 16_384


@dataclass
class Advice:
    """Settings for `Stream.batch`, by rows or by tokens, and for `Ragged.to_padded`.

    None where one is not advised.
    """

    rows: int | None = None
    tokens: int | None = None
    maxlen: int | None = None
    multiple_of: int | None = None
    reasons: list[tuple[str, str]] = field(default_factory=list)
    """(setting, why), in the order they should be read."""


def advise(lengths: Ints, windows: Sequence[Window]) -> Advice:
    """Settings for these rows, streamed in these windows. At least one row must have a step."""
    advice = Advice()
    rows = _rows_of_a_batch(lengths)
    if int(lengths.min()) == int(lengths.max()):
        _advise_rows(advice, rows, lengths)
        why = f"every row has {int(lengths[0]):,} steps: there is no padding"
        advice.reasons.append(("nothing else", why))
        return advice
    batches = _advise_order(advice, rows, lengths, windows)
    if advice.tokens is not None:
        _tell_shapes(advice, batches, windows, lengths)
    batches = _advise_maxlen(advice, batches)
    _advise_multiple(advice, batches)
    return advice


def _rows_of_a_batch(lengths: Ints) -> int:
    """A power of two, and no fewer than eight batches where there are rows enough."""
    wanted = round(np.log2(_STEPS_A_BATCH / mean_cost(lengths)))
    most = int(np.log2(max(1, lengths.size / 8)))
    return int(2 ** max(3, min(wanted, most, 10)))


def _advise_rows(advice: Advice, rows: int, lengths: Ints) -> None:
    advice.rows = rows
    steps = _roughly(min(rows, lengths.size) * float(lengths.mean()))
    why = f"about {steps} steps a batch; a starting point, your model and memory decide"
    advice.reasons.append((f"rows={rows}", why))


def _advise_order(advice: Advice, rows: int, lengths: Ints, windows: Sequence[Window]) -> Batches:
    """Batches by length, where that pays, and else in file order."""
    tokens = tokens_for(lengths, rows)
    bucketed = by_tokens(lengths, windows, tokens)
    as_many = evenly(lengths, bucketed.number)
    after = percent(bucketed.padding_share())
    # by the size of the arrays: shares near 100% hardly differ where sizes differ manifold
    shrinks = as_many.padded_steps() / bucketed.padded_steps()
    if shrinks > 1.2:
        advice.tokens = tokens
        mean = _roughly(lengths.size / bucketed.number)
        why = (
            f"at most {tokens:,} padded steps a batch, about {mean} rows; a starting point, your "
            "model and memory decide"
        )
        advice.reasons.append((f"tokens={tokens}", why))
        why = (
            f"rows of similar lengths together take padding from {percent(as_many.padding_share())}"
            f" to {after}, arrays {shrinks:.1f} times smaller"
        )
        advice.reasons.append(("by length", why))
        return bucketed
    _advise_rows(advice, rows, lengths)
    plain = by_rows(lengths, rows)
    before = percent(plain.padding_share())
    why = f"padding is {before}, and batches by length would leave {after}"
    advice.reasons.append(("file order", why))
    return plain


def _tell_shapes(
    advice: Advice, batches: Batches, windows: Sequence[Window], lengths: Ints
) -> None:
    """How many programs a compiler makes that makes one for each shape, and what leaves fewer."""
    assert advice.tokens is not None
    many = batches.number_of_shapes()
    rounding = _few_shapes(lengths, advice.tokens)
    rounded = by_tokens(lengths, windows, advice.tokens, rounding)
    by = rounding.multiple_of, rounding.rows_multiple
    few = rounded.number_of_shapes(*by)
    text = f"{many:,} padded shapes in {batches.number:,} batches"
    if many > 8 and few <= many / 2:
        grows = rounded.padded_steps(*by) / batches.padded_steps()
        text += (
            f"; batch(…, multiple_of={by[0]}, rows_multiple={by[1]}) leaves {few:,} for models "
            f"that are compiled for each, as Keras on JAX, with arrays {grows:.2f} times as large"
        )
    advice.reasons.append(("shapes", text))


def _few_shapes(lengths: Ints, tokens: int) -> Rounding:
    """Powers of two: some eight widths below the longest rows', and the rows of such a batch."""
    wide = max(8, quantile(lengths, 0.99))
    multiple_of = max(8, 2 ** round(np.log2(wide / 8)))
    width = Rounding(multiple_of).shape(1, wide)[1]
    return Rounding(multiple_of, int(2 ** int(np.log2(min(128, max(1, tokens // width))))))


def _advise_maxlen(advice: Advice, batches: Batches) -> Batches:
    """A cut at the 99% quantile, where the tail beyond it is long; the batches that leaves."""
    lengths = batches.lengths
    longest, maxlen = int(lengths.max()), quantile(lengths, 0.99)
    maxlen += -maxlen % 8
    if maxlen == 0 or longest < 2 * maxlen:
        return batches
    lost, shorter = cut(lengths, maxlen), batches.truncated(maxlen)
    advice.maxlen = maxlen
    why = (
        f"cuts {percent(lost.rows / lengths.size)} of the rows and "
        f"{percent(lost.steps / int(lengths.sum()))} of the steps; the widest batch is "
        f"{maxlen:,} instead of {longest:,} steps, padding {percent(shorter.padding_share())} "
        f"instead of {percent(batches.padding_share())}"
    )
    advice.reasons.append((f"maxlen={maxlen}", why))
    return shorter


def _advise_multiple(advice: Advice, batches: Batches) -> None:
    """Round widths, where that leaves far fewer shapes and costs little."""
    multiple = 64 if batches.lengths.mean() > 512 else 8
    many, few = batches.number_of_shapes(), batches.number_of_shapes(multiple)
    grows = batches.padded_steps(multiple) / batches.padded_steps()
    if many < 6 or few > many / 2 or grows > 1.1:
        return
    advice.multiple_of = multiple
    why = (
        f"{few} shapes of batches instead of {many}, for models compiled for each; "
        f"padding {percent(batches.padding_share(multiple))} "
        f"instead of {percent(batches.padding_share())}"
    )
    advice.reasons.append((f"multiple_of={multiple}", why))


def code(advice: Advice, paths: str, column: str, rows_of: str) -> str:
    """The advice as a loop to copy. `rows_of` is the expression that makes `batch` Ragged."""
    pad = [f"maxlen={advice.maxlen}"] if advice.maxlen is not None else []
    pad += [f"multiple_of={advice.multiple_of}"] if advice.multiple_of is not None else []
    size = f"rows={advice.rows}"
    lines = [f"stream = rm.stream({paths}, columns=[{quoted(column)}])"]
    if "vocabulary." in rows_of:
        lines.append("vocabulary = rm.Vocabulary.build(stream)")
    if advice.tokens is not None:
        size = f"tokens={advice.tokens}, column={quoted(column)}"
        lines.append("# for training: stream = stream.shuffle(seed=0)")
    lines += [
        f"for batch in stream.batch({size}):",
        f"    padded = {rows_of}.to_padded({', '.join(pad)})",
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
