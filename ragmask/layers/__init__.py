"""Layers and models with Keras's masking protocol, on Ragged, Padded and dense batches.

>>> import ragmask as rm
>>> model = rm.layers.Sequential(
...     [rm.layers.Embedding(5000, 16, mask_zero=True), rm.layers.LSTM(32)], name="guide"
... )
>>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927]])).shape
(2, 32)

Names and arguments are Keras's. The layers run forward only.
"""

from ragmask.layers.activations import relu
from ragmask.layers.bidirectional import Bidirectional
from ragmask.layers.cells import GRUCell, LSTMCell, SimpleRNNCell
from ragmask.layers.concatenate import Concatenate, concatenate
from ragmask.layers.core import Activation, Dense, Dropout, Embedding, Masking
from ragmask.layers.dot import Dot, dot
from ragmask.layers.initializers import set_random_seed
from ragmask.layers.inputs import Input, InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.merging import (
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
from ragmask.layers.operations import GetItem, Operation
from ragmask.layers.recurrent import GRU, LSTM, SimpleRNN
from ragmask.layers.registry import register
from ragmask.layers.rnn import RNN, SlowCellWarning
from ragmask.layers.stacks import StackedRNNCells
from ragmask.layers.temporal import TemporalConcat, TemporalPool, TemporalSoftmax, TemporalSplit

__all__ = [
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "RNN",
    "Activation",
    "Add",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dropout",
    "Embedding",
    "GetItem",
    "Input",
    "InputLayer",
    "Layer",
    "MaskWarning",
    "Masking",
    "Model",
    "Operation",
    "Sequential",
    "SimpleRNN",
    "SimpleRNNCell",
    "SlowCellWarning",
    "StackedRNNCells",
    "TemporalConcat",
    "TemporalPool",
    "TemporalSoftmax",
    "TemporalSplit",
    "load_model",
    "model_from_json",
    "register",
    "relu",
    "set_random_seed",
    "Average",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "Dot",
    "add",
    "average",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
    "dot",
    "concatenate",
]
