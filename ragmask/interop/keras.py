"""Keras 3 models, Sequential and functional, as ragmask's own, with the same names and weights.

>>> import keras
>>> import ragmask as rm
>>> from ragmask.interop.keras import from_keras
>>> layers = [keras.layers.Embedding(5000, 16, mask_zero=True), keras.layers.LSTM(32)]
>>> model = from_keras(keras.Sequential([keras.Input((None,), dtype="int32"), *layers]))
>>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8]])).shape
(2, 32)

Keras may run on any of its backends. Needs `keras`, version 3.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ragmask import layers
from ragmask.errors import InvalidInputError, MissingExtraError, UnsupportedTypeError
from ragmask.layers.activations import ACTIVATIONS
from ragmask.layers.graph import Symbol

try:
    import keras
except ImportError as error:
    raise MissingExtraError(
        f"ragmask.interop.keras needs keras and a backend for it ({error}): pip install keras, and "
        "let KERAS_BACKEND name the backend that is installed"
    ) from error

__all__ = ["from_keras"]


def from_keras(model: Any) -> layers.Model:
    """The same model in ragmask's layers; a Sequential of a Sequential.

    >>> import keras
    >>> from ragmask.interop.keras import from_keras
    >>> frames = keras.Input((None, 12), name="frames")
    >>> both = keras.layers.Bidirectional(keras.layers.LSTM(8), name="both")
    >>> from_keras(keras.Model(frames, both(frames), name="speaker"))
    Model('speaker', 1 layer, 1,344 numbers)

    model : a keras.Sequential that is built, or a functional keras.Model, of Activation, Add,
        Bidirectional, Concatenate, Dense, Dropout, Embedding, GlobalAveragePooling1D,
        GlobalMaxPooling1D, LSTM, Masking, ReLU, Softmax, and models of these. Layers that are used
        several times stay one layer.

    A Keras input (rows, time, features) takes a Ragged of steps of so many features, one of ids a
    Ragged of integers, whatever width it names. Weights are copied, and computed in float32.

    The results are Keras's on the same rows, padded and masked, but for rounding and for what Keras
    does with masks in three places. Its Masking forgets the mask that it is given; its LSTM that
    goes backwards does not turn the mask round with the steps; and with an `initial_state` its LSTM
    sees no mask at all, and reads the padding. Here masks are kept, turned round, and seen. The
    mean of no steps is 0 here, and NaN there.

    Raises UnsupportedTypeError, naming the layer and the argument, for all other layers and for
    arguments that ragmask's do not have. Arguments for training alone are left out.
    """
    if not isinstance(model, keras.Model):
        raise UnsupportedTypeError(f"from_keras takes a keras.Model; got {type(model).__name__}")
    converter = _Converter()
    converted = converter.model(model)
    converter.copy_weights()
    return converted


class _Converter:
    """Makes a layer of each Keras layer, once, however often it is called."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[Any, layers.Layer]] = {}

    def model(self, model: Any) -> layers.Model:
        graph = _graph_of(model)
        symbols: dict[int, Any] = {id(entry): _entry(entry, graph) for entry in graph.inputs}

        def symbol_of(tensor: Any) -> Any:
            if id(tensor) not in symbols:
                maker = tensor._keras_history.operation
                raise _unsupported(maker, "is not a layer that ragmask has")
            return symbols[id(tensor)]

        for node in _nodes(graph):
            if isinstance(node.operation, keras.Layer):  # the others compute masks, or are refused
                outputs = self._call(node, symbol_of)
                for tensor, symbol in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
                    symbols[id(tensor)] = symbol
        inputs = _single(keras.tree.map_structure(symbol_of, graph._inputs_struct))
        if isinstance(model, keras.Sequential):
            parts = [self.made[id(layer)][1] for layer in model.layers]
            return layers.Sequential([inputs, *parts], name=model.name)
        outputs = _single(keras.tree.map_structure(symbol_of, graph._outputs_struct))
        return layers.Model(inputs, outputs, name=model.name)

    def _call(self, node: Any, symbol_of: Callable[[Any], Any]) -> Any:
        """The outputs of a layer, called on symbols as Keras's was on its own."""
        layer = node.operation
        given = inspect.signature(layer.call).bind(*node.arguments.args, **node.arguments.kwargs)
        first, *others = given.arguments.items()
        options = dict(others)
        if not _is_its_own(options.pop("mask", None), first[1]):
            raise _unsupported(layer, "is given a mask by hand: mask=")
        if options.pop("training", None):
            raise _unsupported(layer, "is called with training=True")
        options = {name: value for name, value in options.items() if value is not None}
        if set(options) - {"initial_state"}:
            raise _unsupported(layer, f"is called with {', '.join(options)}")
        options = keras.tree.map_structure(symbol_of, options)
        inputs = keras.tree.map_structure(symbol_of, first[1])
        pool = _largest_in(layer)
        if pool is not None and any(one.is_masked for one in keras.tree.flatten(inputs)):
            raise _unsupported(pool, "takes masked steps too, and TemporalPool does not")
        if isinstance(layer, keras.Model):
            inputs = _single(inputs)
        return self._layer(layer, inputs)(inputs, **options)

    def _layer(self, layer: Any, inputs: Any) -> layers.Layer:
        """The layer that was made of Keras's; a new one when it is met first."""
        if id(layer) not in self.made:
            if isinstance(layer, keras.Model):
                self.made[id(layer)] = layer, self.model(layer)
            elif type(layer) not in _CONVERTERS:
                raise _unsupported(layer, f"is not one of {', '.join(sorted(_names()))}")
            else:
                _check_numbers(layer)
                self.made[id(layer)] = layer, _CONVERTERS[type(layer)](layer, inputs)
        return self.made[id(layer)][1]

    def copy_weights(self) -> None:
        for layer, made in self.made.values():
            if not isinstance(layer, keras.Model):
                values = [weight.value for weight in layer.weights]
                made.set_weights([keras.ops.convert_to_numpy(value) for value in values])


# -- Keras's graphs -----------------------------------------------------------------------


def _graph_of(model: Any) -> Any:
    """The functional model that a model is or holds."""
    definer = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
    if not definer.__module__.startswith("keras."):
        raise _unsupported(model, "has a call() of its own, which cannot be read")
    graph = getattr(model, "_functional", model)
    if graph is None:
        raise InvalidInputError(
            f"model {model.name!r} is not built, or its layers give lists to each other: give it a "
            "keras.Input first, or call it on a batch"
        )
    if not isinstance(graph, keras.Function):
        raise _unsupported(model, "is neither Sequential nor functional")
    return graph


def _nodes(graph: Any) -> Iterator[Any]:
    """The calls of layers and operations, each behind those it needs, inputs left out."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def _entry(tensor: Any, graph: Any) -> Any:
    """An Input for one of Keras's: of steps, unless its rows are single vectors."""
    layer = tensor._keras_history.operation
    shape, dtype = tuple(tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype)
    if getattr(tensor, "sparse", False):
        raise _unsupported(layer, "has sparse=True")
    try:
        numbers = np.dtype(dtype)
    except TypeError:
        numbers = np.dtype(object)
    if numbers.kind not in "biuf":
        raise _unsupported(layer, f"has dtype={dtype!r}")
    are_ids = len(shape) == 1 and _reach_embedding(tensor, graph)
    if len(shape) > 1 or are_ids:
        shape = (None, *shape[1:])
    if are_ids and numbers.kind not in "iu":  # Keras rounds ids down
        numbers = np.dtype(np.int32)
    return layers.Input(shape, numbers, name=layer.name)


def _reach_embedding(tensor: Any, graph: Any) -> bool:
    """Whether an Embedding looks up what a tensor holds."""
    for node in _nodes(graph):
        if not any(one is tensor for one in node.input_tensors):
            continue
        if isinstance(node.operation, keras.layers.Embedding):
            return True
        if isinstance(node.operation, keras.Model):
            inner = _graph_of(node.operation)
            at = [one is tensor for one in node.input_tensors].index(True)
            if _reach_embedding(inner.inputs[at], inner):
                return True
        elif any(_reach_embedding(one, graph) for one in node.outputs):
            return True
    return False


def _is_its_own(mask: Any, inputs: Any) -> bool:
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


def _single(structure: Any) -> Any:
    """A list of one batch is that batch, as Keras takes it."""
    if isinstance(structure, list | tuple) and len(structure) == 1:
        return structure[0]
    return list(structure) if isinstance(structure, tuple) else structure


# -- layers -------------------------------------------------------------------------------


def _activation(layer: Any, argument: str = "activation") -> str:
    function = getattr(layer, argument)
    for name in ACTIVATIONS:
        if function is getattr(keras.activations, name):
            return name
    told = getattr(function, "__name__", repr(function))
    raise _unsupported(
        layer, f"has {argument}={told!r}; ragmask knows {', '.join(map(repr, ACTIVATIONS))}"
    )


def _activation_layer(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Activation(_activation(layer), name=layer.name)


def _add(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Add(name=layer.name)


def _bidirectional(layer: Any, inputs: Any) -> layers.Layer:
    forward, backward = (
        _lstm(one, inputs) if type(one) is keras.layers.LSTM else None
        for one in (layer.forward_layer, layer.backward_layer)
    )
    if not isinstance(forward, layers.LSTM) or not isinstance(backward, layers.LSTM):
        told = type(layer.forward_layer).__name__, type(layer.backward_layer).__name__
        raise _unsupported(layer, f"has layer={told[0]}, backward_layer={told[1]}; LSTMs are known")
    if forward.go_backwards:  # Keras then gives both outputs the wrong way round
        raise _unsupported(layer, "has a forward layer with go_backwards=True")
    return layers.Bidirectional(forward, layer.merge_mode, backward, name=layer.name)


def _concatenate(layer: Any, inputs: Any) -> layers.Layer:
    first = next(one for one in keras.tree.flatten(inputs) if isinstance(one, Symbol))
    rank = len(first.shape)
    axis = layer.axis % rank
    if axis == 1 and first.shape[1] is None:
        return layers.Concatenate(axis=1, name=layer.name)
    if axis != rank - 1:
        raise _unsupported(layer, f"has axis={layer.axis}; features and time are known")
    return layers.Concatenate(name=layer.name)


def _dense(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Dense(
        layer.units,
        activation=_activation(layer),
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        name=layer.name,
    )


def _dropout(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, noise_shape=None)
    return layers.Dropout(layer.rate, name=layer.name)


def _embedding(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Embedding(
        layer.input_dim,
        layer.output_dim,
        embeddings_initializer="zeros",
        mask_zero=layer.mask_zero,
        name=layer.name,
    )


def _lstm(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, stateful=False)
    return layers.LSTM(
        layer.units,
        activation=_activation(layer),
        recurrent_activation=_activation(layer, "recurrent_activation"),
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        return_sequences=layer.return_sequences,
        return_state=layer.return_state,
        go_backwards=layer.go_backwards,
        zero_output_for_mask=layer.zero_output_for_mask,
        name=layer.name,
    )


def _masking(layer: Any, inputs: Any) -> layers.Layer:
    value = float(layer.mask_value)
    if value != value:
        raise _unsupported(layer, "masks nothing in Keras, and NaN here: leave it out")
    return layers.Masking(value, name=layer.name)


def _mean(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, data_format="channels_last", keepdims=False)
    return layers.TemporalPool("mean", name=layer.name)


def _largest(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, data_format="channels_last", keepdims=False)
    return layers.TemporalPool("max", name=layer.name)


def _largest_in(layer: Any) -> Any:
    """The GlobalMaxPooling1D that a layer is, or that a model holds; None for none."""
    if isinstance(layer, keras.Model):
        return next(filter(None, map(_largest_in, layer.layers)), None)
    return layer if type(layer) is keras.layers.GlobalMaxPooling1D else None


def _relu(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return layers.Activation("relu", name=layer.name)


def _softmax(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, axis=-1)
    return layers.Activation("softmax", name=layer.name)


_CONVERTERS: dict[type, Callable[[Any, Any], layers.Layer]] = {
    keras.layers.Activation: _activation_layer,
    keras.layers.Add: _add,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Dense: _dense,
    keras.layers.Dropout: _dropout,
    keras.layers.Embedding: _embedding,
    keras.layers.GlobalAveragePooling1D: _mean,
    keras.layers.GlobalMaxPooling1D: _largest,
    keras.layers.LSTM: _lstm,
    keras.layers.Masking: _masking,
    keras.layers.ReLU: _relu,
    keras.layers.Softmax: _softmax,
}


def _names() -> Iterator[str]:
    return (cls.__name__ for cls in _CONVERTERS)


def _check_numbers(layer: Any) -> None:
    """Raise for weights that are not plain float32."""
    if layer.compute_dtype != "float32":
        raise _unsupported(layer, f"has dtype={layer.compute_dtype!r}; float32 is known")
    for argument in ("lora_rank", "quantization_mode"):
        if getattr(layer, argument, None):
            raise _unsupported(layer, f"has {argument}={getattr(layer, argument)!r}")


def _only(layer: Any, **known: Any) -> None:
    """Raise where an argument has another value than the only one that is known."""
    for argument, value in known.items():
        given = getattr(layer, argument)
        if given != value:
            raise _unsupported(layer, f"has {argument}={given!r}; {value!r} is known")


def _unsupported(layer: Any, why: str) -> UnsupportedTypeError:
    kind = "layer" if isinstance(layer, keras.Layer) else "operation"
    return UnsupportedTypeError(f"{kind} {layer.name!r} ({type(layer).__name__}) {why}")
