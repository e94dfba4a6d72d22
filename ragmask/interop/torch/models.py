"""torch's modules as layers."""

from collections.abc import Mapping
from typing import Any

import torch

from ragmask import layers
from ragmask.arrays.protocol import Array
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.torch.memory import check_plain
from ragmask.weights import LSTMWeights


def from_torch(module: torch.nn.LSTM) -> layers.Sequential:
    """An nn.LSTM as a model of LSTM or Bidirectional layers that give all their outputs.

    >>> import ragmask as rm
    >>> import torch
    >>> from ragmask.interop.torch import from_torch
    >>> model = from_torch(torch.nn.LSTM(12, 8, num_layers=2, bidirectional=True))
    >>> model
    Sequential('lstm', 2 layers, 2,944 numbers)
    >>> model(rm.Ragged.from_rows([[[0.5] * 12, [0.25] * 12], []])).item_shape
    (16,)

    The outputs are what torch gives for packed rows; rows may be empty too. They come first,
    whatever `batch_first` says. The weights are copied; torch's two biases, which are always
    added, become one. Dropout between layers is for training, and left out.

    Raises UnsupportedTypeError for other modules, for an LSTM with a projection (proj_size), and
    for weights that are not float32 or live on another device.
    """
    if not isinstance(module, torch.nn.LSTM):
        raise UnsupportedTypeError(f"from_torch takes an nn.LSTM; got {type(module).__name__}")
    state = module.state_dict()
    for name, weight in state.items():
        check_plain(weight, name)
        if weight.dtype != torch.float32:
            raise UnsupportedTypeError(
                f"{name} is {weight.dtype}, and layers compute in float32: take module.float()"
            )
    model = layers.Sequential([layers.Input((None, module.input_size))], name="lstm")
    for number in range(module.num_layers):
        forward = layers.LSTM(**_lstm_options(module, number, False))
        if module.bidirectional:
            backward = layers.LSTM(**_lstm_options(module, number, True))
            name = f"bidirectional_l{number}"
            model.add(layers.Bidirectional(forward, backward_layer=backward, name=name))
        else:
            model.add(forward)
        sides = (False, True) if module.bidirectional else (False,)
        model.layers[-1].set_weights(
            [array for reverse in sides for array in _lstm_arrays(module, state, number, reverse)]
        )
    return model


def _lstm_options(module: torch.nn.LSTM, number: int, reverse: bool) -> dict[str, Any]:
    return {
        "units": module.hidden_size,
        "use_bias": module.bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "return_sequences": True,
        "go_backwards": reverse,
        "name": f"lstm_l{number}{'_reverse' if reverse else ''}",
    }


def _lstm_arrays(
    module: torch.nn.LSTM, state: Mapping[str, Any], number: int, reverse: bool
) -> list[Array]:
    weights = LSTMWeights.from_torch(state, number, reverse)
    arrays = [weights.kernel, weights.recurrent_kernel, weights.bias]
    return arrays if module.bias else arrays[:2]
