"""Training on ragged rows in torch, without padding; tensors to Ragged and back; its DataLoader.

>>> import torch
>>> import ragmask as rm
>>> import ragmask.interop.torch as rt
>>> x = rt.RaggedTensor.from_ragged(rm.Ragged.from_rows([[1.0, 2.0, 3.0], [4.0]]))
>>> values = x.values.requires_grad_()
>>> rt.temporal_pool(x, "mean").sum().backward()
>>> values.grad
tensor([0.3333, 0.3333, 0.3333, 1.0000], dtype=torch.float64)
>>> rt.to_padded(rm.Ragged.from_rows([[1, 2, 3], [4]]))[0]
tensor([[1, 2, 3],
        [4, 0, 0]])

RaggedTensor, the ops on it, `nn` and the losses also take tensors on a CUDA device, and run there
on torch's current stream; what converts Ragged to other tensors and back is for the CPU. Nothing
is moved from one to the other. Needs the extra `torch`.
"""

from ragmask.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.torch needs torch, which is not installed: pip install "ragmask[torch]"'
    ) from error

from ragmask.interop.torch import nn
from ragmask.interop.torch.attention import temporal_attention, varlen_attn
from ragmask.interop.torch.dataset import StreamDataset, TensorBatch, TensorList, to_tensors
from ragmask.interop.torch.functional import (
    concatenate,
    embedding,
    gru,
    lstm,
    masking,
    rnn,
    temporal_concat,
    temporal_conv,
    temporal_pool,
    temporal_repeat,
    temporal_softmax,
    temporal_split,
)
from ragmask.interop.torch.losses import binary_cross_entropy, cross_entropy, mean_squared_error
from ragmask.interop.torch.models import from_torch
from ragmask.interop.torch.order import (
    temporal_argsort,
    temporal_cumsum,
    temporal_flip,
    temporal_sort,
    temporal_topk,
)
from ragmask.interop.torch.packed import from_packed, to_packed
from ragmask.interop.torch.ragged import RaggedTensor
from ragmask.interop.torch.tensors import from_jagged, to_jagged, to_padded
from ragmask.interop.torch.trained import TorchModel, to_torch

__all__ = [
    "RaggedTensor",
    "binary_cross_entropy",
    "concatenate",
    "cross_entropy",
    "embedding",
    "gru",
    "lstm",
    "masking",
    "mean_squared_error",
    "nn",
    "rnn",
    "temporal_argsort",
    "temporal_attention",
    "temporal_concat",
    "temporal_conv",
    "temporal_cumsum",
    "temporal_flip",
    "temporal_pool",
    "temporal_repeat",
    "temporal_softmax",
    "temporal_sort",
    "temporal_split",
    "temporal_topk",
    "StreamDataset",
    "TensorBatch",
    "TensorList",
    "TorchModel",
    "from_jagged",
    "from_packed",
    "from_torch",
    "to_jagged",
    "to_packed",
    "to_padded",
    "to_tensors",
    "to_torch",
    "varlen_attn",
]
