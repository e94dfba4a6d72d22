"""The report of `ragmask inspect --html`: one file, which needs nothing else to be read."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.filesize import decimal

import ragmask
from ragmask import markup
from ragmask.arrays.protocol import Ints
from ragmask.batches.show import count
from ragmask.cli.advice import Advice, percent
from ragmask.cli.charts import histogram_chart, legend, lines_chart
from ragmask.cli.lengths import (
    QUANTILES,
    Bin,
    by_length,
    by_rows,
    by_tokens,
    histogram,
    packed,
    quantile,
    tokens_for,
)
from ragmask.files import shown, whole_file
from ragmask.streaming.picture import type_text
from ragmask.streaming.plan import Window
from ragmask.streaming.settings import WINDOW_ROWS
from ragmask.streaming.source import Source

_MOST_FILES, _MOST_COLUMNS = 20, 200
_LONG = 400  # characters of a path
_MARKS = {"50%": 0.5, "95%": 0.95, "99%": 0.99}
_BINS = 24

_WAYS = (
    "In file order, rows are taken as they come. By length and by padded steps, rows of similar "
    f"lengths share a batch, within windows of about {WINDOW_ROWS:,} rows. Packed, whole rows are "
    "laid into sequences as long as the longest row, rounded up to a power of two, and a batch has "
    "as many of these as hold about as many steps."
)
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--soft:#f2f4f7;--rule:#c8cfd8;
--link:#0a56b5;--one:#2f6fbf;--two:#b3541e;--three:#1f7a4d;--four:#8a4fb0}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--text:#dde3ea;--soft:#1c222b;
--rule:#3b4552;--link:#79b4ff;--one:#6ca6ee;--two:#ef9a5f;--three:#62c492;--four:#c79ae6}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:16px}
h1,h2,h3{line-height:1.25;overflow-wrap:anywhere}
h1{font-size:1.6em;margin:.4em 0}
h2{font-size:1.35em;margin:1.6em 0 .4em;padding-top:.6em;border-top:1px solid var(--rule)}
h3{font-size:1.05em;margin:1.2em 0 .3em}
a{color:var(--link)}
code,pre{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.88em}
code{overflow-wrap:anywhere}
pre{background:var(--soft);padding:12px;border-radius:6px;overflow-x:auto;margin:.6em 0}
pre code{overflow-wrap:normal}
.scroll{overflow-x:auto;margin:.5em 0}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:.92em}
th,td{padding:4px 14px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
.numbers td,.numbers thead th+th{text-align:right}
.numbers th,.numbers td{white-space:nowrap}
.numbers small{display:block}
tbody th{font-weight:400}
dl{margin:.4em 0}
dt{font-weight:600}
dd{margin:0 0 .5em 0}
.charts{display:grid;gap:12px 28px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
figure{margin:0}
figcaption{font-weight:600}
.chart{display:block;width:100%;max-width:500px;height:auto}
.legend{list-style:none;margin:.2em 0;padding:0;font-size:.92em}
summary{cursor:pointer}
footer{margin-top:2em;font-size:.9em}
""".strip()


class Section(NamedTuple):
    """What is told of a column: its lengths, what is out of the ordinary, and lines to paste."""

    name: str
    lengths: Ints
    exceptions: str
    sizes: Sequence[int]  # of batches
    advice: Advice | None  # None where no row has a step
    code: str


def write_report(
    source: Source, sections: Sequence[Section], windows: Sequence[Window], path: Path
) -> None:
    """Write the report to a file that appears whole or not at all."""
    one = source.paths[0]
    name = shown(one) if len(source.paths) == 1 else f"{len(source.paths):,} files"
    title = html.escape(markup.short(name, _LONG))
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Lengths in {title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Lengths in <bdi>{title}</bdi></h1>",
        *_facts(source, sections),
    ]
    for number, section in enumerate(sections):
        parts += _section(number, section, windows)
    parts.append(
        f"<footer>Written by ragmask {ragmask.__version__}.</footer></main></body></html>\n"
    )
    with whole_file(path) as file:
        file.write("".join(parts).encode())


def _facts(source: Source, sections: Sequence[Section]) -> list[str]:
    size = sum(file.stamp.size for file in source.files)
    parts = [
        f"<p>{count(source.num_rows, 'row')} in {count(len(source.paths), 'file')}, "
        f"{decimal(size)}.</p>"
    ]
    if len(source.paths) > 1:
        items = "".join(
            f"<li><code>{markup.data(shown(one), _LONG)}</code></li>"
            for one in source.paths[:_MOST_FILES]
        )
        more = len(source.paths) - _MOST_FILES
        items += f"<li>{more:,} more</li>" if more > 0 else ""
        parts.append(f"<details><summary>The files</summary><ul>{items}</ul></details>")
    places = {section.name: number for number, section in enumerate(sections)}
    rows = []
    for field in list(source.full_schema)[:_MOST_COLUMNS]:
        place = places.get(field.name)
        told = "not measured" if place is None else f'<a href="#column-{place}">see below</a>'
        rows.append(
            [
                _code(field.name),
                _code(type_text(field.type)),
                told,
            ]
        )
    more = len(source.full_schema) - len(rows)
    parts.append("<h2>Columns</h2>" + _scrolled("The columns", ["column", "type", "lengths"], rows))
    return [*parts, f"<p>… {count(more, 'more column')}</p>"] if more else parts


def _section(number: int, section: Section, windows: Sequence[Window]) -> list[str]:
    lengths = section.lengths
    steps = int(lengths.sum())
    parts = [
        f'<section><h2 id="column-{number}">{_code(section.name)}</h2>',
        f"<p>{count(steps, 'step')} in {count(lengths.size, 'row')}"
        f"{html.escape(section.exceptions)}.</p>",
    ]
    if section.advice is None:
        return [*parts, "<p>No row has a step: there is nothing to pad.</p></section>"]
    bins = histogram(lengths, _BINS)
    marks: dict[str, int] = {}
    for name, share in _MARKS.items():  # of quantiles that fall together, the highest
        marks = {key: at for key, at in marks.items() if at != quantile(lengths, share)}
        marks[name] = quantile(lengths, share)
    label = f"Histogram of steps a row, from {int(lengths.min()):,} to {int(lengths.max()):,}; "
    label += ", ".join(f"{name} of the rows have at most {at:,}" for name, at in marks.items())
    ways, rows, shares = _padding(section, windows)
    told = "; ".join(
        f"{name}: {', '.join(map(percent, line))}" for name, line in zip(ways, shares, strict=True)
    )
    sizes = ", ".join(f"{size:,}" for size in section.sizes)
    parts += [
        "<h3>How long the rows are</h3>",
        _quantiles(lengths),
        '<div class="charts"><figure><figcaption>Rows by length</figcaption>',
        histogram_chart(bins, marks, label),
        f"<details><summary>The numbers of the bars</summary>{_bins_table(bins)}</details>",
        "</figure><figure><figcaption>What padding wastes</figcaption>",
        lines_chart(
            section.sizes,
            dict(zip(ways, shares, strict=True)),
            f"Share of padding in batches of {sizes} rows. {told}",
        ),
        legend(ways),
        "</figure></div>",
        "<h3>Padding, as a share of the padded arrays</h3>",
        f"<p>{_WAYS}</p>",
        _scrolled("Padding by batch size", ["rows of a batch", *ways], rows, "numbers"),
    ]
    reasons = "".join(
        f"<dt>{_code(setting)}</dt><dd>{html.escape(reason)}</dd>"
        for setting, reason in section.advice.reasons
    )
    code = "\n".join(html.escape(markup.short(line, 10_000)) for line in section.code.split("\n"))
    parts += [
        f"<h3>Advice</h3><dl>{reasons}</dl>",
        '<pre tabindex="0" role="group" aria-label="Lines of Python to paste: '
        f'{markup.text(section.name)}"><code>{code}</code></pre></section>',
    ]
    return parts


def _quantiles(lengths: Ints) -> str:
    cells = [f"{quantile(lengths, share):,}" for share in QUANTILES.values()]
    row = ["steps a row", *cells, f"{lengths.mean():,.1f}"]
    return _scrolled("Quantiles of the lengths", ["quantile", *QUANTILES, "mean"], [row], "numbers")


def _bins_table(bins: Sequence[Bin]) -> str:
    rows = [
        [
            f"{one.first:,}" if one.first == one.last else f"{one.first:,}–{one.last:,}",
            f"{one.rows:,}",
        ]
        for one in bins
    ]
    return _table(["steps", "rows"], rows, "numbers")


def _padding(
    section: Section, windows: Sequence[Window]
) -> tuple[list[str], list[list[str]], list[list[float]]]:
    """Names of four ways to batch; a table's rows, one a batch size; and each way's shares."""
    lengths, mean = section.lengths, float(section.lengths.mean())
    length = 1 << (int(lengths.max()) - 1).bit_length()  # so that no row is cut
    sequences = packed(lengths, windows, length)
    ways = ["in file order", "by length", "by padded steps", "packed"]
    rows, shares = [], []
    for size in section.sizes:
        tokens, several = tokens_for(lengths, size), max(1, round(size * mean / length))
        batches = {
            f"batch(rows={size})": by_rows(lengths, size),
            f"batch(rows={size}, bucket=True)": by_length(lengths, windows, size),
            f"batch(tokens={tokens})": by_tokens(lengths, windows, tokens),
            f"pack({length}).batch(rows={several})": by_rows(sequences, several),
        }
        own = [one.padding_share() for one in batches.values()]
        shares.append(own)
        cells = (
            f"{percent(share)} <small>{_code(call)}</small>"
            for share, call in zip(own, batches, strict=True)
        )
        rows.append([f"{size:,}", *cells])
    return ways, rows, [list(line) for line in zip(*shares, strict=True)]


# -- small pieces -------------------------------------------------------------------------


def _scrolled(label: str, headers: list[str], rows: list[list[str]], kind: str = "") -> str:
    """A table that may be wider than a narrow page."""
    table = _table(headers, rows, kind)
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">{table}</div>'


def _table(headers: list[str], rows: list[list[str]], kind: str) -> str:
    table = markup.table(headers, rows)
    return f'<div class="{kind}">{table}</div>' if kind else table


def _code(text: str) -> str:
    return f"<code>{markup.data(text, 120)}</code>"
