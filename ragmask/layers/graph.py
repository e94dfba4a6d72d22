"""Models as graphs: what a layer is called on before there is a batch, and what it will give."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from ragmask.arrays.coerce import number_dtype
from ragmask.arrays.protocol import check_size
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.limits import MOST_NUMBERS
from ragmask.layers.spec import Spec


@dataclass(eq=False)
class Node:
    """One call of a layer: on symbols, and options that may be or hold symbols."""

    layer: Any  # a Layer, which knows of nodes
    inputs: Any
    args: tuple[Any, ...] = ()
    mask: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    outputs: Any = None

    def sources(self) -> list["Symbol"]:
        """The symbols it needs."""
        return list(symbols_in((self.inputs, self.args, self.mask, self.options)))


class Symbol(NDArrayOperatorsMixin):
    """A batch that is not there yet: the output of an `Input` or of a layer called on one.

    >>> import ragmask as rm
    >>> ids = rm.layers.Input((None,), dtype="int32", name="ids")
    >>> rm.layers.Embedding(10, 4, mask_zero=True, name="words")(ids)
    Symbol(shape (rows, time, 4), float32, masked, from 'words')


    Numpy's operators, its functions of each number, and `x[:, 0]` make symbols of symbols.
    """

    # what its operators make; set by the module of those layers, which knows this one
    operate: ClassVar[Callable[..., Any]]
    pick: ClassVar[Callable[..., Any]]

    __eq__ = object.__eq__  # it is looked up among others
    __ne__ = object.__ne__
    __hash__ = object.__hash__

    def __init__(self, spec: Spec, node: Node) -> None:
        self.spec = spec
        self.node = node

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With None for rows and time."""
        return self.spec.input_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.spec.dtype

    @property
    def is_masked(self) -> bool:
        """Whether a layer before it makes a mask that reaches it."""
        return self.spec.is_masked

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return Symbol.operate(ufunc, method, inputs, options)

    def __getitem__(self, key: Any) -> Any:
        return Symbol.pick(self, key)

    def __iter__(self) -> Iterator[Any]:
        raise UnsupportedTypeError("a Symbol stands for one batch: it cannot be unpacked")

    def __bool__(self) -> bool:
        raise UnsupportedTypeError("a Symbol has no values yet: call the model on a batch")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise UnsupportedTypeError(
            "a Symbol has no values yet: numpy works on batches, in a layer's call()"
        )

    def __repr__(self) -> str:
        masked = "masked, " if self.is_masked else ""
        shape = self.shown_shape
        return f"Symbol(shape {shape}, {self.dtype}, {masked}from {self.node.layer.name!r})"

    @property
    def shown_shape(self) -> str:
        names = ["rows", "time"] if self.shape[1:2] == (None,) else ["rows"]
        return f"({', '.join([*names, *map(str, self.shape[len(names) :])])})"


def input_symbol(layer: Any, shape: tuple[int | None, ...], dtype: npt.DTypeLike) -> Symbol:
    """What stands for a batch that the caller will bring."""
    if not isinstance(shape, list | tuple) or any(
        not (size is None and axis == 0) and not (type(size) is int and size >= 0)
        for axis, size in enumerate(shape)
    ):
        raise InvalidInputError(
            f"shape is that of a row: (None, features) or (None,) where it has steps, else "
            f"(features,); got {shape!r}"
        )
    numbers = number_dtype(dtype)
    check_size((1, *(size or 1 for size in shape)), numbers.itemsize)
    spec = Spec((None, *shape), numbers, "ragged" if shape[:1] == (None,) else "dense")
    check_numbers([spec])
    node = Node(layer, None)
    symbol = node.outputs = Symbol(spec, node)
    return symbol


def check_numbers(specs: list[Spec]) -> None:
    """Raise where a call's batches are too large even for one row of one step."""
    if sum(spec.numbers for spec in specs) > MOST_NUMBERS:
        raise InvalidInputError("steps of so many numbers are more than fits any memory")


# -- structures: a batch, or lists, tuples and dicts of them ---------------------------------

BATCHES = Ragged | Padded | np.ndarray
_LEAVES = BATCHES | Spec | Symbol


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure of what a function gives for each of its leaves."""
    if isinstance(structure, list):
        if structure and first_of(_LEAVES, structure) is None:
            return function(structure)  # numbers, which are a batch
        return [map_structure(function, one) for one in structure]
    if isinstance(structure, tuple):
        return tuple(map_structure(function, one) for one in structure)
    if isinstance(structure, dict):
        return {key: map_structure(function, one) for key, one in structure.items()}
    return function(structure)


def first_of(kind: Any, structure: Any) -> Any:
    """The first leaf of a kind, or None."""
    return next(leaves_of(kind, structure), None)


def leaves_of(kind: Any, structure: Any) -> Iterator[Any]:
    if isinstance(structure, kind):
        yield structure
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from leaves_of(kind, one)
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from leaves_of(kind, one)


def symbols_in(structure: Any) -> Iterator[Symbol]:
    return leaves_of(Symbol, structure)


def sorted_nodes(outputs: Any) -> list[Node]:
    """Every node that outputs need, each behind those it needs. Raises where they go in circles."""
    return [node for node, is_left in _walk(outputs) if is_left]


def _walk(outputs: Any) -> Iterator[tuple[Node, bool]]:
    """Each node as it is met on the way from the outputs, and once more as it is left."""
    is_done: dict[int, bool] = {}
    todo = [(symbol.node, False) for symbol in symbols_in(outputs)][::-1]
    while todo:
        node, is_left = todo.pop()
        if is_left:
            is_done[id(node)] = True
            yield node, True
        elif id(node) not in is_done:
            is_done[id(node)] = False
            yield node, False
            todo.append((node, True))
            todo += [(source.node, False) for source in node.sources()][::-1]
        elif not is_done[id(node)]:
            raise InvalidInputError(
                f"layer {node.layer.name!r} is called on what its own output is computed from: "
                "a graph has no cycles"
            )


def layers_by_depth(outputs: Any) -> list[Any]:
    """The layers that outputs need, in Keras's order: the deepest first, as many calls before an
    output as there may be, and of one depth in the order in which they are met from the outputs."""
    met: dict[int, Any] = {}
    nodes = []
    for node, is_left in _walk(outputs):
        met.setdefault(id(node.layer), node.layer)
        if is_left:
            nodes.append(node)
    of_nodes: dict[int, int] = {}
    of_layers: dict[int, int] = {}
    for node in reversed(nodes):
        depth = max(of_nodes.get(id(node), 0), of_layers.get(id(node.layer), 0))
        of_nodes[id(node)] = of_layers[id(node.layer)] = depth
        for source in node.sources():
            of_nodes[id(source.node)] = max(depth + 1, of_nodes.get(id(source.node), 0))
    return [met[one] for one in sorted(met, key=lambda one: -of_layers[one])]


def from_inside(entries: dict[int, Symbol], outputs: Any) -> Any:
    """The outputs as computed from other entries, {id(symbol): what stands for it}.

    The layers on the way are the same, and are not called.
    """
    instead = dict(entries)

    def new(given: Any) -> Any:
        return instead.get(id(given), given) if isinstance(given, Symbol) else given

    for node in sorted_nodes(outputs):
        symbols = [one for one in symbols_in(node.outputs) if id(one) not in instead]
        if symbols and any(id(source) in instead for source in node.sources()):
            parts = node.inputs, node.args, node.mask, node.options
            moved = Node(node.layer, *(map_structure(new, part) for part in parts))
            instead.update({id(one): Symbol(one.spec, moved) for one in symbols})
            moved.outputs = map_structure(new, node.outputs)
    return map_structure(new, outputs)
