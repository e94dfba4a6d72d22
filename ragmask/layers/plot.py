"""Models as pictures: layers as boxes, what goes from one to the next as lines that tell masks."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple
from unicodedata import east_asian_width

from ragmask import markup
from ragmask.batches.show import count
from ragmask.errors import InvalidInputError
from ragmask.files import shown, whole_file
from ragmask.layers.graph import Node, Symbol, symbols_in
from ragmask.layers.inputs import InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.network import Network
from ragmask.layers.summary import mask_flow, shapes_of

_LETTER, _LINE = 7.3, 17  # pixels of a letter, and from line to line
_MOST_LETTERS = 30  # of a line
_MOST_SHAPES = 2  # of a layer's outputs
_MOST_WORDS = 8_000
_MOST_IN_HTML = 60  # layers of a model that shows itself unasked
_GAP, _BETWEEN = 26, 36  # pixels between boxes of a rank, and between ranks
_NARROW = 340  # pixels that every page has room for
_SWEEPS = 12

Flow = Literal["masked", "bare", "mask", "unknown"]

_LINES: dict[Flow, tuple[str, str]] = {
    "masked": ('stroke-width="3"', "with a mask"),
    "bare": ('stroke-width="1.2" stroke-dasharray="6 4"', "without a mask"),
    "mask": ('stroke-width="2.4" stroke-dasharray="1 4" stroke-linecap="round"', "itself a mask"),
    "unknown": ('stroke-width="1.2"', "masks are known once the model is built"),
}
_COLOURS = {"made": "62,146,92", "changed": "176,128,24", "dropped": "208,88,72"}
_BLUE = "72,128,208"
# a file has no page around it whose colours it could take
_ALONE = (
    "<style>.ragmask-plot{color:#1f2328}.ragmask-plot .page{fill:#fff}"
    "@media (prefers-color-scheme:dark){.ragmask-plot{color:#e6edf3}"
    ".ragmask-plot .page{fill:#0d1117}}</style>"
)


class Plot:
    """A model's layers, and the masks that flow through them, as a picture.

    >>> import ragmask as rm
    >>> model = rm.layers.Sequential([rm.layers.Dense(2, name="last")], name="small")
    >>> model.plot()
    Plot('small', 1 layer)

    Notebooks show it. `str` is its SVG, which `save` writes to a file.
    """

    def __init__(self, told: str, label: str, body: str, width: float, height: float) -> None:
        self._told, self._label, self._body = told, label, body
        self._width, self._height = round(width), round(height)

    def __str__(self) -> str:
        page = f'{_ALONE}<rect class="page" width="{self._width}" height="{self._height}"/>'
        return self._svg(f' width="{self._width}" height="{self._height}"', page)

    def __repr__(self) -> str:
        return f"Plot({self._told})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to an SVG file, which appears whole or not at all.

        Raises InvalidInputError for another suffix than .svg; StreamError, naming the file, where
        the disk fails, and for a name that may not be given.
        """
        if Path(path).suffix.lower() != ".svg":
            raise InvalidInputError(
                f"a plot is saved as SVG, to a name like model.svg; got {shown(path)}"
            )
        with whole_file(path) as file:
            file.write(str(self).encode())

    def _repr_svg_(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return markup.figure(self._fragment())

    def _fragment(self) -> str:
        """The picture in a page's colours; where it is wide, to be scrolled."""
        least = round(0.75 * self._width)
        size = f"width:{self._width}px;min-width:{least}px;max-width:100%;height:auto"
        svg = self._svg(f' style="{size}"', "")
        if least <= _NARROW:
            return svg
        label = 'role="group" aria-label="The picture of the model, to be scrolled"'
        return f'<div style="overflow-x:auto" tabindex="0" {label}>{svg}</div>'

    def _svg(self, size: str, before: str) -> str:
        label = markup.text(self._label, _MOST_WORDS)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="ragmask-plot" role="img" '
            f'aria-label="{label}" viewBox="0 0 {self._width} {self._height}"{size} '
            "font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" "
            f'font-size="12" fill="currentColor">{before}{self._body}</svg>'
        )


def plot_of(model: Network) -> Plot:
    if not model._nodes and not model._chain:
        why = "no layers" if model._chain is not None else "a call of its own"
        raise InvalidInputError(f"model {model.name!r} has {why}: there is no graph to draw")
    boxes, edges = _of_graph(model) if model._nodes else _of_chain(model)
    width, height = _lay_out(boxes, edges)
    flows = [flow for flow in _LINES if any(edge.flow == flow for edge in edges)]
    width = max(
        width, 2 * _GAP + 60 + _LETTER * max((len(_LINES[one][1]) for one in flows), default=0)
    )
    parts = [*(_line(edge, boxes) for edge in edges), *(_box(box) for box in boxes if box.lines)]
    parts += _legend(flows, height)
    label = " ".join(
        [
            f"Model {markup.short(model.name)!r} as a graph.",
            *(box.words for box in boxes if box.words),
        ]
    )
    told = f"{model.name!r}, {count(len(model.layers), 'layer')}"
    return Plot(told, label, "".join(parts), width, height + _LINE * len(flows) + _GAP / 2)


def html_of(model: Network) -> str:
    """What a notebook shows: the line of `repr`, and the picture where there is one."""
    layers, numbers = model.layers, model.count_params()
    facts = [repr(markup.short(model.name)), count(len(layers), "layer"), count(numbers, "number")]
    head = markup.head(type(model).__name__, facts)
    size = len(model._nodes) or len(layers)
    if not size:
        return markup.figure(head)
    if not model._is_graph:
        return markup.figure(head, "<p>It has a call of its own, and no graph to draw.</p>")
    if size > _MOST_IN_HTML:
        return markup.figure(head, "<p>It has too many layers for a page: plot() draws them.</p>")
    return markup.figure(head, plot_of(model)._fragment())


# -- what is drawn ------------------------------------------------------------------------


@dataclass(eq=False)
class _Box:
    """A layer's call, an output, or, without lines, a place that a long line goes through."""

    rank: int
    lines: list[str] = field(default_factory=list)
    mask: str = ""
    words: str = ""
    shape: Literal["layer", "model", "end"] = "layer"
    x: float = 0.0  # of its middle
    y: float = 0.0  # of its top

    @property
    def width(self) -> float:
        widest = max(map(_letters, [*self.lines, self.mask]))
        return widest * _LETTER + 24 if self.lines else 12.0

    @property
    def height(self) -> float:
        if not self.lines:
            return 0.0
        return _LINE * (len(self.lines) + bool(self.mask)) + 12 + 3 * bool(self.mask)


class _Edge(NamedTuple):
    """What goes from one box to another, by way of places between."""

    boxes: list[_Box]
    flow: Flow


def _of_graph(model: Network) -> tuple[list[_Box], list[_Edge]]:
    boxes = {id(node): _node_box(node) for node in model._nodes}
    edges = []
    for node in model._nodes:
        box = boxes[id(node)]
        given = {id(one) for one in symbols_in(node.mask)}
        flows: dict[tuple[int, Flow], None] = {}
        for symbol in node.sources():
            flow: Flow = "mask" if id(symbol) in given else _flow(symbol)
            flows[id(symbol.node), flow] = None
        edges += [_Edge([boxes[source], box], flow) for source, flow in flows]
        box.rank = 1 + max((boxes[source].rank for source, _ in flows), default=-1)
    for node in reversed(model._nodes):  # an input stands where it is needed
        box = boxes[id(node)]
        if not node.sources():
            needed = [edge.boxes[1].rank for edge in edges if edge.boxes[0] is box]
            box.rank = min(needed, default=1) - 1
    drawn = list(boxes.values())
    for name, symbol in zip(model.output_names, model.outputs, strict=True):
        source = boxes[id(symbol.node)]
        masked = "masked" if symbol.is_masked else "not masked"
        words = f"Output of {source.lines[0]}, {masked}."
        lines = ["output", markup.short(str(name), _MOST_LETTERS)]
        drawn.append(_Box(source.rank + 1, lines, words=words, shape="end"))
        edges.append(_Edge([source, drawn[-1]], _flow(symbol)))
    return drawn, edges


def _of_chain(model: Network) -> tuple[list[_Box], list[_Edge]]:
    """Layers of which it is not known yet what they are called on."""
    boxes = [_layer_box(rank, layer) for rank, layer in enumerate(model._chain or [])]
    return boxes, [_Edge(list(pair), "unknown") for pair in pairwise(boxes)]


def _flow(symbol: Symbol) -> Flow:
    return "masked" if symbol.is_masked else "bare"


def _node_box(node: Node) -> _Box:
    box = _layer_box(0, node.layer)
    shapes = shapes_of(node)
    more = len(shapes) - _MOST_SHAPES
    box.lines += [markup.short(one, _MOST_LETTERS) for one in shapes[:_MOST_SHAPES]]
    box.lines += [f"and {more:,} more"] if more > 0 else []
    flow = mask_flow(node)
    box.mask = f"mask {flow}" if flow else ""
    sources = dict.fromkeys(markup.short(one.node.layer.name) for one in node.sources())
    parts = [box.words, f"from {', '.join(sources)}" if sources else "", *box.lines[2:], box.mask]
    box.words = f"{', '.join(part for part in parts if part)}."
    return box


def _layer_box(rank: int, layer: Layer) -> _Box:
    name = markup.short(layer.name, _MOST_LETTERS)
    kind = type(layer).__name__
    inner = getattr(layer, "forward_layer", None) or getattr(layer, "layer", None)
    if isinstance(layer, InputLayer):
        kind = f"Input of {layer.output.dtype}"
    elif isinstance(inner, Layer):
        kind += f"({type(inner).__name__})"
    lines = [name, markup.short(kind, _MOST_LETTERS)]
    shape: Literal["layer", "model", "end"] = "end" if isinstance(layer, InputLayer) else "layer"
    if isinstance(layer, Network):
        shape = "model"
        lines[1] += f" of {count(len(layer.layers), 'layer')}"
    return _Box(rank, lines, words=f"{name}: {lines[1]}", shape=shape)


def _letters(text: str) -> int:
    """The places of a text in letters of one width, of which some take two."""
    return len(text) + sum(east_asian_width(one) in "WF" for one in text)


# -- where it is drawn --------------------------------------------------------------------


def _lay_out(boxes: list[_Box], edges: list[_Edge]) -> tuple[float, float]:
    """Give boxes their places, and lines places between; the size of it all."""
    between = [_lead(edge) for edge in edges]
    ranks: dict[int, list[_Box]] = {}
    for box in [*boxes, *(place for places in between for place in places)]:
        ranks.setdefault(box.rank, []).append(box)
    levels = [ranks[rank] for rank in sorted(ranks)]
    above: dict[int, list[_Box]] = {}
    below: dict[int, list[_Box]] = {}
    for edge in edges:
        for upper, lower in pairwise(edge.boxes):
            above.setdefault(id(lower), []).append(upper)
            below.setdefault(id(upper), []).append(lower)
    for level in levels:
        _spread(level, [0.0] * len(level))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        beside = above if down else below
        for level in levels if down else reversed(levels):
            wanted = {id(box): _middle(beside.get(id(box)), box.x) for box in level}
            level.sort(key=lambda box: wanted[id(box)])
            _spread(level, [wanted[id(box)] for box in level])
    left = min(box.x - box.width / 2 for level in levels for box in level)
    y = _GAP / 2
    for level in levels:
        height = max(box.height for box in level)
        for box in level:
            box.x += _GAP / 2 - left
            box.y = y + (height - box.height) / 2
        y += height + _BETWEEN
    right = max(box.x + box.width / 2 for level in levels for box in level)
    return right + _GAP / 2, y - _BETWEEN + _GAP / 2


def _lead(edge: _Edge) -> list[_Box]:
    """Lead a line through places of its own in the ranks that it passes."""
    first, last = edge.boxes
    places = [_Box(rank) for rank in range(first.rank + 1, last.rank)]
    edge.boxes[:] = [first, *places, last]
    return places


def _middle(beside: Sequence[_Box] | None, else_at: float) -> float:
    return sum(box.x for box in beside) / len(beside) if beside else else_at


def _spread(level: Sequence[_Box], wanted: Sequence[float]) -> None:
    """Put boxes, in their order, as near to where they are wanted as their widths allow."""
    apart = [(one.width + two.width) / 2 + _GAP for one, two in pairwise(level)]
    left, right = list(wanted), list(wanted)
    for place, gap in enumerate(apart):
        left[place + 1] = max(left[place + 1], left[place] + gap)
    for place, gap in reversed(list(enumerate(apart))):
        right[place] = min(right[place], right[place + 1] - gap)
    for box, one, two in zip(level, left, right, strict=True):
        box.x = (one + two) / 2


# -- how it is drawn ----------------------------------------------------------------------


def _line(edge: _Edge, boxes: Sequence[_Box]) -> str:
    """A line from the lower edge of one box to the upper edge of another, and its arrow's head."""
    first, *between, last = edge.boxes
    x, y = first.x, first.y + first.height
    path = f"M{x:.1f} {y:.1f}"
    for box in [*between, last]:
        end = box.y - (7 if box is last else 0)
        half = (y + end) / 2
        path += f"C{x:.1f} {half:.1f} {box.x:.1f} {half:.1f} {box.x:.1f} {end:.1f}"
        x, y = box.x, end
    style, _ = _LINES[edge.flow]
    head = f"M{x - 5:.1f} {y:.1f}h10l-5 7z"
    return f'<path d="{path}" fill="none" stroke="currentColor" {style}/><path d="{head}"/>'


def _box(box: _Box) -> str:
    left, width, height = box.x - box.width / 2, box.width, box.height
    round_ = 14 if box.shape == "end" else 6
    parts = [
        f'<rect x="{left:.1f}" y="{box.y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{round_}" fill="rgba({_BLUE},.13)" stroke="rgba({_BLUE},1)" stroke-width="1.2"/>'
    ]
    if box.shape == "model":
        parts.append(
            f'<rect x="{left + 3:.1f}" y="{box.y + 3:.1f}" width="{width - 6:.1f}" '
            f'height="{height - 6:.1f}" rx="4" fill="none" stroke="rgba({_BLUE},1)"/>'
        )
    y = box.y + 18
    for place, line in enumerate(box.lines):
        bold = ' font-weight="700"' if place == 0 else ""
        parts.append(_text(box.x, y, line, bold))
        y += _LINE
    if box.mask:
        colour = next((rgb for word, rgb in _COLOURS.items() if word in box.mask), _BLUE)
        parts.append(
            f'<rect x="{left + 5:.1f}" y="{y - 12:.1f}" width="{width - 10:.1f}" height="{_LINE}" '
            f'rx="4" fill="rgba({colour},.28)"/>'
        )
        parts.append(_text(box.x, y + 1, box.mask))
    return "".join(parts)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle"{more}>{markup.text(text)}</text>'


def _legend(flows: Sequence[Flow], y: float) -> Iterator[str]:
    for place, flow in enumerate(flows):
        style, words = _LINES[flow]
        at = y + 8 + place * _LINE
        yield f'<path d="M{_GAP / 2} {at - 4:.1f}h44" fill="none" stroke="currentColor" {style}/>'
        yield f'<text x="{_GAP / 2 + 52}" y="{at:.1f}">{words}</text>'
