"""The weights of recurrent layers: checked, read from other libraries, saved and packed."""

from ragmask.weights.files import read_arrays, safetensors
from ragmask.weights.lstm import LSTMWeights

__all__ = ["LSTMWeights", "read_arrays", "safetensors"]
