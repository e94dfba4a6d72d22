"""The operations as torch knows them: custom ops on plain tensors, each with its gradient.

Each takes the steps of rows end to end, and offsets. Nothing is trusted: offsets, ids and dtypes
are checked whenever an op runs. Where it is traced, only shapes are known, and torch asks the
`fake` beside it. Gradients are ops too: torch.ops.ragmask has all of them.
"""

from ragmask.interop.torch.custom.attention import temporal_attention
from ragmask.interop.torch.custom.conv import temporal_conv
from ragmask.interop.torch.custom.order import (
    temporal_argsort,
    temporal_cumsum,
    temporal_flip,
)
from ragmask.interop.torch.custom.recurrent import RECURRENT
from ragmask.interop.torch.custom.repeat import temporal_repeat
from ragmask.interop.torch.custom.rows import take_rows, to_padded
from ragmask.interop.torch.custom.steps import (
    embedding,
    masking,
    temporal_pool,
    temporal_softmax,
)

__all__ = [
    "RECURRENT",
    "embedding",
    "masking",
    "take_rows",
    "temporal_conv",
    "temporal_argsort",
    "temporal_cumsum",
    "temporal_flip",
    "temporal_attention",
    "temporal_pool",
    "temporal_repeat",
    "temporal_softmax",
    "to_padded",
]
