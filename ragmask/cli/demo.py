"""`ragmask demo`: the data that ships with ragmask, streamed, padded and shown."""

from time import perf_counter

import numpy as np
from rich.console import Console
from rich.text import Text

import ragmask as rm
from ragmask.arrays.protocol import Array, Bools
from ragmask.cli.advice import percent
from ragmask.cli.progress import progress_bar
from ragmask.data import JAPANESE_VOWELS

_CREDIT = (
    "Japanese Vowels: two vowels, spoken by nine men. A row is a recording of 7 to 29\n"
    "frames; a frame is 12 cepstrum coefficients. M. Kudo, J. Toyama, M. Shimbo\n"
    "(1999), UCI Machine Learning Repository, CC BY 4.0."
)
_HEIGHTS = "▁▂▃▄▅▆▇█"
_DIGITS = "12345678"
# From blue over green to red; each is visible on a light and on a dark background.
_COLOURS = ("#5b6fd8", "#3f8fd0", "#2fa3a8", "#3fae72", "#86a83a", "#c09a2c", "#dd7d35", "#dd5560")
_SHOWN_ROWS = 12
_COEFFICIENT = 3  # the one that moves most within a recording


def run(rows: int, passes: int, console: Console) -> None:
    """Stream, pad, count, and show one batch."""
    stream = rm.stream(JAPANESE_VOWELS, columns=["frames"]).batch(rows=rows)
    console.print(_CREDIT, style="dim")
    console.print()

    with progress_bar() as progress:
        first = progress.add_task("first pass: compiling", total=1)
        began = perf_counter()
        steps, padded_steps = _pass(stream)
        warm = perf_counter() - began
        progress.remove_task(first)

        task = progress.add_task("streaming and padding", total=passes)
        began = perf_counter()
        for _ in range(passes):
            _pass(stream)
            progress.advance(task)
        seconds = perf_counter() - began

    per_second = passes * steps / seconds
    batches = len(stream)
    facts = [
        ("rows", f"{stream.num_rows:,}"),
        ("steps", f"{steps:,}"),
        ("batches", f"{batches:,} of {rows:,} rows" if batches > 1 else "1"),
        ("padding", f"{percent(1 - steps / padded_steps)} of the padded arrays"),
        (
            "speed",
            f"{per_second / 1e6:,.1f} million steps a second, read, decoded and padded:\n"
            f"{passes:,} passes over a small, cached file in {seconds:.2f} s. Not counted: a\n"
            f"first pass of {warm:.2f} s, which compiles the kernel or loads it compiled",
        ),
    ]
    for name, fact in facts:
        head, *more = fact.split("\n")
        console.print(f"  [bold]{name:<9}[/bold]{head}")
        for line in more:
            console.print(f"  {'':<9}{line}")

    console.print()
    _show_batch(next(iter(stream))["frames"], console)


def _pass(stream: rm.Stream) -> tuple[int, int]:
    """Pad every batch; the steps there were, and the steps of the padded arrays."""
    steps = padded_steps = 0
    for batch in stream:
        padded = batch["frames"].to_padded()
        steps += batch["frames"].n_steps
        padded_steps += padded.shape[0] * padded.shape[1]
    return steps, padded_steps


def _show_batch(frames: rm.Ragged, console: Console) -> None:
    """Some rows of a batch as `to_padded` gives them, a column of blocks for each step."""
    count = min(_SHOWN_ROWS, len(frames))
    shown = frames[np.linspace(0, len(frames) - 1, count).astype(np.int64)]
    padded = shown.to_padded()
    assert padded.mask is not None  # a fresh padded array always has one
    values, mask = padded.values[:, :, _COEFFICIENT], padded.mask
    low, high = float(values[mask].min()), float(values[mask].max())
    ascii_only = console.options.ascii_only

    console.print(
        f"{count} rows of the first batch as [bold].to_padded()[/bold] gives them: "
        f"{'×'.join(map(str, padded.shape))} values"
    )
    console.print()
    console.print("  frames", style="dim")
    for row in range(count):
        text = Text(f"  {shown.lengths[row]:>6}  ")
        text.append_text(draw_row(values[row], mask[row], low, high, ascii_only))
        console.print(text, soft_wrap=True)

    console.print()
    ramp = Text("  ")
    for level, glyph in enumerate(_DIGITS if ascii_only else _HEIGHTS):
        ramp.append(glyph * 2, _COLOURS[level])
    ramp.append(f"  a frame, by its 4th coefficient ({low:.1f} to {high:.1f}); mask True\n")
    ramp.append(f"  {('.' if ascii_only else '·') * 2 * len(_HEIGHTS)}", "dim")
    ramp.append("  padding, value 0; mask False")
    console.print(ramp)


def draw_row(values: Array, mask: Bools, low: float, high: float, ascii_only: bool = False) -> Text:
    """A row of a padded batch: for each step a block by its value, or dots where masked."""
    glyphs = _DIGITS if ascii_only else _HEIGHTS
    scaled = (values - low) / (high - low) if high > low else np.zeros(len(values))
    levels = np.clip(scaled * len(glyphs), 0, len(glyphs) - 1).astype(np.int64)
    text = Text()
    for level, kept in zip(levels.tolist(), mask.tolist(), strict=True):
        if kept:
            text.append(glyphs[level] * 2, _COLOURS[level])
        else:
            text.append(".." if ascii_only else "··", "dim")
    return text
