"""A model as a table."""

from ragmask.layers.core import Embedding
from ragmask.layers.graph import Node, symbols_in
from ragmask.layers.layer import Layer
from ragmask.layers.network import Network
from ragmask.layers.operations import Operation
from ragmask.layers.recurrent.bidirectional import Bidirectional
from ragmask.layers.recurrent.rnn import RNN


def summary_of(model: Network) -> str:
    head = f"Model {model.name!r}"
    if not model._nodes:
        layers = ", ".join(layer.name for layer in model.layers)
        return f"{head}: {layers or 'no layers'}; built on the first batch it is called on"
    rows = [("layer", "output", "numbers", "mask", "from")]
    counted: set[int] = set()
    for node in model._nodes:
        layer = node.layer
        shapes = ", ".join(shapes_of(node))
        count = "" if id(layer) in counted else f"{layer.count_params():,}"
        counted.add(id(layer))
        sources = ", ".join(dict.fromkeys(one.node.layer.name for one in node.sources()))
        rows.append(
            (f"{layer.name} ({type(layer).__name__})", shapes, count, mask_flow(node), sources)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([head, *lines, f"{model.count_params():,} numbers in all"])


def shapes_of(node: Node) -> list[str]:
    """The shapes of what one call of a layer gives."""
    return [symbol.shown_shape for symbol in symbols_in(node.outputs)]


def mask_flow(node: Node) -> str:
    """What becomes of the mask in one call of a layer."""
    given = node.mask is not None
    had = given or any(symbol.is_masked for symbol in node.sources())
    has = any(symbol.is_masked for symbol in symbols_in(node.outputs))
    words = ["used"] if had and node.layer.uses_mask else []
    if has and not had:
        words.append("made")
    elif has:
        words.append("changed" if _changes(node.layer) else "passed")
    elif had and (not words or any(one.shape[1:2] == (None,) for one in symbols_in(node.outputs))):
        words.append("dropped")
    return ", ".join(words)


def _changes(layer: Layer) -> bool:
    """Whether it may give another mask than the one it gets."""
    if isinstance(layer, RNN):
        return layer.go_backwards
    if isinstance(layer, Bidirectional | Operation):
        return False
    return isinstance(layer, Embedding) or type(layer).compute_mask is not Layer.compute_mask
