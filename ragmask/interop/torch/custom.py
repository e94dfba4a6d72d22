"""The operations as torch knows them: custom ops on plain tensors, each with its gradient.

Each takes the steps of rows end to end, and offsets. Nothing is trusted: offsets, ids and dtypes
are checked whenever an op runs. Where it is traced, only shapes are known, and torch asks the
`register_fake` beside it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragmask.arrays.coerce import values_array
from ragmask.batches.ragged import Ragged
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.memory import writable
from ragmask.kernels.cells import CELLS, Cell
from ragmask.kernels.constants import PANEL_BYTES
from ragmask.ops.embeddings import checked_ids, embedding_gradient
from ragmask.ops.embeddings import embedding as numpy_embedding
from ragmask.ops.masks import masking as numpy_masking
from ragmask.ops.pool import pool_gradient
from ragmask.ops.pool import temporal_pool as numpy_pool
from ragmask.ops.recurrent import recur_and_keep, recur_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.ops.softmax import temporal_softmax as numpy_softmax
from ragmask.rows.rows import Rows, add_rows


def _op(name: str) -> Callable[[Callable[..., Any]], Any]:
    return torch.library.custom_op(f"ragmask::{name}", mutates_args=())


def _no_second(op: Any) -> None:
    """What a gradient's own gradient says."""

    def raises(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError(
            f"{op._qualname} has no gradient: second derivatives through ragmask's ops are not "
            "there; take create_graph=False, or detach what came through them"
        )

    op.register_autograd(raises)


def rows_of(values: Tensor, offsets: Tensor, mask: Tensor | None = None) -> Rows:
    """Rows over the tensors' own memory, once they are checked."""
    for name, tensor in (("offsets", offsets), ("mask", mask)):
        if tensor is not None and tensor.device != values.device:
            raise DeviceError(
                f"{name} live on {tensor.device}, and the values on {values.device}: move one, "
                "with .to()"
            )
    kept = None if mask is None else mask.detach()
    ragged = Ragged.from_offsets(values.detach().contiguous(), offsets.detach(), kept)
    if not ragged.is_compact:
        raise InvalidInputError(
            f"offsets must go from 0 to {len(values)}, the number of steps; they cover "
            f"{ragged.n_steps}"
        )
    return ragged._rows


def tensor_of(array: Any) -> Tensor:
    """A tensor over the memory of an op's result."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(writable(array))
    native = array.native() if hasattr(array, "native") else array
    tensor: Tensor = torch.as_tensor(native)
    return tensor


def array_of(tensor: Tensor, what: str) -> Any:
    return values_array(tensor.detach().contiguous(), what)


# -- softmax


@_op("temporal_softmax")
def temporal_softmax(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    soft = numpy_softmax(Ragged._of(rows_of(values, offsets, mask)))
    return tensor_of(soft._rows.values)


@_op("temporal_softmax_gradient")
def _softmax_gradient(
    soft: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor
) -> Tensor:
    rows = rows_of(soft, offsets, mask)
    return tensor_of(softmax_gradient(rows, array_of(gradient, "the gradient")))


@temporal_softmax.register_fake
def _(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@_softmax_gradient.register_fake
def _(soft: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor) -> Tensor:
    return torch.empty_like(soft)


def _keep_softmax(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, offsets, mask = inputs
    ctx.save_for_backward(output, offsets, mask)


def _undo_softmax(ctx: Any, gradient: Tensor) -> Any:
    return _softmax_gradient(*ctx.saved_tensors, gradient), None, None


temporal_softmax.register_autograd(_undo_softmax, setup_context=_keep_softmax)
_no_second(_softmax_gradient)


# -- pooling


@_op("temporal_pool")
def temporal_pool(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    how_: Any = how
    pooled = numpy_pool(Ragged._of(rows_of(values, offsets, mask)), how_)
    return tensor_of(pooled)


@_op("temporal_pool_gradient")
def _pool_gradient(
    values: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor, how: str
) -> Tensor:
    how_: Any = how
    rows = rows_of(values, offsets, mask)
    return tensor_of(pool_gradient(rows, how_, array_of(gradient, "the gradient")))


@temporal_pool.register_fake
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    return values.new_empty((offsets.shape[0] - 1, *values.shape[1:]))


@_pool_gradient.register_fake
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor, how: str) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _keep_pool(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, offsets, mask, ctx.how = inputs
    ctx.save_for_backward(values, offsets, mask)


def _undo_pool(ctx: Any, gradient: Tensor) -> Any:
    return _pool_gradient(*ctx.saved_tensors, gradient, ctx.how), None, None, None


temporal_pool.register_autograd(_undo_pool, setup_context=_keep_pool)
_no_second(_pool_gradient)


# -- embedding


@_op("embedding")
def embedding(
    ids: Tensor, offsets: Tensor, mask: Tensor | None, table: Tensor, mask_zero: bool
) -> Tensor:
    rows = Ragged._of(rows_of(ids, offsets, mask))
    return tensor_of(numpy_embedding(rows, array_of(table, "table"))._rows.values)


@_op("embedding_gradient")
def _embedding_gradient(
    ids: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    vocabulary: int,
    mask_zero: bool,
) -> Tensor:
    rows = checked_ids(rows_of(ids, offsets, mask), vocabulary)
    if mask_zero:  # a step of id 0 is masked in what was given back
        rows = rows.masked(rows.arrays.kept_nonzero(rows.mask, rows.values))
    of_steps = array_of(gradient, "the gradient")
    return tensor_of(embedding_gradient(rows, vocabulary, of_steps))


@embedding.register_fake
def _(ids: Tensor, offsets: Tensor, mask: Tensor | None, table: Tensor, mask_zero: bool) -> Tensor:
    return table.new_empty((ids.shape[0], *table.shape[1:]))


@_embedding_gradient.register_fake
def _(
    ids: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    vocabulary: int,
    mask_zero: bool,
) -> Tensor:
    return gradient.new_empty((vocabulary, *gradient.shape[1:]))


def _keep_embedding(ctx: Any, inputs: Any, output: Tensor) -> None:
    ids, offsets, mask, table, ctx.mask_zero = inputs
    ctx.vocabulary = table.shape[0]
    ctx.save_for_backward(ids, offsets, mask)


def _undo_embedding(ctx: Any, gradient: Tensor) -> Any:
    of_table = _embedding_gradient(*ctx.saved_tensors, gradient, ctx.vocabulary, ctx.mask_zero)
    return None, None, None, of_table, None


embedding.register_autograd(_undo_embedding, setup_context=_keep_embedding)
_no_second(_embedding_gradient)


# -- masking


@_op("masking")
def masking(
    values: Tensor, offsets: Tensor, mask: Tensor | None, mask_value: float
) -> tuple[Tensor, Tensor]:
    given = Ragged._of(rows_of(values, offsets, mask))
    kept = numpy_masking(given, mask_value)._rows
    return tensor_of(kept.values), tensor_of(kept.mask)


@masking.register_fake
def _(
    values: Tensor, offsets: Tensor, mask: Tensor | None, mask_value: float
) -> tuple[Tensor, Tensor]:
    empty = torch.empty_like(values, memory_format=torch.contiguous_format)
    return empty, values.new_empty(values.shape[:1], dtype=torch.bool)


def _keep_masking(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _undo_masking(ctx: Any, gradient: Tensor, _: Any) -> Any:
    (kept,) = ctx.saved_tensors
    kept = kept.view(-1, *[1] * (gradient.ndim - 1))
    return torch.where(kept, gradient, 0), None, None, None


masking.register_autograd(_undo_masking, setup_context=_keep_masking)


# -- rows taken out of others, and padding: copies, whose gradients are copies


@_op("take_rows")
def take_rows(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """The steps of rows that lie anywhere in `values`, end to end."""
    ragged = Ragged(values.detach().contiguous(), starts.detach(), lengths.detach())
    taken = ragged.compact()._rows.values
    if np.shares_memory(taken, ragged._rows.values) if ragged._rows.arrays.is_host else True:
        return tensor_of(taken).clone()
    return tensor_of(taken)


@_op("add_rows")
def _add_rows(gradient: Tensor, starts: Tensor, lengths: Tensor, n: int) -> Tensor:
    """The transpose: `n` steps, each the sum of the rows' steps that lie there."""
    none = gradient.new_empty((n, 0), dtype=torch.bool)  # what rows are checked against
    layout = Ragged(none, starts.detach(), lengths.detach())._rows.layout
    given = array_of(gradient, "the gradient")
    added = add_rows(given, layout, n)
    return tensor_of(added).clone() if added is given else tensor_of(added)


@take_rows.register_fake
def _(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    n: Any = torch.library.get_ctx().new_dynamic_size()
    return values.new_empty((n, *values.shape[1:]))


@_add_rows.register_fake
def _(gradient: Tensor, starts: Tensor, lengths: Tensor, n: int) -> Tensor:
    return gradient.new_empty((n, *gradient.shape[1:]))


def _keep_take(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, starts, lengths = inputs
    ctx.n = values.shape[0]
    ctx.save_for_backward(starts, lengths)


def _undo_take(ctx: Any, gradient: Tensor) -> Any:
    return _add_rows(gradient, *ctx.saved_tensors, ctx.n), None, None


def _keep_add(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _undo_add(ctx: Any, gradient: Tensor) -> Any:
    return take_rows(gradient, *ctx.saved_tensors), None, None, None


take_rows.register_autograd(_undo_take, setup_context=_keep_take)
_add_rows.register_autograd(_undo_add, setup_context=_keep_add)


@_op("to_padded")
def to_padded(values: Tensor, offsets: Tensor, width: int, value: float) -> Tensor:
    padded = Ragged._of(rows_of(values, offsets)).to_padded(width, value=value)
    return tensor_of(padded._values)


@to_padded.register_fake
def _(values: Tensor, offsets: Tensor, width: int, value: float) -> Tensor:
    return values.new_empty((offsets.shape[0] - 1, width, *values.shape[1:]))


def _keep_padded(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, offsets, ctx.width, _ = inputs
    ctx.save_for_backward(offsets)


def _undo_padded(ctx: Any, gradient: Tensor) -> Any:
    (offsets,) = ctx.saved_tensors
    starts = torch.arange(gradient.shape[0], device=offsets.device) * ctx.width
    return take_rows(gradient.flatten(0, 1), starts, offsets.diff()), None, None, None


to_padded.register_autograd(_undo_padded, setup_context=_keep_padded)


# -- recurrent layers


def _recurrent(cell: Cell) -> Any:
    name = cell.name.lower()

    @_op(name)
    def recurrent(
        values: Tensor,
        offsets: Tensor,
        mask: Tensor | None,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        bias: Tensor,
        initial: Tensor,
        go_backwards: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(outputs, last states, what the gradient takes); the states (states, rows, units)."""
        rows, arrays = _checked(
            cell, values, offsets, mask, kernel, recurrent_kernel, bias, initial
        )
        outputs, last, kept = recur_and_keep(cell, rows, *arrays, go_backwards, keep)
        return tensor_of(outputs), tensor_of(last), tensor_of(kept)

    @_op(f"{name}_gradient")
    def gradient(
        values: Tensor,
        offsets: Tensor,
        mask: Tensor | None,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        bias: Tensor,
        initial: Tensor,
        outputs: Tensor,
        kept: Tensor,
        of_outputs: Tensor,
        of_last: Tensor,
        go_backwards: bool,
        wants_values: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        rows, arrays = _checked(
            cell, values, offsets, mask, kernel, recurrent_kernel, bias, initial
        )
        given = [array_of(one, "a gradient") for one in (outputs, kept, of_outputs, of_last)]
        of_values, *others = recur_gradient(cell, rows, *arrays, go_backwards, *given, wants_values)
        if of_values is None:
            return values.new_empty(0), *map(tensor_of, others)
        return tensor_of(of_values), *map(tensor_of, others)

    @recurrent.register_fake
    def _(
        values: Tensor,
        offsets: Tensor,
        mask: Tensor | None,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        bias: Tensor,
        initial: Tensor,
        go_backwards: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, units = values.shape[0], recurrent_kernel.shape[0]
        lanes = PANEL_BYTES // values.element_size()
        of_step = -(-units // lanes) * lanes * cell.kept
        kept = n * of_step if keep and values.device.type == "cpu" else 0
        return (
            values.new_empty((n, units)),
            torch.empty_like(initial, memory_format=torch.contiguous_format),
            values.new_empty((kept,)),
        )

    @gradient.register_fake
    def _(
        values: Tensor,
        offsets: Tensor,
        mask: Tensor | None,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        bias: Tensor,
        initial: Tensor,
        outputs: Tensor,
        kept: Tensor,
        of_outputs: Tensor,
        of_last: Tensor,
        go_backwards: bool,
        wants_values: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        arrays = kernel, recurrent_kernel, bias, initial
        return (
            values.new_empty(values.shape if wants_values else (0,)),
            *(torch.empty_like(one, memory_format=torch.contiguous_format) for one in arrays),
        )

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.go_backwards, _ = inputs
        outputs, _, kept = output
        ctx.mark_non_differentiable(kept)
        ctx.save_for_backward(*tensors, outputs, kept)

    def undo(ctx: Any, of_outputs: Tensor, of_last: Tensor, _: Any) -> Any:
        wants = ctx.needs_input_grad[0]
        of_values, *others = gradient(
            *ctx.saved_tensors, of_outputs, of_last, ctx.go_backwards, wants
        )
        return of_values if wants else None, None, None, *others, None, None

    recurrent.register_autograd(undo, setup_context=keep)
    _no_second(gradient)
    return recurrent


def _checked(
    cell: Cell,
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    initial: Tensor,
) -> tuple[Rows, list[Any]]:
    """Rows and arrays that fit each other, all of one dtype."""
    names = "kernel", "recurrent_kernel", "bias", "initial_state"
    tensors = kernel, recurrent_kernel, bias, initial
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.device != values.device:
            raise DeviceError(
                f"{name} lives on {tensor.device}, and the values on {values.device}: move one, "
                "with .to()"
            )
        if tensor.dtype != values.dtype or values.dtype not in (torch.float32, torch.float64):
            raise UnsupportedTypeError(
                f"{cell.name}: values and weights are float32 or float64, both the same; got "
                f"{values.dtype}, and {name} of {tensor.dtype}"
            )
    if recurrent_kernel.ndim != 2 or values.ndim != 2:
        raise InvalidInputError(
            f"{cell.name}: values are (n_steps, features) and recurrent_kernel (units, columns); "
            f"got {tuple(values.shape)} and {tuple(recurrent_kernel.shape)}"
        )
    units, columns = recurrent_kernel.shape[0], cell.gates * recurrent_kernel.shape[0]
    wanted = {
        "kernel": (values.shape[1], columns),
        "recurrent_kernel": (units, columns),
        "bias": (2, columns) if cell.apart else (columns,),
        "initial_state": (cell.states, offsets.shape[0] - 1, units),
    }
    for (name, shape), tensor in zip(wanted.items(), tensors, strict=True):
        if tuple(tensor.shape) != shape:
            raise InvalidInputError(
                f"{cell.name}: {name} has shape {tuple(tensor.shape)}; {shape} is needed for "
                f"values of {values.shape[1]} features, {offsets.shape[0] - 1} rows and {units} "
                "units"
            )
    if units == 0:
        raise InvalidInputError(f"{cell.name}: a layer of 0 units has no outputs")
    rows = rows_of(values, offsets, mask)
    return rows, [array_of(one, name) for name, one in zip(names, tensors, strict=True)]


RECURRENT = {cell.name: _recurrent(cell) for cell in CELLS}
