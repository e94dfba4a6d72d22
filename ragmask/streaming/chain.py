"""How a stream is drawn: what it reads, and what it does with it, in order."""

from collections.abc import Iterator

from ragmask import markup
from ragmask.batches.show import count
from ragmask.streaming.arrange import PLAIN
from ragmask.streaming.maps import MapFunction
from ragmask.streaming.mixture import AnySource, Mixture
from ragmask.streaming.picture import MOST_COLUMNS, code, type_text
from ragmask.streaming.plan import DRAWS
from ragmask.streaming.settings import Settings


def draw_stream(source: AnySource, settings: Settings, maps: tuple[MapFunction, ...]) -> str:
    """A stream as a fragment of HTML: what it reads, and what it does with it, step by step.

    Nothing is read for it, neither data nor the footers of files that nobody asked for yet.
    """
    files = len(source.paths)
    facts = [count(files, "file"), count(len(source.column_names), "column")]
    what = f"<p>{code(markup.data(source.paths[0], 160))}"
    what += f" and {count(files - 1, 'more file')}</p>" if files > 1 else "</p>"
    steps = "".join(
        f"<li><strong>{step}</strong> {told}</li>" for step, told in _steps(source, settings, maps)
    )
    names = source.column_names[:MOST_COLUMNS]
    lines = [[code(markup.data(name)), code(_type_in_first(source, name))] for name in names]
    left = len(source.column_names) - len(names)
    more = f"<p>… {count(left, 'more column')}</p>" if left else ""
    chain = f'<ol class="rm-chain" aria-label="What the stream does, in order">{steps}</ol>'
    table = markup.table(["column", "type"], lines)
    return markup.figure(markup.head("Stream", facts), what, chain, table, more)


def _type_in_first(source: AnySource, name: str) -> str:
    field = source.first_field(name)
    return "not in the first file" if field is None else markup.text(type_text(field.type), 120)


def _steps(
    source: AnySource, settings: Settings, maps: tuple[MapFunction, ...]
) -> Iterator[tuple[str, str]]:
    """What is done with rows, in order: the name of the method, and its arguments in words."""
    rows = None if isinstance(source, Mixture) else source.known_rows
    yield "read", "" if rows is None else count(rows, "row")
    if isinstance(source, Mixture):
        yield ("mix" if source.names else "take"), markup.data(source.described, 160)
    elif source.filter is not None:
        yield "where", markup.data(source.filter_text or "", 120)
    for part in source.portions:
        share = (part.high - part.low) / DRAWS
        yield "split", f"{share:.4g} of the rows, seed {part.key[0]}"
    for step in source.steps:
        yield step.method, markup.data(str(step), 120)
    if settings.shuffle:
        window = count(settings.shuffle.window_rows, "row")
        yield "shuffle", f"seed {settings.shuffle.seed}, windows of {window}"
    if settings.shard.world_size > 1:
        even = ", even" if settings.shard.even else ""
        yield "shard", f"rank {settings.shard.rank} of {settings.shard.world_size:,}{even}"
    if settings.packing:
        of = markup.data(settings.packing.column)
        yield "pack", f"{of} to {count(settings.packing.length, 'step')}"
    if batches := _batches(settings):
        yield "batch", batches
    for function in maps:
        yield "map", markup.data(str(getattr(function, "__name__", type(function).__name__)))
    yield "prefetch", count(settings.prefetch, "window")


def _batches(settings: Settings) -> str:
    text = ""
    if budget := settings.budget:
        text = f"at most {count(budget.tokens, 'padded step')} of {markup.data(budget.column)}"
        text += ", by length" if budget.bucket else ""
    elif buckets := settings.buckets:
        text = f"{count(buckets.rows, 'row')}, by length of {markup.data(buckets.column)}"
        text += ", the last left out" if buckets.drop_last else ""
    elif settings.rows is not None:
        text = count(settings.rows, "sequence" if settings.packing else "row")
        text += ", the last left out" if settings.drop_last else ""
    if settings.rounding != PLAIN:
        steps, rows = settings.rounding.multiple_of, settings.rounding.rows_multiple
        text += f", for widths in multiples of {steps:,} and rows of {rows:,}"
    return text
