"""Models as graphs: what a layer is called on before there is a batch, and what it will give."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.coerce import number_dtype
from ragmask.arrays.protocol import check_size
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import shape_of
from ragmask.layers.structure import Leaf, leaves_of, map_structure

_MANY_STEPS = 840  # which all numbers up to 8 divide


@dataclass(eq=False)
class Node:
    """One call of a layer: on symbols, and options that may be or hold symbols."""

    layer: Any
    inputs: Any
    args: tuple[Any, ...] = ()
    mask: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    outputs: Any = None

    def sources(self) -> list["Symbol"]:
        """The symbols it needs."""
        return list(symbols_in((self.inputs, self.args, self.mask, self.options)))


class Symbol(Leaf):
    """A batch that is not there yet: the output of an `Input` or of a layer called on one.

    >>> import ragmask as rm
    >>> ids = rm.layers.Input((None,), dtype="int32", name="ids")
    >>> rm.layers.Embedding(10, 4, mask_zero=True, name="words")(ids)
    Symbol(shape (rows, time, 4), float32, masked, from 'words')
    """

    __array_ufunc__ = None

    def __init__(self, example: Any, node: Node) -> None:
        self.example = example  # one made-up row, on which layers are tried
        self.node = node

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With None for rows and time."""
        shape: tuple[int | None, ...] = shape_of(self.example)
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.example.dtype
        return dtype

    @property
    def is_masked(self) -> bool:
        """Whether a layer before it makes a mask that reaches it."""
        return isinstance(self.example, Ragged | Padded) and self.example.mask is not None

    def __iter__(self) -> Iterator[Any]:
        raise UnsupportedTypeError("a Symbol stands for one batch: it cannot be unpacked")

    def __bool__(self) -> bool:
        raise UnsupportedTypeError("a Symbol has no values yet: call the model on a batch")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise UnsupportedTypeError(
            "a Symbol has no values yet: numpy works on batches, in a layer's call()"
        )

    def __repr__(self) -> str:
        names = ["rows", "time"] if self.shape[1:2] == (None,) else ["rows"]
        shape = ", ".join([*names, *map(str, self.shape[len(names) :])])
        masked = "masked, " if self.is_masked else ""
        return f"Symbol(shape ({shape}), {self.dtype}, {masked}from {self.node.layer.name!r})"


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
    check_size((1, *(size or 1 for size in shape)), np.dtype(number_dtype(dtype)).itemsize)
    node = Node(layer, None)
    if shape[:1] == (None,):
        features: Any = shape[1:]
        values = np.zeros((1, *features), number_dtype(dtype))
        example: Any = Ragged.from_offsets(values, [0, 1])
    else:
        sizes: Any = shape
        example = np.zeros((1, *sizes), number_dtype(dtype))
    symbol = node.outputs = Symbol(example, node)
    return symbol


def connect(layer: Any, inputs: Any, args: Any, mask: Any, options: Any) -> Any:
    """Note that a layer is called on symbols; find out on a made-up row what it gives."""
    node = Node(layer, inputs, args, mask, options)
    outputs = _try(node)
    if not isinstance(outputs, Ragged | Padded | np.ndarray | list | tuple | dict):
        raise UnsupportedTypeError(
            f"layer {layer.name!r} gave a {type(outputs).__name__}; "
            "a layer gives a Ragged, a Padded, an array, or a list of them"
        )
    node.outputs = map_structure(lambda one: Symbol(one, node), outputs)
    return node.outputs


def _try(node: Node) -> Any:
    """What the layer gives for made-up rows."""
    given = node.inputs, node.args, node.mask, node.options

    def tried(steps: int) -> Any:
        inputs, args, mask, options = map_structure(lambda one: _example(one, steps), given)
        return node.layer(inputs, *args, mask=mask, **options)

    try:
        return tried(node.layer._probe_steps)
    except Exception:
        with suppress(Exception):  # perhaps it cuts time, and one step is too few
            return tried(_MANY_STEPS)
        raise


def _example(given: Any, steps: int) -> Any:
    """What stands for a symbol when a layer is tried: its row, of so many steps."""
    if not isinstance(given, Symbol):
        return given
    example = given.example
    if isinstance(example, Ragged) and example.max_length != steps:
        values = np.zeros((steps, *example.item_shape), example.dtype)
        mask = None if example.mask is None else np.ones(steps, np.bool_)
        return Ragged.from_offsets(values, [0, steps], mask)
    return example


def symbols_in(structure: Any) -> Iterator[Symbol]:
    return leaves_of(Symbol, structure)


def sorted_nodes(outputs: Any) -> list[Node]:
    """Every node that outputs need, each behind those it needs. Raises where they go in circles."""
    order: list[Node] = []
    state: dict[int, bool] = {}  # a node's number: whether it is done
    todo = [(symbol.node, False) for symbol in symbols_in(outputs)][::-1]
    while todo:
        node, is_left = todo.pop()
        if is_left:
            state[id(node)] = True
            order.append(node)
        elif id(node) not in state:
            state[id(node)] = False
            todo.append((node, True))
            todo += [(source.node, False) for source in node.sources()][::-1]
        elif not state[id(node)]:
            raise InvalidInputError(
                f"layer {node.layer.name!r} is called on what its own output is computed from: "
                "a graph has no cycles"
            )
    return order
