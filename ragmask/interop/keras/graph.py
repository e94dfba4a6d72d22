"""Keras's models as the nodes of a graph."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ragmask import layers
from ragmask.errors import InvalidInputError, UnsupportedTypeError


def graph_of(model: Any) -> Any:
    """The functional model that a model is or holds."""
    definer = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
    if not definer.__module__.startswith("keras."):
        raise unsupported(model, "has a call() of its own, which cannot be read")
    graph = getattr(model, "_functional", model)
    if graph is None:
        raise InvalidInputError(
            f"model {model.name!r} is not built, or its layers give lists to each other: give it a "
            "keras.Input first, or call it on a batch"
        )
    if not isinstance(graph, keras.Function):
        raise unsupported(model, "is neither Sequential nor functional")
    return graph


def nodes_of(graph: Any) -> Iterator[Any]:
    """The calls of layers and operations, each behind those it needs, inputs left out."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def input_of(tensor: Any, graph: Any) -> Any:
    """An Input for one of Keras's: of steps, unless its rows are single vectors."""
    layer = tensor._keras_history.operation
    shape, dtype = tuple(tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype)
    if getattr(tensor, "sparse", False):
        raise unsupported(layer, "has sparse=True")
    try:
        numbers = np.dtype(dtype)
    except TypeError:
        numbers = np.dtype(object)
    if numbers.kind not in "biuf":
        raise unsupported(layer, f"has dtype={dtype!r}")
    are_ids = len(shape) == 1 and _reach_embedding(tensor, graph)
    if len(shape) > 1 or are_ids:
        shape = (None, *shape[1:])
    if are_ids and numbers.kind not in "iu":  # Keras rounds ids down
        numbers = np.dtype(np.int32)
    return layers.Input(shape, numbers, name=layer.name)


def _reach_embedding(tensor: Any, graph: Any) -> bool:
    """Whether an Embedding looks up what a tensor holds."""
    for node in nodes_of(graph):
        if not any(one is tensor for one in node.input_tensors):
            continue
        if isinstance(node.operation, keras.layers.Embedding):
            return True
        if isinstance(node.operation, keras.Model):
            inner = graph_of(node.operation)
            at = [one is tensor for one in node.input_tensors].index(True)
            if _reach_embedding(inner.inputs[at], inner):
                return True
        elif any(_reach_embedding(one, graph) for one in node.outputs):
            return True
    return False


def is_its_own(mask: Any, inputs: Any) -> bool:
    """Whether a mask is what Keras itself found with the inputs, and passed on."""
    if mask is None:
        return True
    given = keras.tree.flatten(mask)
    own = [getattr(one, "_keras_mask", None) for one in keras.tree.flatten(inputs)]
    return len(given) == len(own) and all(map(_are_same, given, own))


def _are_same(one: Any, other: Any) -> bool:
    """Whether two tensors are computed alike: a model that was read from a file computes a mask
    as its layers give it, and once more as it was saved."""
    if one is other or not (isinstance(one, keras.KerasTensor) and type(one) is type(other)):
        return one is other or (type(one) is type(other) and np.array_equal(one, other))
    (first, at, nth), (second, other_at, other_nth) = one._keras_history, other._keras_history
    if nth != other_nth or type(first) is not type(second):
        return False
    if first is not second and (isinstance(first, keras.Layer) or _set(first) != _set(second)):
        return False
    nodes = first._inbound_nodes[at], second._inbound_nodes[other_at]
    args, other_args = (
        keras.tree.flatten((node.arguments.args, node.arguments.kwargs)) for node in nodes
    )
    return len(args) == len(other_args) and all(map(_are_same, args, other_args))


def _set(operation: Any) -> dict[str, Any]:
    """What an operation was made with."""
    own = vars(operation).items()
    return {key: value for key, value in own if key != "name" and not key.startswith("_")}


def single(structure: Any) -> Any:
    """A list of one batch is that batch, as Keras takes it."""
    if isinstance(structure, list | tuple) and len(structure) == 1:
        return structure[0]
    return list(structure) if isinstance(structure, tuple) else structure


def unsupported(layer: Any, why: str) -> UnsupportedTypeError:
    kind = "layer" if isinstance(layer, keras.Layer) else "operation"
    return UnsupportedTypeError(f"{kind} {layer.name!r} ({type(layer).__name__}) {why}")
