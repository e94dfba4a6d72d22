"""Each Keras layer as the layer here that does the same."""

from collections.abc import Callable
from typing import Any

import keras

from ragmask import layers
from ragmask.interop.keras.graph import unsupported
from ragmask.layers.activations import ACTIVATIONS
from ragmask.layers.graph import Symbol
from ragmask.layers.recurrent import Recurrent


def _activation(layer: Any, argument: str = "activation") -> str:
    function = getattr(layer, argument)
    for name in ACTIVATIONS:
        if function is getattr(keras.activations, name):
            return name
    told = getattr(function, "__name__", repr(function))
    raise unsupported(
        layer, f"has {argument}={told!r}; ragmask knows {', '.join(map(repr, ACTIVATIONS))}"
    )


def _activation_layer(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Activation(_activation(layer), name=layer.name)


def _bidirectional(layer: Any, inputs: Any) -> layers.Layer:
    halves = layer.forward_layer, layer.backward_layer
    kinds = [type(one) for one in halves]
    if not {*kinds} <= RECURRENT.keys() | {keras.layers.RNN}:
        told = f"has layer={kinds[0].__name__}, backward_layer={kinds[1].__name__}"
        known = ", ".join(kind.__name__ for kind in RECURRENT)
        raise unsupported(layer, f"{told}; {known} and RNN are known")
    forward, backward = (
        (_rnn if type(one) is keras.layers.RNN else _recurrent)(one, inputs) for one in halves
    )
    if forward.go_backwards:  # Keras then gives both outputs the wrong way round
        raise unsupported(layer, "has a forward layer with go_backwards=True")
    return layers.Bidirectional(forward, layer.merge_mode, backward_layer=backward, name=layer.name)


def _concatenate(layer: Any, inputs: Any) -> layers.Layer:
    first = next(one for one in keras.tree.flatten(inputs) if isinstance(one, Symbol))
    rank = len(first.shape)
    axis = layer.axis % rank
    if axis == 0:
        raise unsupported(layer, f"has axis={layer.axis}; features and time are known")
    is_time = axis == 1 and first.shape[1] is None
    return layers.Concatenate(1 if is_time else axis - rank, name=layer.name)


def _dense(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Dense(
        layer.units,
        activation=_activation(layer),
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        name=layer.name,
    )


def _dot(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Dot(layer.axes, layer.normalize, name=layer.name)


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


def _recurrent(layer: Any, inputs: Any) -> Recurrent:
    options = _of_gates(layer) | _of_run(layer)
    return RECURRENT[type(layer)](**options, name=layer.name)


def _rnn(layer: Any, inputs: Any) -> layers.RNN:
    return layers.RNN(_cell(layer, layer.cell), **_of_run(layer), name=layer.name)


def _cell(layer: Any, cell: Any) -> layers.Layer:
    if type(cell) is keras.layers.StackedRNNCells:
        return layers.StackedRNNCells([_cell(layer, one) for one in cell.cells], name=cell.name)
    if type(cell) not in CELLS:
        known = ", ".join(kind.__name__ for kind in CELLS)
        raise unsupported(
            layer, f"has cell={type(cell).__name__}; {known} and StackedRNNCells are known"
        )
    check_numbers(cell)
    return CELLS[type(cell)](**_of_gates(cell), name=cell.name)


def _of_gates(cell: Any) -> dict[str, Any]:
    """The arguments of a cell, or of the layer that has it."""
    activations = {
        name: _activation(cell, name)
        for name in ("activation", "recurrent_activation")
        if hasattr(cell, name)
    }
    names = "units", "use_bias", "dropout", "recurrent_dropout", "reset_after"
    same = {name: getattr(cell, name) for name in names if hasattr(cell, name)}
    zeros = dict.fromkeys(("kernel_initializer", "recurrent_initializer"), "zeros")
    return activations | same | zeros


def _of_run(layer: Any) -> dict[str, Any]:
    names = "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask"
    return {name: getattr(layer, name) for name in names}


def _masking(layer: Any, inputs: Any) -> layers.Layer:
    value = float(layer.mask_value)
    if value != value:
        raise unsupported(layer, "masks nothing in Keras, and NaN here: leave it out")
    return layers.Masking(value, name=layer.name)


def _merging(layer: Any, inputs: Any) -> layers.Layer:
    return MERGING[type(layer)](name=layer.name)


def _mean(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, data_format="channels_last", keepdims=False)
    return layers.TemporalPool("mean", name=layer.name)


def _largest(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, data_format="channels_last", keepdims=False)
    return layers.TemporalPool("max", name=layer.name)


def largest_in(layer: Any) -> Any:
    """The GlobalMaxPooling1D that a layer is, or that a model holds; None for none."""
    if isinstance(layer, keras.Model):
        return next(filter(None, map(largest_in, layer.layers)), None)
    return layer if type(layer) is keras.layers.GlobalMaxPooling1D else None


def _relu(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return layers.Activation("relu", name=layer.name)


def _softmax(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, axis=-1)
    return layers.Activation("softmax", name=layer.name)


RECURRENT: dict[type, Callable[..., Recurrent]] = {
    keras.layers.LSTM: layers.LSTM,
    keras.layers.GRU: layers.GRU,
    keras.layers.SimpleRNN: layers.SimpleRNN,
}
CELLS: dict[type, Callable[..., layers.Layer]] = {
    keras.layers.LSTMCell: layers.LSTMCell,
    keras.layers.GRUCell: layers.GRUCell,
    keras.layers.SimpleRNNCell: layers.SimpleRNNCell,
}
MERGING: dict[type, Callable[..., layers.Layer]] = {
    keras.layers.Add: layers.Add,
    keras.layers.Average: layers.Average,
    keras.layers.Maximum: layers.Maximum,
    keras.layers.Minimum: layers.Minimum,
    keras.layers.Multiply: layers.Multiply,
    keras.layers.Subtract: layers.Subtract,
}
CONVERTERS: dict[type, Callable[[Any, Any], layers.Layer]] = {
    keras.layers.Activation: _activation_layer,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Dense: _dense,
    keras.layers.Dot: _dot,
    keras.layers.Dropout: _dropout,
    keras.layers.Embedding: _embedding,
    keras.layers.GlobalAveragePooling1D: _mean,
    keras.layers.GlobalMaxPooling1D: _largest,
    keras.layers.Masking: _masking,
    keras.layers.ReLU: _relu,
    keras.layers.RNN: _rnn,
    keras.layers.Softmax: _softmax,
    **dict.fromkeys(MERGING, _merging),
    **dict.fromkeys(RECURRENT, _recurrent),
}


def check_numbers(layer: Any) -> None:
    """Raise for weights that are not plain float32."""
    if layer.compute_dtype != "float32":
        raise unsupported(layer, f"has dtype={layer.compute_dtype!r}; float32 is known")
    for argument in ("lora_rank", "quantization_mode"):
        if getattr(layer, argument, None):
            raise unsupported(layer, f"has {argument}={getattr(layer, argument)!r}")


def _only(layer: Any, **known: Any) -> None:
    """Raise where an argument has another value than the only one that is known."""
    for argument, value in known.items():
        given = getattr(layer, argument)
        if given != value:
            raise unsupported(layer, f"has {argument}={given!r}; {value!r} is known")
