"""Recurrent layers and their cells, in kernels where there are some, else step by step."""

from ragmask.layers.recurrent.layers import GRU, KINDS, LSTM, Recurrent, SimpleRNN

__all__ = ["GRU", "KINDS", "LSTM", "Recurrent", "SimpleRNN"]
