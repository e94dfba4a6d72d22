"""Keras's models as models."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from ragmask import layers
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.keras import operations
from ragmask.interop.keras.graph import (
    graph_of,
    input_of,
    is_its_own,
    nodes_of,
    single,
    unsupported,
)
from ragmask.interop.keras.layers import CONVERTERS, check_numbers, largest_in
from ragmask.layers.elsewhere import ELSEWHERE

_STATES = ("initial_state",)
_OF_ATTENTION = "value", "key", "use_causal_mask", "return_attention_scores"
_KNOWN = dict.fromkeys(
    (keras.layers.AdditiveAttention, keras.layers.Attention, keras.layers.MultiHeadAttention),
    _OF_ATTENTION,
)


class Converter:
    """Makes a layer of each Keras layer, once, however often it is called."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[Any, layers.Layer]] = {}

    def model(self, model: Any) -> layers.Model:
        graph = graph_of(model)
        symbols: dict[int, Any] = {id(entry): input_of(entry, graph) for entry in graph.inputs}

        def symbol_of(tensor: Any) -> Any:
            if id(tensor) not in symbols:
                maker, at, _ = tensor._keras_history
                node = maker._inbound_nodes[at]
                if not operations.is_known(node):
                    raise unsupported(maker, "is not a layer that ragmask has")
                given = [symbol_of(one) if _is_tensor(one) else one for one in node.arguments.args]
                symbols[id(tensor)] = operations.called_on(node, given)
            return symbols[id(tensor)]

        for node in nodes_of(graph):
            if isinstance(node.operation, keras.Layer):  # others are read where they are needed
                outputs = self._call(node, symbol_of)
                for tensor, symbol in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
                    symbols[id(tensor)] = symbol
        inputs = single(keras.tree.map_structure(symbol_of, graph._inputs_struct))
        if isinstance(model, keras.Sequential):
            parts = [self.made[id(layer)][1] for layer in model.layers]
            return layers.Sequential([inputs, *parts], name=model.name)
        outputs = single(keras.tree.map_structure(symbol_of, graph._outputs_struct))
        return layers.Model(inputs, outputs, name=model.name)

    def _call(self, node: Any, symbol_of: Callable[[Any], Any]) -> Any:
        """The outputs of a layer, called on symbols as Keras's was on its own."""
        layer = node.operation
        given = inspect.signature(layer.call).bind(*node.arguments.args, **node.arguments.kwargs)
        first, *others = given.arguments.items()
        options = dict(others)
        if not is_its_own(options.pop("mask", None), first[1]):
            raise unsupported(layer, "is given a mask by hand: mask=")
        if options.pop("training", None):
            raise unsupported(layer, "is called with training=True")
        options = {name: value for name, value in options.items() if value is not None}
        for name in [name for name in options if name.endswith("_mask")]:
            batch = given.arguments.get(name.removesuffix("_mask"))
            if batch is not None and is_its_own(options[name], batch):
                del options[name]
        if unknown := [name for name in options if name not in _KNOWN.get(type(layer), _STATES)]:
            raise unsupported(layer, f"is called with {', '.join(unknown)}")
        options = keras.tree.map_structure(
            lambda one: symbol_of(one) if isinstance(one, keras.KerasTensor) else one, options
        )
        inputs = keras.tree.map_structure(symbol_of, first[1])
        pool = largest_in(layer)
        if pool is not None and any(one.is_masked for one in keras.tree.flatten(inputs)):
            raise unsupported(pool, "takes masked steps too, and ragmask's does not")
        if isinstance(layer, keras.Model):
            inputs = single(inputs)
        return self._layer(layer, inputs)(inputs, **options)

    def _layer(self, layer: Any, inputs: Any) -> layers.Layer:
        """The layer that was made of Keras's; a new one when it is met first."""
        if id(layer) not in self.made:
            if isinstance(layer, keras.Model):
                self.made[id(layer)] = layer, self.model(layer)
            elif type(layer) not in CONVERTERS:
                raise unsupported(layer, _why_not(type(layer)))
            else:
                check_numbers(layer)
                self.made[id(layer)] = layer, CONVERTERS[type(layer)](layer, inputs)
        return self.made[id(layer)][1]

    def copy_weights(self) -> None:
        for layer, made in self.made.values():
            if not isinstance(layer, keras.Model):
                values = [weight.value for weight in layer.weights]
                made.set_weights([keras.ops.convert_to_numpy(value) for value in values])


def _why_not(cls: type) -> str:
    """Why a class of layers cannot be read."""
    if getattr(keras.layers, cls.__name__, None) is cls and cls.__name__ in ELSEWHERE:
        return ELSEWHERE[cls.__name__]
    return f"is not one of {', '.join(sorted(one.__name__ for one in CONVERTERS))}"


def _is_tensor(given: Any) -> bool:
    return isinstance(given, keras.KerasTensor)


def from_keras(model: Any) -> layers.Model:
    """The same model in ragmask's layers; a Sequential of a Sequential.

    >>> import keras
    >>> from ragmask.interop.keras import from_keras
    >>> frames = keras.Input((None, 12), name="frames")
    >>> both = keras.layers.Bidirectional(keras.layers.LSTM(8), name="both")
    >>> from_keras(keras.Model(frames, both(frames), name="speaker"))
    Model('speaker', 1 layer, 1,344 numbers)

    model : a keras.Sequential that is built, or a functional keras.Model, of Activation,
        ActivityRegularization, Add, AdditiveAttention, AlphaDropout, Attention, Average,
        BatchNormalization, Bidirectional, Concatenate, Conv1D, Dense, DepthwiseConv1D, Dot,
        Dropout, EinsumDense, ELU, Embedding, GaussianDropout, GaussianNoise,
        GlobalAveragePooling1D, GlobalMaxPooling1D, GRU, Identity, LayerNormalization, LeakyReLU,
        LSTM, Masking, Maximum, Minimum, MultiHeadAttention, Multiply, PReLU, ReLU, RepeatVector,
        RMSNormalization, RNN (of LSTMCell, GRUCell and SimpleRNNCell), SimpleRNN, Softmax,
        SpatialDropout1D, Subtract, TimeDistributed, UnitNormalization, and models of these. Layers
        that are used several times stay one layer.

    A Keras input (rows, time, features) takes a Ragged of steps of so many features, one of ids a
    Ragged of integers, whatever width it names. Weights are copied, and computed in float32.

    The results are Keras's on the same rows, padded and masked, but for rounding and for what Keras
    does with masks in three places. Its Masking forgets the mask that it is given; its recurrent
    layers that go backwards do not turn the mask round with the steps; and with an `initial_state`
    they see no mask at all, and read the padding. Here masks are kept, turned round, and seen. The
    mean of no steps is 0 here, and NaN there; a query that sees no key has 0 here, and the mean of
    all values there. Stateful layers begin with zeros. To Conv1D and DepthwiseConv1D masked steps
    are zeros, and what they give keeps the mask: Keras's read what lies there, and forget it. With
    strides or "valid" a row gives the steps that Keras gives for it alone.

    Operations of each number, `x * 2 + y`, and brackets, `x[:, -1]`, are read too. Keras's forget
    the mask of what they are given, and so do these; a Ragged's rows end where they end.

    Raises UnsupportedTypeError, naming the layer and the argument, for all other layers and for
    arguments that ragmask's do not have. Arguments for training alone are left out.
    """
    if not isinstance(model, keras.Model):
        raise UnsupportedTypeError(f"from_keras takes a keras.Model; got {type(model).__name__}")
    converter = Converter()
    converted = converter.model(model)
    converter.copy_weights()
    return converted
