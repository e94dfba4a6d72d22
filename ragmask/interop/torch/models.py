"""torch's modules, and ragmask's own for torch, as models of layers."""

from collections.abc import Iterable
from typing import Any

import torch

from ragmask import layers
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.modules import (
    RECURRENT,
    Step,
    attention_step,
    recurrent_steps,
    steps_of,
)
from ragmask.interop.torch.trained import TorchModel, from_trained


def from_torch(module: torch.nn.Module) -> layers.Model:
    """What `to_torch` made, as a model with the weights it has now; or modules of torch's own.

    A Sequential of Embedding, LSTM, GRU, RNN, Linear, Dropout, Identity, ReLU, Tanh, Sigmoid, GELU,
    Softmax(dim=-1), and of such Sequentials; or an LSTM, GRU or RNN alone. Those of `rt.nn` too. An
    nn.MultiheadAttention alone becomes that of steps to the steps of their own row.

    >>> import ragmask as rm
    >>> import torch
    >>> from ragmask.interop.torch import from_torch
    >>> model = from_torch(torch.nn.LSTM(12, 8, num_layers=2, bidirectional=True))
    >>> model
    Sequential('lstm', 2 layers, 2,944 numbers)
    >>> model(rm.Ragged.from_rows([[[0.5] * 12, [0.25] * 12], []])).item_shape
    (16,)
    >>> embedding = torch.nn.Embedding(5000, 16, padding_idx=0)
    >>> tagger = torch.nn.Sequential(embedding, torch.nn.LSTM(16, 8), torch.nn.Linear(8, 3))
    >>> model = from_torch(tagger)
    >>> [layer.name for layer in model.layers]
    ['embedding_0', 'lstm_1_l0', 'linear_2']
    >>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8]])).lengths
    array([3, 2])

    The model takes rows of ids where an Embedding comes first, else rows of steps. A recurrent
    module gives a pair, `(outputs, states)`, which torch's own Sequential cannot hand on: what
    follows it here takes the outputs, of all steps. They are those of torch for packed rows; rows
    may be empty too. Rows come first, whatever `batch_first` says. `padding_idx=0` becomes
    `mask_zero=True`: the steps of id 0 are passed over, as padding is. The weights are copied;
    torch's two biases become one where they are always added, which they are but for a GRU's.
    Dropout between the layers of a recurrent module is for training, and left out.

    Raises UnsupportedTypeError, naming the module, for others (Flatten, LayerNorm, your own), for
    hooks, another padding_idx, a projection (proj_size), an RNN of relu, and for weights that are
    not float32 or live on another device.
    """
    if isinstance(module, TorchModel):
        return from_trained(module)
    module_: Any = module  # with the attributes of torch's own
    if isinstance(module, torch.nn.Sequential):
        return _model(steps_of(module_), type(module).__name__.lower())
    if type(module) is torch.nn.MultiheadAttention:
        return _attention(module)
    cls = next((cls for cls in RECURRENT if isinstance(module, cls)), None)
    if cls is None:
        raise UnsupportedTypeError(
            "from_torch takes what to_torch made, an nn.Sequential, or an nn.LSTM, nn.GRU, nn.RNN "
            f"or nn.MultiheadAttention; got {type(module).__name__}"
        )
    name = cls.__name__.lower()
    return _model(recurrent_steps(module_, RECURRENT[cls], name), name)


def _attention(module: torch.nn.MultiheadAttention) -> layers.Model:
    step = attention_step(module)
    entry = layers.Input((None, *(step.item_shape or ())), "float32")
    model = layers.Model(entry, step.layer(entry, entry), name="attention")
    step.layer.set_weights(step.arrays)
    return model


def _model(steps: Iterable[Step], name: str) -> layers.Sequential:
    steps = list(steps)
    first = next((step for step in steps if step.item_shape is not None), None)
    if first is None:
        raise InvalidInputError(
            "no module says what a step is: begin with an Embedding, a Linear or a recurrent one"
        )
    are_ids = isinstance(first.layer, layers.Embedding)
    entry = layers.Input((None, *(first.item_shape or ())), "int64" if are_ids else "float32")
    model = layers.Sequential([entry], name=name)
    for step in steps:
        model.add(step.layer)
        if step.arrays:
            step.layer.set_weights(step.arrays)
    return model
