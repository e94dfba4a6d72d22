"""Attention over each row's own steps, and the layer of a transformer around it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.attention import temporal_attention
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor
from ragmask.rows.checks import check_count


class MultiheadAttention(torch.nn.Module):
    """torch.nn.MultiheadAttention on ragged rows: no padding, and no mask of it.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> attention = rt.nn.MultiheadAttention(16, num_heads=4)
    >>> _ = attention.load_state_dict(torch.nn.MultiheadAttention(16, 4).state_dict())
    >>> x = rt.RaggedTensor(torch.ones(5, 16), torch.tensor([0, 3, 3, 5]))
    >>> outputs, _ = attention(x, x, x, is_causal=True)
    >>> outputs
    RaggedTensor(3 rows, 5 steps, 16 float32, lengths 0–3, requires grad)

    embed_dim, num_heads, bias, kdim, vdim : torch's, and so are the names, shapes and first values
        of its parameters. Weights are never held, so there is no dropout of them: `dropout` must be
        0. batch_first, add_bias_kv and add_zero_attn are refused.

    `attention(query, key, value, is_causal=False, window=None) -> (outputs, None)`: key and value
    have the same rows, by default those of the query, and `outputs` the rows and mask of the query.
    is_causal, window : as `causal` and `window` of `temporal_attention`. A masked step is not seen,
    and a query that sees none has the output that zeros have.
    """

    in_proj_weight: Tensor
    q_proj_weight: Tensor
    k_proj_weight: Tensor
    v_proj_weight: Tensor
    in_proj_bias: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refused = {
            "dropout": (dropout, "weights are never held: put a Dropout behind the attention"),
            "add_bias_kv": (add_bias_kv, "a row has no other keys than its own"),
            "add_zero_attn": (add_zero_attn, "a row has no other keys than its own"),
            "batch_first": (batch_first, "it takes RaggedTensors, which lie row after row"),
        }
        for name, (given, reason) in refused.items():
            if given:
                raise UnsupportedTypeError(
                    f"MultiheadAttention has no {name}: {reason}; got {name}={given!r}"
                )
        self.embed_dim = check_count("embed_dim", embed_dim, 1)
        self.num_heads = check_count("num_heads", num_heads, 1)
        if embed_dim % num_heads:
            raise InvalidInputError(
                f"embed_dim must be a multiple of num_heads; got {embed_dim} and {num_heads}"
            )
        self.kdim = embed_dim if kdim is None else check_count("kdim", kdim, 1)
        self.vdim = embed_dim if vdim is None else check_count("vdim", vdim, 1)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        shapes = {"in_proj_weight": (3 * embed_dim, embed_dim)}
        if (self.kdim, self.vdim) != (embed_dim, embed_dim):
            sizes = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
            shapes = {f"{one}_proj_weight": (embed_dim, size) for one, size in sizes.items()}
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape, **made)))
        of_bias = torch.nn.Parameter(torch.empty(3 * embed_dim, **made)) if bias else None
        self.register_parameter("in_proj_bias", of_bias)
        self.out_proj = torch.nn.Linear(embed_dim, embed_dim, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As torch draws them."""
        for name, weight in self.named_parameters(recurse=False):
            if name.endswith("_weight"):
                torch.nn.init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            torch.nn.init.zeros_(self.in_proj_bias)
            torch.nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: RaggedTensor,
        key: RaggedTensor | None = None,
        value: RaggedTensor | None = None,
        *,
        is_causal: bool = False,
        window: int | tuple[int, int] | None = None,
    ) -> tuple[RaggedTensor, None]:
        key = query if key is None else key
        value = key if value is None else value
        given = (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        )
        for name, batch, size in given:
            check_ragged_tensor(batch, name)
            if tuple(batch.item_shape) != (size,):
                raise InvalidInputError(
                    f"{name} has steps of shape {tuple(batch.item_shape)}; they must be ({size},)"
                )
        heads = [
            self._heads(batch, *projection)
            for batch, projection in zip((query, key, value), self._projections(), strict=True)
        ]
        mixed = temporal_attention(*heads, causal=is_causal, window=window)
        return mixed.with_values(self.out_proj(mixed.values.flatten(1))), None

    def _projections(self) -> list[tuple[Tensor, Tensor | None]]:
        """(weight, bias) of query, key and value."""
        if hasattr(self, "in_proj_weight"):
            weights = list(self.in_proj_weight.chunk(3))
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        if self.in_proj_bias is None:
            return [(weight, None) for weight in weights]
        return list(zip(weights, self.in_proj_bias.chunk(3), strict=True))

    def _heads(self, batch: RaggedTensor, weight: Tensor, bias: Tensor | None) -> RaggedTensor:
        steps = torch.nn.functional.linear(cleared(batch), weight, bias)
        return batch.with_values(
            steps.view(len(steps), self.num_heads, self.embed_dim // self.num_heads)
        )

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, num_heads={self.num_heads}"


class TransformerEncoderLayer(torch.nn.Module):
    """torch.nn.TransformerEncoderLayer on ragged rows: attention, then two products of each step.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> layer = rt.nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32)
    >>> theirs = torch.nn.TransformerEncoderLayer(16, 4, 32)
    >>> _ = layer.load_state_dict(theirs.state_dict())
    >>> x = rt.RaggedTensor(torch.ones(5, 16), torch.tensor([0, 3, 3, 5]))
    >>> layer(x).item_shape
    torch.Size([16])

    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias :
        torch's, and so are the names, shapes and first values of its parameters. dropout is of what
        attention and products give, and between the products; not of attention's weights.

    `layer(src, is_causal=False) -> RaggedTensor`, of src's rows and mask. A. Vaswani et al. (2017).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if batch_first:
            raise UnsupportedTypeError(
                "TransformerEncoderLayer takes a RaggedTensor, in which steps lie row after row: "
                "leave batch_first out"
            )
        functions: dict[Any, Callable[[Tensor], Tensor]] = {
            "relu": torch.nn.functional.relu,
            "gelu": torch.nn.functional.gelu,
        }
        if not callable(activation) and activation not in functions:
            raise InvalidInputError(
                f"activation must be 'relu', 'gelu' or a function; got {activation!r}"
            )
        self.activation = activation if callable(activation) else functions[activation]
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, bias=bias, **made)
        self.linear1 = torch.nn.Linear(d_model, dim_feedforward, bias=bias, **made)
        self.dropout = torch.nn.Dropout(dropout)
        self.linear2 = torch.nn.Linear(dim_feedforward, d_model, bias=bias, **made)
        self.norm_first = bool(norm_first)
        self.norm1 = torch.nn.LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.norm2 = torch.nn.LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.dropout1, self.dropout2 = torch.nn.Dropout(dropout), torch.nn.Dropout(dropout)

    def forward(self, src: RaggedTensor, *, is_causal: bool = False) -> RaggedTensor:
        check_ragged_tensor(src, "src")
        x = src.with_values(cleared(src))
        if self.norm_first:
            x = x.with_values(
                x.values + self._attend(x.with_values(self.norm1(x.values)), is_causal)
            )
            return x.with_values(x.values + self._each_step(self.norm2(x.values)))
        x = x.with_values(self.norm1(x.values + self._attend(x, is_causal)))
        return x.with_values(self.norm2(x.values + self._each_step(x.values)))

    def _attend(self, x: RaggedTensor, is_causal: bool) -> Tensor:
        attended: Tensor = self.dropout1(self.self_attn(x, is_causal=is_causal)[0].values)
        return attended

    def _each_step(self, values: Tensor) -> Tensor:
        inner = self.dropout(self.activation(self.linear1(values)))
        outer: Tensor = self.dropout2(self.linear2(inner))
        return outer


def cleared(x: RaggedTensor) -> Tensor:
    """The values, 0 where masked: no product's gradient may see what lies there."""
    if x.mask is None:
        return x.values
    return torch.where(x.mask.view(-1, *[1] * len(x.item_shape)), x.values, 0)
