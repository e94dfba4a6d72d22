"""Charts of a report as SVG, in the colours of the page around them: a histogram, and lines."""

from collections.abc import Mapping, Sequence

from ragmask import markup
from ragmask.cli.lengths import Bin

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 40, 44  # around the axes
_ACROSS, _DOWN = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_LETTER = 6.2  # pixels of a digit
_APART = 8.0  # pixels between numbers below an axis

# lines differ by their dashes and marks too, for those who do not tell the colours
_STYLES = (
    ("var(--one)", "", "circle"),
    ("var(--two)", "7 3", "square"),
    ("var(--three)", "2 3", "diamond"),
    ("var(--four)", "9 3 2 3", "triangle"),
)


def histogram_chart(bins: Sequence[Bin], marks: Mapping[str, int], label: str) -> str:
    """Rows by length. marks : lengths to point out, by name."""
    most = max(one.rows for one in bins)
    wide = _ACROSS / len(bins)
    parts = _frame(_ticks(most), most, "rows", "steps a row")
    for place, one in enumerate(bins):
        if one.rows:
            height = max(1.0, _DOWN * one.rows / most)
            parts.append(
                f'<rect x="{_LEFT + place * wide + 0.5:.1f}" y="{_TOP + _DOWN - height:.1f}" '
                f'width="{max(wide - 1, 1):.1f}" height="{height:.1f}" fill="var(--one)"/>'
            )
    parts += [_text(x, _TOP + _DOWN + 15, name, "middle") for x, name in _names(bins, wide)]
    for height, (name, length) in enumerate(marks.items()):
        x = _LEFT + wide * _place_of(bins, length)
        y = 11 + 11 * height
        parts.append(
            f'<path d="M{x:.1f} {y + 2}V{_TOP + _DOWN}" stroke="currentColor" '
            'stroke-dasharray="2 2" fill="none"/>'
        )
        is_right = x > _WIDTH - 90
        side, anchor = (x - 3, "end") if is_right else (x + 3, "start")
        parts.append(_text(side, y + 4, f"{name}: {length:,}", anchor))
    return _svg(parts, label)


def _names(bins: Sequence[Bin], wide: float) -> list[tuple[float, str]]:
    """The lengths of bars, and where they are written: of the last, and of others with room."""
    spans = []
    for place, one in enumerate(bins):
        name = f"{one.first:,}" if one.first == one.last else f"{one.first:,}–{one.last:,}"
        half = len(name) * _LETTER / 2
        middle = min(_LEFT + (place + 0.5) * wide, _WIDTH - half)
        spans.append((middle - half, middle, middle + half, name))
    *others, last = spans
    end, named = -_APART, []
    for left, middle, right, name in others:
        if end + _APART <= left and right + _APART <= last[0]:
            named.append((middle, name))
            end = right
    return [*named, (last[1], last[3])]


def _place_of(bins: Sequence[Bin], length: int) -> float:
    """Where a length lies among the bins, counted in bins."""
    for place, one in enumerate(bins):
        if length <= one.last:
            return place + (length - one.first + 0.5) / (one.last - one.first + 1)
    return float(len(bins))


def lines_chart(sizes: Sequence[int], lines: Mapping[str, Sequence[float]], label: str) -> str:
    """Shares from 0 to 1, by size; sizes stand at equal distances."""
    most = max(0.05, *(max(line) for line in lines.values()))
    ticks = [tick / 100 for tick in _ticks(round(100 * most + 0.5))]
    top = max(most, ticks[-1])
    parts = _frame([100 * tick for tick in ticks], 100 * top, "padding, %", "rows of a batch")
    step = _ACROSS / max(len(sizes), 1)
    xs = [_LEFT + (place + 0.5) * step for place in range(len(sizes))]
    parts += [
        _text(x, _TOP + _DOWN + 15, f"{size:,}", "middle")
        for x, size in zip(xs, sizes, strict=True)
    ]
    for (colour, dashes, mark), line in zip(_STYLES, lines.values(), strict=False):
        ys = [_TOP + _DOWN * (1 - share / top) for share in line]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        parts += [_mark(x, y, mark, colour) for x, y in zip(xs, ys, strict=True)]
    return _svg(parts, label)


def legend(names: Sequence[str]) -> str:
    """What each line of a chart is, in words; names are markup."""
    items = []
    for (colour, dashes, mark), name in zip(_STYLES, names, strict=False):
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        items.append(
            '<li><svg width="34" height="12" aria-hidden="true">'
            f'<path d="M0 6h34" stroke="{colour}" stroke-width="2"{dash}/>'
            f"{_mark(17, 6, mark, colour)}</svg> {name}</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _mark(x: float, y: float, mark: str, colour: str) -> str:
    paths = {
        "circle": f"M{x - 3.5:.1f} {y:.1f}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
        "square": f"M{x - 3:.1f} {y - 3:.1f}h6v6h-6z",
        "diamond": f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
        "triangle": f"M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z",
    }
    return f'<path d="{paths[mark]}" fill="{colour}"/>'


def _frame(ticks: Sequence[float], top: float, up: str, along: str) -> list[str]:
    parts = []
    for tick in ticks:
        y = _TOP + _DOWN * (1 - tick / top)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}h{_ACROSS}" stroke="currentColor" stroke-opacity=".22"/>'
        )
        parts.append(_text(_LEFT - 5, y + 4, _tick(tick), "end"))
    parts.append(_text(2, _TOP - 12, up, "start"))
    parts.append(_text(_LEFT + _ACROSS / 2, _HEIGHT - 8, along, "middle"))
    return parts


def _tick(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / min(size, 1e3 if unit == 'k' else size):,.3g}{unit}"
    return f"{number:,g}"


def _ticks(most: float) -> list[float]:
    """0 and up to five round numbers as far as `most`."""
    step = 1.0
    while most / step > 5:
        step *= 2.5 if str(step).lstrip("0.").startswith("2") else 2
    return [step * place for place in range(int(most / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{markup.text(text)}</text>'


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{markup.text(label, 2_000)}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="11" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
