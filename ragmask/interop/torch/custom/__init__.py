"""The operations as torch knows them: custom ops on plain tensors, each with its gradient.

Each takes the steps of rows end to end, and offsets. Nothing is trusted: offsets, ids and dtypes
are checked whenever an op runs. Where it is traced, only shapes are known, and torch asks the
`fake` beside it. Gradients are ops too: torch.ops.ragmask has all of them.
"""

from ragmask.interop.torch.custom.attention import temporal_attention
from ragmask.interop.torch.custom.recurrent import RECURRENT
from ragmask.interop.torch.custom.rows import take_rows, to_padded
from ragmask.interop.torch.custom.steps import (
    checked_how,
    embedding,
    masking,
    temporal_pool,
    temporal_softmax,
)

__all__ = [
    "RECURRENT",
    "checked_how",
    "embedding",
    "masking",
    "take_rows",
    "temporal_attention",
    "temporal_pool",
    "temporal_softmax",
    "to_padded",
]
