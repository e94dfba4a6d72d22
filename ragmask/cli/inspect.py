"""`ragmask inspect`: the lengths of a data set, the cost of padding it, and how to batch it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.cli.advice import Advice, advise, code, percent, quoted
from ragmask.cli.lengths import QUANTILES, by_rows, by_tokens, histogram, quantile, tokens_for
from ragmask.cli.measure import Measured, measure, ragged_columns
from ragmask.cli.progress import progress_bar
from ragmask.cli.report import Section, write_report
from ragmask.cli.targets import check_target
from ragmask.files import name_to_write, shown
from ragmask.streaming.formats import Options
from ragmask.streaming.plan import Order, Window
from ragmask.streaming.settings import WINDOW_ROWS
from ragmask.streaming.source import Source

_BATCH_ROWS = (32, 64, 128, 256, 512, 1024)
_BAR = 44


def run(
    paths: Sequence[str],
    columns: Sequence[str] | None,
    plot: Path | None,
    report: Path | None,
    console: Console,
) -> None:
    """Measure, print, and draw or write a report if asked."""
    if plot is not None:
        from ragmask.cli.plot import draw, need_matplotlib

        need_matplotlib()  # said before the reading, not after
    columns = None if columns is None else list(dict.fromkeys(columns))
    source = Source.open(paths, columns, "empty", Options())
    if report is not None:
        check_target(source.paths, name_to_write(report))
    names = ragged_columns(source, columns)
    source = replace(source, columns=tuple(names))
    with progress_bar() as progress:
        task = progress.add_task("measuring rows", total=source.num_rows)
        measured = measure(source, lambda rows: progress.advance(task, rows))

    order = Order([group.rows for group in source.groups], None, source.pieces)
    windows = order.windows(0, order.rows, WINDOW_ROWS)  # as batch(tokens=) reads them

    _print_files(source, console)
    for name in names:
        console.print()
        type_ = source.schema.field(name).type
        _print_column(name, type_, measured[name], windows, paths, console)
    if plot is not None:
        draw({name: measured[name].lengths for name in names}, windows, batch_sizes, plot)
        console.print(f"\ndrawn: {escape(str(plot))}", soft_wrap=True)
    if report is not None:
        sections = [_section(source, name, measured[name], windows, paths) for name in names]
        write_report(source, sections, windows, report)
        console.print(f"\nwritten: {escape(shown(report))}", soft_wrap=True)


def _section(
    source: Source,
    name: str,
    column: Measured,
    windows: Sequence[Window],
    paths: Sequence[str],
) -> Section:
    """What a report tells of a column."""
    type_, lengths = source.schema.field(name).type, column.lengths
    advice = advise(lengths, windows) if lengths.any() else None
    lines = _lines(advice, paths, name, type_) if advice else ""
    return Section(name, lengths, _exceptions(column), batch_sizes(lengths.size), advice, lines)


def batch_sizes(rows: int) -> list[int]:
    """The batch sizes worth showing for a data set of so many rows."""
    return [size for size in _BATCH_ROWS if size <= rows] or [rows]


def _print_files(source: Source, console: Console) -> None:
    size = sum(file.stamp.size for file in source.files)
    what = source.paths[0] if len(source.paths) == 1 else f"{len(source.paths)} files"
    console.print(
        f"[bold]{escape(what)}[/bold]  {_counted(source.num_rows, 'row')}, {decimal(size)}",
        soft_wrap=True,
    )
    widest = max(len(field.name) for field in source.full_schema)
    for field in source.full_schema:
        style = "bold" if field.name in source.columns else "dim"
        text = Text(f"  {field.name:<{widest}}  {_type_name(field.type)}", style)
        console.print(text, no_wrap=True, overflow="ellipsis")


def _print_column(
    name: str,
    type_: Any,
    column: Measured,
    windows: Sequence[Window],
    paths: Sequence[str],
    console: Console,
) -> None:
    lengths = column.lengths
    steps = int(lengths.sum())
    console.rule(Text(name, "bold cyan"), align="left", style="dim")
    console.print(
        f"[bold]{_counted(steps, 'step')}[/bold] in {_counted(lengths.size, 'row')}"
        + _exceptions(column)
    )
    if steps == 0:
        console.print("No row has a step: there is nothing to pad.")
        return

    console.print()
    console.print(_quantile_table(lengths))
    console.print()
    _print_histogram(lengths, console)
    console.print()
    console.print(_padding_table(lengths, windows))
    console.print()
    advice = advise(lengths, windows)
    _print_advice(advice, console)
    console.print()
    _print_code(_lines(advice, paths, name, type_), console)


def _exceptions(column: Measured) -> str:
    """Empty rows and nulls, where there are any."""
    rows, steps = column.lengths.size, int(column.lengths.sum())
    empty = rows - int(np.count_nonzero(column.lengths))
    text = ""
    if empty:
        text += f"; {_counted(empty, 'empty row')} ({percent(empty / rows)})"
        if column.null_rows:
            text += f", of which {_counted(column.null_rows, 'null list')}"
    if column.null_steps:
        share = percent(column.null_steps / steps)
        text += f"; {_counted(column.null_steps, 'null step')} ({share}), to be masked"
    return text


def _quantile_table(lengths: Ints) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("")
    cells = []
    for name, share in QUANTILES.items():
        table.add_column(name, justify="right", header_style="dim")
        cells.append(f"{quantile(lengths, share):,}")
    table.add_column("mean", justify="right", header_style="dim")
    table.add_row("[bold]steps a row[/bold]", *cells, f"{lengths.mean():,.1f}")
    return table


def _print_histogram(lengths: Ints, console: Console) -> None:
    bins = histogram(lengths)
    labels = [
        f"{one.first:,}" if one.first == one.last else f"{one.first:,}–{one.last:,}" for one in bins
    ]
    widest, most = max(map(len, labels)), max(one.rows for one in bins)
    console.print(f"[dim]{'steps':>{widest}}  rows[/dim]")
    for label, one in zip(labels, bins, strict=True):
        text = Text(f"{label:>{widest}}  ")
        if one.rows:
            text.append(bar(one.rows / most, _BAR, console.options.ascii_only) + " ", "cyan")
        text.append(f"{one.rows:,}", "" if one.rows else "dim")
        console.print(text, soft_wrap=True)


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar of `share` of `width` characters, in eighths; never nothing for more than 0."""
    if ascii_only:
        return "#" * max(round(share * width), share > 0)
    eighths: int = max(round(share * width * 8), share > 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _padding_table(lengths: Ints, windows: Sequence[Window]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for header in ("batch(rows=)", "padding, file order", "batch(tokens=)", "padding, by length"):
        table.add_column(header, justify="right", header_style="dim")
    for rows in batch_sizes(lengths.size):
        tokens = tokens_for(lengths, rows)
        before = percent(by_rows(lengths, rows).padding_share())
        after = percent(by_tokens(lengths, windows, tokens).padding_share())
        table.add_row(f"{rows:,}", before, f"{tokens:,}", after)
    return table


def _print_advice(advice: Advice, console: Console) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    table.add_column(style="green", no_wrap=True)
    table.add_column()
    for setting, reason in advice.reasons:
        table.add_row(setting, reason)
    console.print("[bold]advice[/bold]")
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _lines(advice: Advice, paths: Sequence[str], name: str, type_: Any) -> str:
    """The advice as lines of Python."""
    text = code(advice, _as_code(paths), name, _rows_of(name, type_))
    if " encode(" in text:
        text = "# encode is yours: it makes a Ragged of ids from the lists\n" + text
    return text


def _print_code(text: str, console: Console) -> None:
    highlighted = Syntax("", "python", theme="ansi_dark").highlight(text)
    highlighted.rstrip()
    for line in highlighted.split("\n"):
        # wrapped by the terminal, so that it can be copied whole
        console.print(Text("  ").append_text(line), soft_wrap=True)


def _rows_of(name: str, type_: Any) -> str:
    """The expression by which a batch's column becomes a Ragged."""
    if arrow.kind_of(type_) == "ragged":
        return f"batch[{quoted(name)}]"
    if field := _number_field(type_):
        return f"batch[{quoted(f'{name}.{field}')}]"
    item = getattr(type_.value_type, "value_type", type_.value_type)
    if arrow.is_string(item):
        return f"vocabulary.encode(batch[{quoted(name)}])"
    return f"encode(batch[{quoted(name)}])"


def _number_field(type_: Any) -> str | None:
    """The first field of a `list<struct>` that a batch holds as a Ragged."""
    if arrow.kind_of(type_) != "struct":
        return None
    if isinstance(type_, pa.BaseExtensionType):
        return _number_field(type_.storage_type)
    fields = [type_.value_type.field(index) for index in range(type_.value_type.num_fields)]
    numbers = (one.name for one in fields if arrow.kind_of(pa.list_(one.type)) == "ragged")
    return next(numbers, None)


def _as_code(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return quoted(paths[0])
    return f"[{', '.join(map(quoted, paths))}]" if len(paths) <= 3 else "paths"


def _type_name(type_: Any) -> str:
    """Arrow's name of a type, without what says nothing about it."""
    text = str(type_)
    for noise in ("element: ", "item: ", ", ordered=0", " not null"):
        text = text.replace(noise, "")
    return text


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
