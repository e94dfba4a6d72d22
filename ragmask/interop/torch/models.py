"""torch's modules, and ragmask's own for torch, as models of layers."""

from collections.abc import Mapping
from typing import Any

import torch

from ragmask import layers
from ragmask.arrays.protocol import Array
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.torch import nn
from ragmask.interop.torch.memory import check_plain
from ragmask.interop.torch.trained import TorchModel, from_trained
from ragmask.layers.recurrent import Recurrent

_KINDS: dict[type[torch.nn.Module], type[Recurrent]] = {
    torch.nn.LSTM: layers.LSTM,
    torch.nn.GRU: layers.GRU,
    torch.nn.RNN: layers.SimpleRNN,
    nn.LSTM: layers.LSTM,
    nn.GRU: layers.GRU,
    nn.RNN: layers.SimpleRNN,
}


def from_torch(module: torch.nn.Module) -> layers.Model:
    """What `to_torch` made, as a model with the weights it has now; or an LSTM, GRU or RNN.

    Those of torch.nn and of `rt.nn` become a model of such layers, or Bidirectional ones.

    >>> import ragmask as rm
    >>> import torch
    >>> from ragmask.interop.torch import from_torch
    >>> model = from_torch(torch.nn.LSTM(12, 8, num_layers=2, bidirectional=True))
    >>> model
    Sequential('lstm', 2 layers, 2,944 numbers)
    >>> model(rm.Ragged.from_rows([[[0.5] * 12, [0.25] * 12], []])).item_shape
    (16,)

    The layers give all their outputs, which are those of torch for packed rows; rows may be empty
    too. They come first, whatever `batch_first` says. The weights are copied; torch's two biases
    become one where they are always added, which they are but for a GRU's. Dropout between layers
    is for training, and left out.

    Raises UnsupportedTypeError for other modules, for an LSTM with a projection (proj_size), for an
    RNN of relu, and for weights that are not float32 or live on another device.
    """
    if isinstance(module, TorchModel):
        return from_trained(module)
    cls = next((cls for cls in _KINDS if isinstance(module, cls)), None)
    if cls is None:
        raise UnsupportedTypeError(
            "from_torch takes what to_torch made, or an nn.LSTM, nn.GRU or nn.RNN; got "
            f"{type(module).__name__}"
        )
    module_: Any = module  # with the attributes of torch's recurrent ones
    return _from_recurrent(module_, cls)


def _from_recurrent(module: torch.nn.RNNBase, cls: type[torch.nn.Module]) -> layers.Sequential:
    if getattr(module, "nonlinearity", "tanh") != "tanh":
        raise UnsupportedTypeError(
            f"from_torch takes an nn.RNN with nonlinearity='tanh', which SimpleRNN computes; got "
            f"{module.nonlinearity!r}"
        )
    kind, name, state = _KINDS[cls], cls.__name__.lower(), module.state_dict()
    for key, weight in state.items():
        check_plain(weight, key)
        if weight.dtype != torch.float32:
            raise UnsupportedTypeError(
                f"{key} is {weight.dtype}, and layers compute in float32: take module.float()"
            )
    model = layers.Sequential([layers.Input((None, module.input_size))], name=name)
    for number in range(module.num_layers):
        sides = (False, True) if module.bidirectional else (False,)
        halves = [kind(**_options(module, name, number, reverse)) for reverse in sides]
        model.add(
            layers.Bidirectional(
                halves[0], backward_layer=halves[1], name=f"bidirectional_l{number}"
            )
            if module.bidirectional
            else halves[0]
        )
        model.layers[-1].set_weights(
            [
                array
                for half, reverse in zip(halves, sides, strict=True)
                for array in _arrays(half, module, state, number, reverse)
            ]
        )
    return model


def _options(module: torch.nn.RNNBase, name: str, number: int, reverse: bool) -> dict[str, Any]:
    return {
        "units": module.hidden_size,
        "use_bias": module.bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "return_sequences": True,
        "go_backwards": reverse,
        "name": f"{name}_l{number}{'_reverse' if reverse else ''}",
    }


def _arrays(
    layer: Recurrent, module: torch.nn.RNNBase, state: Mapping[str, Any], number: int, reverse: bool
) -> list[Array]:
    weights = layer.weights_class.from_torch(state, number, reverse)
    arrays = [weights.kernel, weights.recurrent_kernel, weights.bias]
    return arrays if module.bias else arrays[:2]
