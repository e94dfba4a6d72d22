"""Vectors for ids."""

from typing import Any

import torch

from ragmask.interop.torch import functional
from ragmask.interop.torch.ragged import RaggedTensor
from ragmask.rows.checks import check_count


class Embedding(torch.nn.Module):
    """torch.nn.Embedding for ragged ids: `weight` (num_embeddings, embedding_dim).

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> ids = rt.RaggedTensor(torch.tensor([1, 0, 2]), torch.tensor([0, 2, 3]))
    >>> rt.nn.Embedding(10, 4, mask_zero=True)(ids)
    RaggedTensor(2 rows, 3 steps, 4 float32, lengths 1–2, masked, requires grad)

    mask_zero : the steps of id 0 are masked in what it gives.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mask_zero: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_count("num_embeddings", num_embeddings)
        self.embedding_dim = check_count("embedding_dim", embedding_dim)
        self.mask_zero = bool(mask_zero)
        shape = num_embeddings, embedding_dim
        self.weight = torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.weight)

    def forward(self, ids: RaggedTensor) -> RaggedTensor:
        return functional.embedding(ids, self.weight, mask_zero=self.mask_zero)

    def extra_repr(self) -> str:
        masks = ", mask_zero=True" if self.mask_zero else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{masks}"
