"""Models of layers as torch modules whose parameters are trained."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragmask import layers
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import functional
from ragmask.interop.torch.attended import attention, multi_head_attention
from ragmask.interop.torch.convolved import convolved
from ragmask.interop.torch.memory import writable
from ragmask.interop.torch.merged import MERGING, concatenated, merged
from ragmask.interop.torch.ragged import RaggedTensor
from ragmask.layers import activations
from ragmask.layers.graph import Node, Symbol, map_structure, symbols_in
from ragmask.layers.inputs import InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.network import Network
from ragmask.layers.recurrent import Recurrent

Weights = Mapping[int, Tensor]  # by the id of a layer's array


class TorchModel(torch.nn.Module):
    """What `to_torch` makes of a model: its layers on RaggedTensors, its weights as parameters.

    Its parameters are named by layer and weight, as in `named_weights`. `model` is a copy of what
    it was made from, with the weights of that time.
    """

    def __init__(self, model: layers.Model) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.weights = torch.nn.ParameterDict()
        for path, array in self.model.named_weights():
            name = path.split("/", 1)[1].replace(".", "_")
            self.weights[name] = torch.nn.Parameter(torch.tensor(np.array(array)))

    def forward(self, inputs: Any) -> Any:
        """On a RaggedTensor, Ragged or tensor; or a list or dict of them, as the model takes."""
        arrays = map(id, self.model.weights)
        weights = dict(zip(arrays, self.weights.values(), strict=True))
        return _run_graph(self, self.model, inputs, weights)

    def extra_repr(self) -> str:
        return repr(self.model)


def to_torch(model: layers.Model) -> TorchModel:
    """A model as a torch module that is trained with torch's losses and optimizers.

    >>> import torch
    >>> import ragmask as rm
    >>> import ragmask.interop.torch as rt
    >>> model = rm.layers.Sequential(
    ...     [
    ...         rm.layers.Input((None,), dtype="int32"),
    ...         rm.layers.Embedding(100, 8, mask_zero=True),
    ...         rm.layers.LSTM(4),
    ...     ]
    ... )
    >>> module = rt.to_torch(model)
    >>> ids = rm.Ragged.from_rows([[4, 8, 15], [16]])
    >>> module(ids).sum().backward()
    >>> trained = rt.from_torch(module)  # a model again: save it, and `ragmask apply` it
    >>> bool(abs(trained(ids) - model(ids)).max() < 1e-6)
    True

    It is called on RaggedTensors (or Ragged batches, which become some) where the model takes rows
    of steps, and on tensors where it takes vectors, and gives the same. Masks travel as in the
    model. Dropout drops in `train()` mode, and not in `eval()`. The weights are copied.

    Raises UnsupportedTypeError for layers of your own, whose `call` computes with numpy, and
    InvalidInputError for a model that is not built.
    """
    if not isinstance(model, Network):
        raise UnsupportedTypeError(f"to_torch takes a model of layers; got {type(model).__name__}")
    if not model._nodes:
        raise InvalidInputError(
            f"model {model.name!r} is not built: call it on a batch first, or begin with an Input"
        )
    _check_layers(model)
    return TorchModel(model)


def from_trained(module: TorchModel) -> layers.Model:
    """The model again, with the weights that the module has now."""
    model = copy.deepcopy(module.model)
    model.set_weights([weight.detach().cpu().numpy() for weight in module.weights.values()])
    return model


def _check_layers(model: Network) -> None:
    for layer in model.layers:
        if isinstance(layer, Network):
            _check_layers(layer)
        elif type(layer) not in _LAYERS:
            known = ", ".join(sorted(cls.__name__ for cls in _LAYERS))
            raise UnsupportedTypeError(
                f"layer {layer.name!r} is a {type(layer).__name__}, and its gradient is not known: "
                f"to_torch knows {known}, and models of them. Write it as a torch module, between "
                "two models"
            )
        elif isinstance(layer, layers.Bidirectional):
            _check_recurrent(layer.forward_layer)
            _check_recurrent(layer.backward_layer)
        elif isinstance(layer, Recurrent):
            _check_recurrent(layer)
        else:
            _check_arguments(layer)


def _check_arguments(layer: Any) -> None:
    """Raise for what the functions below do not do."""
    plain: dict[str, Any] = {"noise_shape": None, "keepdims": False, "data_format": "channels_last"}
    plain |= {"dropout": 0, "score_mode": "dot"}  # of attention
    for key, known in plain.items():
        if getattr(layer, key, known) != known:
            raise UnsupportedTypeError(
                f"layer {layer.name!r} has {key}={getattr(layer, key)!r}, and to_torch knows "
                f"{known!r} alone"
            )
    name = _activation_of(layer)
    if type(layer) in _ACTIVATING and name not in _ACTIVATIONS:
        known_names = ", ".join(repr(one) for one in _ACTIVATIONS if one)
        raise UnsupportedTypeError(
            f"layer {layer.name!r} has activation={name!r}, whose gradient is not known: to_torch "
            f"knows {known_names}"
        )


def _check_recurrent(layer: layers.RNN) -> None:
    if not isinstance(layer, Recurrent) or type(layer) not in _LAYERS:
        why = f"is a {type(layer).__name__}"
    elif layer.set_apart:
        why = f"has {layer.set_apart}"
    else:
        told = "stateful", "recurrent_dropout"
        why = ", ".join(f"has {one}={getattr(layer, one)}" for one in told if getattr(layer, one))
    if why:
        raise UnsupportedTypeError(
            f"layer {layer.name!r} {why}, and its gradient is not known: write it as a torch "
            "module, between two models"
        )


def _run_graph(module: TorchModel, model: Network, inputs: Any, weights: Weights) -> Any:
    values = {id(symbol): batch for symbol, batch in _entries(model, inputs)}

    def value(given: Any) -> Any:
        return values[id(given)] if isinstance(given, Symbol) else given

    for node in model._nodes:
        if isinstance(node.layer, InputLayer):
            continue
        given = map_structure(value, node.inputs)
        if node.mask is not None:
            given = given.with_mask(map_structure(value, node.mask).values)
        if isinstance(node.layer, Network):
            outputs = _run_graph(module, node.layer, given, weights)
        else:
            options = {key: map_structure(value, one) for key, one in node.options.items()}
            options = {"training": module.training, **options}  # the graph's own word goes first
            outputs = _LAYERS[type(node.layer)](node.layer, given, weights, **options)
        values.update(_by_symbol(node, outputs))
    return map_structure(value, model.output)


def _entries(model: Network, inputs: Any) -> list[tuple[Symbol, Any]]:
    """Each input, and what it is called on."""
    symbols = model.inputs
    if isinstance(inputs, Mapping):
        given = [inputs.get(name) for name in model._entry_names()]
    else:
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if len(given) != len(symbols) or any(one is None for one in given):
        raise InvalidInputError(
            f"model {model.name!r} is called on {model._expected_inputs()}; "
            f"got {', '.join(inputs) if isinstance(inputs, Mapping) else len(given)}"
        )
    batches = [_as_batch(one, model.name) for one in given]
    for symbol, batch in zip(symbols, batches, strict=True):
        wants_time = symbol.spec.kind != "dense"
        if wants_time is not isinstance(batch, RaggedTensor):
            wanted = "a RaggedTensor (RaggedTensor.from_padded makes one of a padded tensor)"
            raise UnsupportedTypeError(
                f"model {model.name!r}: input {symbol.node.layer.name!r} is "
                f"{wanted if wants_time else 'a tensor'}; got a {type(batch).__name__}"
            )
    return list(zip(symbols, batches, strict=True))


def _as_batch(given: Any, name: str) -> Any:
    if isinstance(given, Ragged):
        return RaggedTensor.from_ragged(given)
    if isinstance(given, np.ndarray):
        return torch.from_numpy(writable(given))
    if not isinstance(given, RaggedTensor | Tensor):
        raise UnsupportedTypeError(
            f"model {name!r} is called on RaggedTensors and tensors; got {type(given).__name__}"
        )
    return given


def _by_symbol(node: Node, outputs: Any) -> dict[int, Any]:
    given = outputs if isinstance(outputs, list | tuple) else [outputs]
    if isinstance(outputs, dict):
        given = list(outputs.values())
    symbols = symbols_in(node.outputs)
    return {id(symbol): one for symbol, one in zip(symbols, given, strict=True)}


# -- one function a layer: (layer, batch or batches, weights, training) -> batch or batches


def _embedding(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    vectors = functional.embedding(x, weights[id(layer.embeddings)], mask_zero=layer.mask_zero)
    return vectors if layer.mask_zero else vectors.with_mask(None)


def _masking(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    return functional.masking(x, layer.mask_value)


def _dense(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    def product(values: Tensor) -> Tensor:
        total = values @ weights[id(layer.kernel)]
        return total if layer.bias is None else total + weights[id(layer.bias)]

    return functional.each(functional.each(x, product), _ACTIVATIONS[_activation_of(layer)])


def _convolution(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    bias = None if layer.bias is None else weights[id(layer.bias)]
    sums = convolved(layer, x, weights[id(layer.kernel)], bias)
    return functional.each(sums, _ACTIVATIONS[_activation_of(layer)])


def _activation_of(layer: Any) -> Any:
    return activations.name_of(getattr(layer, "activation", None))


def _activation(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    return functional.each(x, _ACTIVATIONS[_activation_of(layer)])


def _dropout(layer: Any, x: Any, weights: Weights, training: bool, **_: Any) -> Any:
    return functional.each(x, lambda values: torch.dropout(values, layer.rate, training))


def _recurrent(
    layer: Recurrent,
    x: Any,
    weights: Weights,
    training: bool,
    initial_state: Any = None,
    **_: Any,
) -> Any:
    outputs, states = _recurred(layer, _dropped(layer, x, training), weights, initial_state)
    if layer.return_sequences and layer.go_backwards:
        outputs = _reversed(outputs)
    output = outputs if layer.return_sequences else states[0]
    return [output, *states] if layer.return_state else output


def _dropped(layer: Recurrent, x: RaggedTensor, training: bool) -> RaggedTensor:
    """In training some features are 0: of a row, the same at all its steps."""
    if not (training and layer.dropout):
        return x
    ones = x.values.new_ones(len(x), x.values.shape[1])
    factors = torch.dropout(ones, layer.dropout, True)
    return x.with_values(x.values * factors.repeat_interleave(x.lengths, 0))


def _recurred(
    layer: Recurrent, x: Any, weights: Weights, initial_state: Any
) -> tuple[RaggedTensor, tuple[Tensor, ...]]:
    kernel, recurrent = weights[id(layer.kernel)], weights[id(layer.recurrent_kernel)]
    if layer.bias is None:
        *_, shape = layer.weights_class.shapes(len(kernel), layer.units)
        bias = kernel.new_zeros(shape)
    else:
        bias = weights[id(layer.bias)]
    if isinstance(initial_state, Tensor):
        initial_state = [initial_state]
    outputs, states = functional.recur(
        layer.record, x, kernel, recurrent, bias, initial_state, layer.go_backwards
    )
    if layer.zero_output_for_mask and outputs.mask is not None:
        outputs = outputs.with_values(torch.where(outputs.mask[:, None], outputs.values, 0))
    return outputs, states


def _reversed(x: RaggedTensor) -> RaggedTensor:
    """Each row's steps from its end, and its mask with them."""
    ends = x.offsets[:-1] + x.offsets[1:] - 1
    order = ends.repeat_interleave(x.lengths) - torch.arange(x.n_steps, device=x.device)
    mask = None if x.mask is None else x.mask[order]
    return x.with_values(x.values[order]).with_mask(mask)


def _bidirectional(
    layer: layers.Bidirectional,
    x: Any,
    weights: Weights,
    training: bool,
    initial_state: Any = None,
    **_: Any,
) -> Any:
    pairs: Any = layer._layers_and_states(initial_state)
    results = [
        _recurred(half, _dropped(half, x, training), weights, state) for half, state in pairs
    ]
    states = [state for _, of_half in results for state in of_half]
    first = layer.forward_layer
    outputs = [steps if first.return_sequences else of_half[0] for steps, of_half in results]
    merged = [_merged(layer.merge_mode, outputs)] if layer.merge_mode else outputs
    if first.return_state:
        return [*merged, *states]
    return merged[0] if layer.merge_mode else merged


def _merged(mode: str, outputs: list[Any]) -> Any:
    forward, backward = (one.values if isinstance(one, RaggedTensor) else one for one in outputs)
    if mode == "concat":
        merged = torch.cat([forward, backward], -1)
    elif mode == "mul":
        merged = forward * backward
    else:
        merged = (forward + backward) * (0.5 if mode == "ave" else 1)
    return functional.each(outputs[0], lambda _: merged)


def _split(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    return functional.temporal_split(x, layer.sections, width=layer.width)


def _concat(layer: Any, xs: Any, weights: Weights, **_: Any) -> Any:
    return functional.temporal_concat(xs)


def _softmax(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    return functional.temporal_softmax(x)


def _pool(layer: Any, x: Any, weights: Weights, **_: Any) -> Any:
    return functional.temporal_pool(x, layer.how)


def _linear(values: Tensor) -> Tensor:
    return values


_ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: _linear,
    "linear": _linear,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda values: torch.softmax(values, -1),
    "gelu": torch.nn.functional.gelu,
    "celu": torch.nn.functional.celu,
    "elu": torch.nn.functional.elu,
    "exponential": torch.exp,
    "glu": torch.nn.functional.glu,
    "hard_tanh": torch.nn.functional.hardtanh,
    "leaky_relu": lambda values: torch.nn.functional.leaky_relu(values, 0.2),
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "log_softmax": lambda values: torch.log_softmax(values, -1),
    "mish": torch.nn.functional.mish,
    "relu6": torch.nn.functional.relu6,
    "selu": torch.nn.functional.selu,
    "silu": torch.nn.functional.silu,
    "softplus": torch.nn.functional.softplus,
    "softsign": torch.nn.functional.softsign,
    "swish": torch.nn.functional.silu,
    "tanh_shrink": torch.nn.functional.tanhshrink,
}
_ACTIVATING = layers.Dense, layers.Activation, layers.Conv1D, layers.DepthwiseConv1D
_LAYERS: dict[type[Layer], Callable[..., Any]] = {
    layers.Embedding: _embedding,
    layers.Masking: _masking,
    layers.Dense: _dense,
    layers.Activation: _activation,
    layers.Conv1D: _convolution,
    layers.DepthwiseConv1D: _convolution,
    layers.Dropout: _dropout,
    layers.LSTM: _recurrent,
    layers.GRU: _recurrent,
    layers.SimpleRNN: _recurrent,
    layers.Bidirectional: _bidirectional,
    layers.MultiHeadAttention: multi_head_attention,
    layers.Attention: attention,
    layers.TemporalSplit: _split,
    layers.TemporalConcat: _concat,
    layers.TemporalSoftmax: _softmax,
    layers.TemporalPool: _pool,
    layers.Concatenate: concatenated,
    **dict.fromkeys(MERGING, merged),
    layers.GlobalAveragePooling1D: _pool,
    layers.GlobalMaxPooling1D: _pool,
}
