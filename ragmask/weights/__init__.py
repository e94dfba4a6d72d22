"""The weights of recurrent layers: checked, read from other libraries, saved and packed."""

from ragmask.weights.files import read_arrays, safetensors
from ragmask.weights.gru import GRUWeights
from ragmask.weights.lstm import LSTMWeights
from ragmask.weights.rnn import RNNWeights

__all__ = ["GRUWeights", "LSTMWeights", "RNNWeights", "read_arrays", "safetensors"]
