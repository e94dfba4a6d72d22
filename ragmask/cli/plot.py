"""The picture of `ragmask inspect --plot`: lengths, and padding against the batch size."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.cli.lengths import by_rows, by_tokens, quantile, tokens_for
from ragmask.errors import InvalidInputError, MissingExtraError
from ragmask.files import shown, whole_file
from ragmask.streaming.plan import Window

_BARS, _LINES = "#4c78a8", ("#d1615d", "#5a9e6f")


def need_matplotlib() -> None:
    """Raise MissingExtraError, naming the extra, where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            '--plot needs matplotlib, which is not installed: pip install "ragmask[plot]"'
        ) from error


def draw(
    columns: Mapping[str, Ints],
    windows: Sequence[Window],
    batch_sizes: Callable[[int], Sequence[int]],
    path: Path,
) -> None:
    """Draw a row of two panels for each column of lengths into a picture."""
    need_matplotlib()
    from matplotlib.figure import Figure  # a Figure of its own draws with Agg, without a window

    figure = Figure(figsize=(11, 4.2 * len(columns)), dpi=130, layout="constrained")
    panels = figure.subplots(len(columns), 2, squeeze=False)
    for (name, lengths), (left, right) in zip(columns.items(), panels, strict=True):
        _draw_lengths(left, name, lengths)
        _draw_padding(right, lengths, windows, batch_sizes(lengths.size))
    try:
        with whole_file(path) as file:
            figure.savefig(file, format=path.suffix[1:] or None)
    except ValueError as error:  # the suffix names a format that matplotlib does not write
        raise InvalidInputError(f"{shown(path)} cannot be drawn: {error}") from error


def _draw_lengths(axes: Any, name: str, lengths: Ints) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_title(f"{name}: {lengths.size:,} rows, {int(lengths.sum()):,} steps", loc="left")
    axes.set_xlabel("steps a row")
    axes.set_ylabel("rows")
    _tidy(axes)
    if lengths.size == 0:
        return
    shortest, longest = int(lengths.min()), int(lengths.max())
    end = min(longest, 2 * quantile(lengths, 0.99))  # a far tail would squeeze all the rest
    width = max(1, -(-(end - shortest + 1) // 80))
    edges = np.arange(shortest, end + width + 1, width) - 0.5
    axes.hist(np.minimum(lengths, end), bins=edges, color=_BARS)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the marks
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    marks: dict[int, str] = {}  # of quantiles that fall together, the highest
    for share, text in ((0.5, "50%"), (0.95, "95%"), (0.99, "99%")):
        marks[quantile(lengths, share)] = text
    for at, text in marks.items():
        axes.axvline(at, color="#555555", linewidth=0.9, linestyle=":")
        axes.annotate(
            f"{text}: {at:,}",
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -4),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8,
            color="#555555",
        )
    if longest > end:
        axes.set_xlabel(f"steps a row (the last bar: all from {end:,} to {longest:,})")


def _draw_padding(
    axes: Any, lengths: Ints, windows: Sequence[Window], sizes: Sequence[int]
) -> None:
    axes.set_title("what padding would waste", loc="left")
    axes.set_xlabel("rows of a batch, on average")
    axes.set_ylabel("padding, % of the padded array")
    _tidy(axes)
    if lengths.size == 0:
        return
    made = {
        "in file order: batch(rows=)": [by_rows(lengths, rows) for rows in sizes],
        "by length: batch(tokens=)": [
            by_tokens(lengths, windows, tokens_for(lengths, rows)) for rows in sizes
        ],
    }
    for (label, each), colour in zip(made.items(), _LINES, strict=True):
        rows = [lengths.size / batches.number for batches in each]
        shares = [100 * batches.padding_share() for batches in each]
        axes.plot(rows, shares, "o-", color=colour, label=label, clip_on=False, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{rows:,}" for rows in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, max(5.0, axes.get_ylim()[1]))
    axes.legend(frameon=False)


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
