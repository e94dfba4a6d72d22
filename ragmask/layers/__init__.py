"""Layers and models with Keras's masking protocol, on Ragged, Padded and dense batches.

>>> import ragmask as rm
>>> model = rm.layers.Sequential(
...     [rm.layers.Embedding(5000, 16, mask_zero=True), rm.layers.LSTM(32)], name="guide"
... )
>>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927]])).shape
(2, 32)

Names and arguments are Keras's. The layers run forward only.
"""

from typing import TYPE_CHECKING, Any

from ragmask.layers.activations import relu
from ragmask.layers.attention.multi_head import MultiHeadAttention
from ragmask.layers.attention.scored import AdditiveAttention, Attention
from ragmask.layers.convolution import Conv1D, Convolution1D, DepthwiseConv1D
from ragmask.layers.core import Dense, Embedding, Masking
from ragmask.layers.dropout import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
)
from ragmask.layers.einsum import EinsumDense
from ragmask.layers.elsewhere import missing
from ragmask.layers.initializers import set_random_seed
from ragmask.layers.inputs import Input, InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.merging.concatenate import Concatenate, concatenate
from ragmask.layers.merging.dot import Dot, dot
from ragmask.layers.merging.numbers import (
    Add,
    Average,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    maximum,
    minimum,
    multiply,
    subtract,
)
from ragmask.layers.model import Model, Sequential, load_model, model_from_json
from ragmask.layers.network import MaskWarning
from ragmask.layers.nonlinear import (
    ELU,
    Activation,
    Identity,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
)
from ragmask.layers.normalization import (
    BatchNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from ragmask.layers.operations import GetItem, Operation
from ragmask.layers.pooling import (
    GlobalAveragePooling1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
)
from ragmask.layers.recurrent.bidirectional import Bidirectional
from ragmask.layers.recurrent.cells import GRUCell, LSTMCell, SimpleRNNCell
from ragmask.layers.recurrent.layers import GRU, LSTM, SimpleRNN
from ragmask.layers.recurrent.rnn import RNN, SlowCellWarning
from ragmask.layers.recurrent.stacks import StackedRNNCells
from ragmask.layers.registry import register
from ragmask.layers.temporal import (
    RepeatVector,
    TemporalConcat,
    TemporalPool,
    TemporalSoftmax,
    TemporalSplit,
)
from ragmask.layers.wrappers import TimeDistributed, Wrapper

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "Average",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Convolution1D",
    "Dense",
    "DepthwiseConv1D",
    "Dot",
    "Dropout",
    "ELU",
    "EinsumDense",
    "Embedding",
    "GRU",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GetItem",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Identity",
    "Input",
    "InputLayer",
    "LSTM",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaskWarning",
    "Masking",
    "Maximum",
    "Minimum",
    "Model",
    "MultiHeadAttention",
    "Multiply",
    "Operation",
    "PReLU",
    "RMSNormalization",
    "RNN",
    "ReLU",
    "RepeatVector",
    "Sequential",
    "SimpleRNN",
    "SimpleRNNCell",
    "SlowCellWarning",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "Subtract",
    "TemporalConcat",
    "TemporalPool",
    "TemporalSoftmax",
    "TemporalSplit",
    "TimeDistributed",
    "UnitNormalization",
    "Wrapper",
    "add",
    "average",
    "concatenate",
    "dot",
    "load_model",
    "maximum",
    "minimum",
    "model_from_json",
    "multiply",
    "register",
    "relu",
    "set_random_seed",
    "subtract",
]

if not TYPE_CHECKING:  # to a type checker, what is missing stays missing

    def __getattr__(name: str) -> Any:
        raise missing(name)
