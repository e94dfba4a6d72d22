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


def _add(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Add(name=layer.name)


def _bidirectional(layer: Any, inputs: Any) -> layers.Layer:
    halves = layer.forward_layer, layer.backward_layer
    kinds = [type(one) for one in halves]
    if kinds[0] not in RECURRENT or kinds[0] is not kinds[1]:
        told = f"has layer={kinds[0].__name__}, backward_layer={kinds[1].__name__}"
        known = ", ".join(f"{kind.__name__}s" for kind in RECURRENT)
        raise unsupported(layer, f"{told}; two {known} are known")
    forward, backward = (_recurrent(one, inputs) for one in halves)
    if forward.go_backwards:  # Keras then gives both outputs the wrong way round
        raise unsupported(layer, "has a forward layer with go_backwards=True")
    return layers.Bidirectional(forward, layer.merge_mode, backward, name=layer.name)


def _concatenate(layer: Any, inputs: Any) -> layers.Layer:
    first = next(one for one in keras.tree.flatten(inputs) if isinstance(one, Symbol))
    rank = len(first.shape)
    axis = layer.axis % rank
    if axis == 1 and first.shape[1] is None:
        return layers.Concatenate(axis=1, name=layer.name)
    if axis != rank - 1:
        raise unsupported(layer, f"has axis={layer.axis}; features and time are known")
    return layers.Concatenate(name=layer.name)


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


def _embedding(layer: Any, inputs: Any) -> layers.Layer:
    return layers.Embedding(
        layer.input_dim,
        layer.output_dim,
        embeddings_initializer="zeros",
        mask_zero=layer.mask_zero,
        name=layer.name,
    )


def _recurrent(layer: Any, inputs: Any) -> Recurrent:
    _only(layer, stateful=False)
    options = {
        name: _activation(layer, name)
        for name in ("activation", "recurrent_activation")
        if hasattr(layer, name)
    }
    if hasattr(layer, "reset_after"):
        options["reset_after"] = layer.reset_after
    return RECURRENT[type(layer)](
        layer.units,
        **options,
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
CONVERTERS: dict[type, Converter] = {
    keras.layers.Activation: _activation_layer,
    keras.layers.Add: _add,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Dense: _dense,
    keras.layers.ActivityRegularization: _with(layers.ActivityRegularization, "l1", "l2"),
    keras.layers.AlphaDropout: _with(layers.AlphaDropout, "rate", "noise_shape"),
    keras.layers.BatchNormalization: _with(
        layers.BatchNormalization, "axis", "momentum", "epsilon", "center", "scale", renorm=False
    ),
    keras.layers.Dropout: _with(layers.Dropout, "rate", "noise_shape"),
    keras.layers.EinsumDense: _einsum_dense,
    keras.layers.ELU: _with(layers.ELU, "alpha"),
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
