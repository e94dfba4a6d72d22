"""How batches are drawn: rows as bars as long as their steps, masked steps hatched."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from ragmask import markup
from ragmask.arrays.protocol import Array, Bools
from ragmask.batches.show import count

_FIRST_ROWS, _LAST_ROWS = 8, 2
_SMALL_ROWS = 4  # in a table
_MOST_RUNS = 48  # of a bar
_MOST_PIECES = 24  # of a row
_MOST_CELLS = 40  # characters that fit beside each other on the narrowest page
_HEAD = 22  # characters of a row's first steps
_WORDS_MOST = 8_000

Kind = Literal["kept", "masked", "partly", "padding", "rest"]

_WORDS: dict[Kind, str] = {
    "kept": "kept",
    "masked": "masked",
    "partly": "some masked, some kept",
    "padding": "padding: masked at an end",
    "rest": "more inner rows",
}


class Run(NamedTuple):
    """Steps beside each other of one kind."""

    steps: int
    kind: Kind


class Piece(NamedTuple):
    """A row, or one inner row of it: values (n, *item), mask bool (n,) or None."""

    values: Array
    mask: Bools | None = None
    is_masked: bool = False  # as a whole

    def __len__(self) -> int:
        return len(self.values)

    @property
    def masked_steps(self) -> int:
        if self.is_masked or self.mask is None:
            return len(self) if self.is_masked else 0
        return len(self) - int(np.count_nonzero(self.mask))


class Row(NamedTuple):
    """The pieces of a row that are drawn, and how many pieces and steps are left out."""

    pieces: list[Piece]
    more_pieces: int = 0
    more_steps: int = 0

    @property
    def steps(self) -> int:
        return sum(map(len, self.pieces)) + self.more_steps


class Drawing(NamedTuple):
    """What is drawn of a batch.

    facts are those of its text; `row` gives a row by number, or is None where rows lie on a device,
    from which nothing is copied for a picture.
    """

    kind: str
    facts: list[str]
    rows: int
    row: Callable[[int], Row] | None
    is_padded: bool = False
    is_nested: bool = False


def inner_rows(number: int) -> int:
    """How many of a row's inner rows are drawn."""
    return min(number, _MOST_PIECES)


def whole(drawing: Drawing) -> str:
    """A batch as a fragment of HTML: a line of facts, its first and last rows, and a legend."""
    line = markup.head(drawing.kind, drawing.facts)
    if drawing.row is None:
        return markup.figure(line, "<p>Its rows are on the device: to_host() brings them here.</p>")
    if not drawing.rows:
        return markup.figure(line)
    shown = _shown(drawing.rows)
    rows = [drawing.row(number) for number in shown]
    runs = [[runs_of(piece, drawing.is_padded) for piece in row.pieces] for row in rows]
    cells = _cells(rows)
    heads = None if cells or drawing.is_padded else _heads(rows)
    longest = max(1, *(row.steps for row in rows))
    lines = []
    for place, (number, row) in enumerate(zip(shown, rows, strict=True)):
        if place and number > shown[place - 1] + 1:
            more = count(number - shown[place - 1] - 1, "more row")
            lines.append(f'<span class="rm-more">… {more}</span>')
        bar = (
            _bar(row, runs[place], longest)
            if cells is None
            else _cell_row(runs[place], cells.texts[place], cells.width)
        )
        lines += [_number(f"{number:,}"), bar, _number(_length(row, drawing))]
        if heads is not None:
            lines.append(f'<span class="rm-code">{markup.text(heads[place])}</span>')
    kinds = {run.kind for row in runs for piece in row for run in piece}
    if any(row.more_pieces for row in rows):
        kinds.add("rest")
    columns = " rm-fit" if cells else "" if heads is None else " rm-heads"
    image = _image(columns, _in_words(drawing, shown, rows), lines)
    return markup.figure(line, image, _legend(kinds, drawing.is_nested))


def small(drawing: Drawing) -> str:
    """The first rows as thin bars alone, for a cell of a table."""
    if drawing.row is None or not drawing.rows:
        return ""
    shown = range(min(drawing.rows, _SMALL_ROWS))
    rows = [drawing.row(number) for number in shown]
    longest = max(1, *(row.steps for row in rows))
    bars = [
        _bar(row, [runs_of(piece, drawing.is_padded) for piece in row.pieces], longest)
        for row in rows
    ]
    return _image(" rm-small", _in_words(drawing, shown, rows), bars)


def runs_of(piece: Piece, is_padded: bool = False) -> list[Run]:
    """A piece's steps as runs, which are exact unless there are too many to be seen."""
    n = len(piece)
    if not n:
        return []
    if piece.is_masked or piece.mask is None:
        return [Run(n, "masked" if piece.is_masked else "kept")]
    mask = piece.mask
    runs = _exact(mask) if n <= 1 << 16 else []
    if not runs or len(runs) > _MOST_RUNS:
        runs = _coarse(mask)
    if is_padded:
        for end in (0, -1):
            if runs[end].kind == "masked":
                runs[end] = Run(runs[end].steps, "padding")
    return runs


def _exact(mask: Bools) -> list[Run]:
    ends = [0, *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), len(mask)]
    if len(ends) > _MOST_RUNS + 1:
        return []
    return [Run(end - begin, "kept" if mask[begin] else "masked") for begin, end in pairwise(ends)]


def _coarse(mask: Bools) -> list[Run]:
    """Of equal parts of the steps, whether all, some or none are kept."""
    runs: list[Run] = []
    ends = [len(mask) * part // _MOST_RUNS for part in range(_MOST_RUNS + 1)]
    for begin, end in pairwise(ends):
        part = mask[begin:end]
        kind: Kind = "kept" if part.all() else "partly" if part.any() else "masked"
        if runs and runs[-1].kind == kind:
            runs[-1] = Run(runs[-1].steps + end - begin, kind)
        elif end > begin:
            runs.append(Run(end - begin, kind))
    return runs


def _shown(rows: int) -> list[int]:
    """The numbers of the rows that are drawn: all, or the first and the last."""
    if rows <= _FIRST_ROWS + _LAST_ROWS:
        return list(range(rows))
    return [*range(_FIRST_ROWS), *range(rows - _LAST_ROWS, rows)]


# -- markup of rows -----------------------------------------------------------------------


def _image(columns: str, words: str, lines: list[str]) -> str:
    label = markup.text(words, _WORDS_MOST)
    body = "".join(lines)
    return f'<div class="rm-rows{columns}" role="img" aria-label="{label}">{body}</div>'


def _number(shown: str) -> str:
    return f'<span class="rm-n">{shown}</span>'


def _bar(row: Row, runs: list[list[Run]], longest: int) -> str:
    """A row as a bar, as wide as its share of the longest row."""
    pieces = [_piece(len(piece), one) for piece, one in zip(row.pieces, runs, strict=True)]
    if row.more_pieces:
        pieces.append(_piece(row.more_steps, [Run(row.more_steps, "rest")]))
    share = 100 * row.steps / longest
    return f'<span class="rm-bar" style="width:{share:.4g}%">{"".join(pieces)}</span>'


def _piece(steps: int, runs: list[Run]) -> str:
    bars = "".join(f'<i class="rm-{run.kind}" style="flex:{run.steps}"></i>' for run in runs)
    return f'<span class="rm-piece" style="flex:{steps}">{bars}</span>'


class _Cells(NamedTuple):
    """The text of each step of each piece of each row, and the characters that all have room in."""

    texts: list[list[list[str]]]
    width: int


def _cells(rows: Sequence[Row]) -> _Cells | None:
    """None where the steps are no numbers, or do not fit beside each other."""
    most = max(row.steps + len(row.pieces) for row in rows)
    if 2 * most > _MOST_CELLS or any(row.more_pieces for row in rows):
        return None
    if any(piece.values.ndim > 1 for row in rows for piece in row.pieces):
        return None
    texts = [[_texts(piece) for piece in row.pieces] for row in rows]
    widest = max((len(one) for row in texts for piece in row for one in piece), default=1)
    return _Cells(texts, widest + 1) if most * (widest + 1) <= _MOST_CELLS else None


def _cell_row(runs: list[list[Run]], texts: list[list[str]], width: int) -> str:
    """A row as cells of one width, with the numbers of its kept steps."""
    pieces = []
    for piece, own in zip(runs, texts, strict=True):
        kinds = [run.kind for run in piece for _ in range(run.steps)]
        cells = (
            f'<span class="rm-s rm-{kind}" style="width:{width}ch">'
            f"{markup.text(one) if kind == 'kept' else ''}</span>"
            for kind, one in zip(kinds, own, strict=True)
        )
        pieces.append(f"<span>{''.join(cells)}</span>")
    return f'<span class="rm-cells">{"".join(pieces)}</span>'


def _texts(piece: Piece) -> list[str]:
    return [_step_text(step) for step in piece.values]


def _step_text(step: Any) -> str:
    return f"{step:.4g}" if step.dtype.kind == "f" else str(step)


def _heads(rows: Sequence[Row]) -> list[str] | None:
    """The first steps of each row; None where they are no numbers, or rows have inner rows."""
    if any(len(row.pieces) != 1 or row.pieces[0].values.ndim > 1 for row in rows):
        return None
    return [_first_steps(row.pieces[0]) for row in rows]


def _first_steps(piece: Piece) -> str:
    shown = ""
    for place, step in enumerate(piece.values[:_HEAD]):
        is_kept = piece.mask is None or piece.mask[place]
        longer = f"{shown} {_step_text(step) if is_kept else '·'}".lstrip()
        if len(longer) > _HEAD - 2:
            break
        shown = longer
    else:
        return shown
    return f"{shown} …".lstrip()


def _length(row: Row, drawing: Drawing) -> str:
    if drawing.is_nested:
        return f"{row.steps:,} in {len(row.pieces) + row.more_pieces:,}"
    if drawing.is_padded:
        return f"{row.steps - row.pieces[0].masked_steps:,} of {row.steps:,}"
    return f"{row.steps:,}"


def _legend(kinds: set[Kind], is_nested: bool) -> str:
    words = [
        f'<span><i class="rm-{kind}"></i>{word}</span>'
        for kind, word in _WORDS.items()
        if kind in kinds and not kinds <= {"kept"}
    ]
    if is_nested:
        words.append("<span>at the end: steps in inner rows</span>")
    return f'<div class="rm-legend">{"".join(words)}</div>' if words else ""


# -- the same in words --------------------------------------------------------------------


def _in_words(drawing: Drawing, shown: Sequence[int], rows: Sequence[Row]) -> str:
    """What the picture says, for those who do not see it."""
    words = [f"{drawing.kind}: {', '.join(drawing.facts)}."]
    for number, row in zip(shown, rows, strict=True):
        words.append(f"Row {number:,}: {_row_in_words(row, drawing)}.")
    if left := drawing.rows - len(rows):
        words.append(f"{count(left, 'more row')}.")
    return " ".join(words)


def _row_in_words(row: Row, drawing: Drawing) -> str:
    if not drawing.is_nested:
        return _piece_in_words(row.pieces[0])
    inner = [_piece_in_words(piece) for piece in row.pieces]
    if row.more_pieces:
        inner.append(f"{row.more_pieces:,} more of {count(row.more_steps, 'step')}")
    return f"{count(len(row.pieces) + row.more_pieces, 'inner row')}: {'; '.join(inner)}"


def _piece_in_words(piece: Piece) -> str:
    masked = piece.masked_steps
    steps = count(len(piece), "step")
    if piece.is_masked:
        return f"{steps}, masked as a whole"
    return f"{steps}, {masked:,} masked" if masked else steps
