"""Modules with the names, shapes and first weights of torch's, on RaggedTensors."""

from ragmask.interop.torch.nn.attention import MultiheadAttention, TransformerEncoderLayer
from ragmask.interop.torch.nn.embedding import Embedding
from ragmask.interop.torch.nn.recurrent import GRU, LSTM, RNN

__all__ = ["Embedding", "GRU", "LSTM", "MultiheadAttention", "RNN", "TransformerEncoderLayer"]
