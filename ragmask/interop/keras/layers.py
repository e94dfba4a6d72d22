"""Each Keras layer as the layer here that does the same."""

from collections.abc import Callable
from typing import Any

import keras

from ragmask import layers
from ragmask.interop.keras.graph import unsupported
from ragmask.layers.activations import ACTIVATIONS
from ragmask.layers.graph import Symbol
from ragmask.layers.recurrent import Recurrent

Converter = Callable[[Any, Any], layers.Layer]


def _activation(layer: Any, argument: str = "activation") -> str:
    function = getattr(layer, argument)
    for name in ACTIVATIONS:
        if function is getattr(keras.activations, name, None):
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


def _convolution(layer: Any, inputs: Any) -> layers.Layer:
    _only(layer, data_format="channels_last")
    names = "kernel_size", "strides", "padding", "dilation_rate", "use_bias"
    options = {name: getattr(layer, name) for name in names}
    options |= {"activation": _activation(layer), "name": layer.name}
    if type(layer) is keras.layers.Conv1D:
        kind = {"filters": layer.filters, "groups": layer.groups, "kernel_initializer": "zeros"}
        return layers.Conv1D(**kind, **options)
    depth = layer.depth_multiplier
    return layers.DepthwiseConv1D(depth_multiplier=depth, depthwise_initializer="zeros", **options)


def _dense(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Dense(
        layer.units,
        activation=_activation(layer),
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        name=layer.name,
    )


def _einsum_dense(layer: Any, inputs: Any) -> layers.Layer:
    return layers.EinsumDense(
        layer.equation,
        layer.partial_output_shape,
        activation=_activation(layer),
        bias_axes=layer.bias_axes,
        kernel_initializer="zeros",
        name=layer.name,
    )


def _with(made: Callable[..., layers.Layer], *arguments: str, **known: Any) -> Converter:
    """Makes a layer of these arguments of Keras's own; others have one value that is known."""

    def converter(layer: Any, inputs: Any) -> layers.Layer:
        _only(layer, **known)
        given = {argument: getattr(layer, argument) for argument in arguments}
        return made(**given, name=layer.name)

    return converter


def _dot(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Dot(layer.axes, layer.normalize, name=layer.name)


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


def _attention(layer: Any, inputs: Any) -> layers.Layer:
    config = layer.get_config()
    axes = config["attention_axes"]
    if axes is not None and tuple(axes) != (1,):
        raise unsupported(layer, f"has attention_axes={axes!r}; time, (1,), is known")
    arguments = (
        *("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "use_gate"),
        *("output_shape", "sliding_window", "seed"),
    )
    return layers.MultiHeadAttention(
        **{argument: config[argument] for argument in arguments},
        kernel_initializer="zeros",
        name=layer.name,
    )


def _merging(layer: Any, inputs: Any) -> layers.Layer:
    return MERGING[type(layer)](name=layer.name)


def _time_distributed(layer: Any, inputs: Any) -> layers.Layer:
    inner = layer.layer
    if type(inner) not in CONVERTERS:
        raise unsupported(layer, f"holds a {type(inner).__name__}, which is not known in it")
    check_numbers(inner)
    return layers.TimeDistributed(CONVERTERS[type(inner)](inner, inputs), name=layer.name)


def largest_in(layer: Any) -> Any:
    """The GlobalMaxPooling1D that a layer is, or that a model holds; None for none."""
    if isinstance(layer, keras.Model):
        return next(filter(None, map(largest_in, layer.layers)), None)
    return layer if type(layer) is keras.layers.GlobalMaxPooling1D else None


def _relu(layer: Any, inputs: Any) -> layers.Layer:
    arguments = layer.max_value, layer.negative_slope, layer.threshold
    if arguments == (None, 0.0, 0.0):
        return layers.Activation("relu", name=layer.name)
    return layers.ReLU(*arguments, name=layer.name)


def _softmax(layer: Any, inputs: Any) -> layers.Layer:
    if layer.axis == -1:
        return layers.Activation("softmax", name=layer.name)
    return layers.Softmax(layer.axis, name=layer.name)


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
CONVERTERS: dict[type, Converter] = {
    keras.layers.Activation: _activation_layer,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Conv1D: _convolution,
    keras.layers.Dense: _dense,
    keras.layers.DepthwiseConv1D: _convolution,
    keras.layers.ActivityRegularization: _with(layers.ActivityRegularization, "l1", "l2"),
    keras.layers.AdditiveAttention: _with(layers.AdditiveAttention, "use_scale", "dropout"),
    keras.layers.AlphaDropout: _with(layers.AlphaDropout, "rate", "noise_shape"),
    keras.layers.Attention: _with(layers.Attention, "use_scale", "score_mode", "dropout"),
    keras.layers.BatchNormalization: _with(
        layers.BatchNormalization, "axis", "momentum", "epsilon", "center", "scale", renorm=False
    ),
    keras.layers.Dropout: _with(layers.Dropout, "rate", "noise_shape"),
    keras.layers.EinsumDense: _einsum_dense,
    keras.layers.ELU: _with(layers.ELU, "alpha"),
    keras.layers.Dot: _dot,
    keras.layers.Embedding: _embedding,
    keras.layers.GaussianDropout: _with(layers.GaussianDropout, "rate"),
    keras.layers.GaussianNoise: _with(layers.GaussianNoise, "stddev"),
    keras.layers.GlobalAveragePooling1D: _with(
        layers.GlobalAveragePooling1D, "keepdims", data_format="channels_last"
    ),
    keras.layers.GlobalMaxPooling1D: _with(
        layers.GlobalMaxPooling1D, "keepdims", data_format="channels_last"
    ),
    keras.layers.Identity: _with(layers.Identity),
    keras.layers.LayerNormalization: _with(
        layers.LayerNormalization, "axis", "epsilon", "center", "scale", "rms_scaling"
    ),
    keras.layers.LeakyReLU: _with(layers.LeakyReLU, "negative_slope"),
    keras.layers.Masking: _masking,
    keras.layers.MultiHeadAttention: _attention,
    keras.layers.PReLU: _with(layers.PReLU, "shared_axes"),
    keras.layers.ReLU: _relu,
    keras.layers.RepeatVector: _with(layers.RepeatVector, "n"),
    keras.layers.RMSNormalization: _with(layers.RMSNormalization, "axis", "epsilon"),
    keras.layers.Softmax: _softmax,
    keras.layers.SpatialDropout1D: _with(layers.SpatialDropout1D, "rate"),
    keras.layers.TimeDistributed: _time_distributed,
    keras.layers.UnitNormalization: _with(layers.UnitNormalization, "axis"),
    keras.layers.RNN: _rnn,
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
