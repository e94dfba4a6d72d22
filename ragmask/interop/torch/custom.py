"""The operations as torch knows them: custom ops on plain tensors, each with its gradient.

Each takes the steps of rows end to end, and offsets. Nothing is trusted: offsets, ids and dtypes
are checked whenever an op runs. Where it is traced, only shapes are known, and torch asks the
`register_fake` beside it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from ragmask.arrays.coerce import values_array
from ragmask.batches.ragged import Ragged
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.memory import writable
from ragmask.kernels.cells import CELLS, Cell
from ragmask.kernels.constants import PANEL_BYTES, POOL_CODES
from ragmask.ops.embeddings import checked_ids, embedding_gradient
from ragmask.ops.embeddings import embedding as numpy_embedding
from ragmask.ops.masks import masking as numpy_masking
from ragmask.ops.pool import How, pool_gradient
from ragmask.ops.pool import temporal_pool as numpy_pool
from ragmask.ops.recurrent import recur_and_keep, recur_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.ops.softmax import temporal_softmax as numpy_softmax
from ragmask.rows.rows import Rows, add_rows

Function = TypeVar("Function", bound=Callable[..., Any])


def _op(name: str) -> Callable[[Callable[..., Any]], Any]:
    def define(function: Callable[..., Any]) -> Any:
        names = tuple(signature(function).parameters)

        @wraps(function)
        def checked(*arguments: Any) -> Any:
            _check_devices(name, names, arguments)
            if forward_ad._current_level >= 0:  # tangents would be lost without a word
                raise NotImplementedError(
                    f"ragmask::{name} has no forward-mode derivative, and one is being taken "
                    "(jvp, jacfwd, dual_level): use backward(), or torch.autograd.grad"
                )
            return function(*arguments)

        return torch.library.custom_op(f"ragmask::{name}", checked, mutates_args=())

    return define


def _fake(op: Any) -> Callable[[Function], Function]:
    """What torch asks where it traces an op: only shapes and dtypes."""

    def register(function: Function) -> Function:
        names = tuple(signature(function).parameters)

        @wraps(function)
        def checked(*arguments: Any) -> Any:
            _check_devices(op._name, names, arguments)
            return function(*arguments)

        op.register_fake(checked)
        return function

    return register


def _check_devices(op: str, names: tuple[str, ...], arguments: tuple[Any, ...]) -> None:
    first: Any = arguments[0]
    for name, tensor in zip(names, arguments, strict=True):
        if isinstance(tensor, Tensor) and tensor.device != first.device:
            raise DeviceError(
                f"{op}: {name} lives on {tensor.device}, and {names[0]} on {first.device}: move "
                "one, with .to()"
            )


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
    kept = None if mask is None else _as_is(mask)
    ragged = Ragged.from_offsets(_as_is(values), _as_is(offsets), kept)
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
    return values_array(_as_is(tensor), what)


def _as_is(tensor: Tensor) -> Any:
    """Its memory: numpy's array where it can be. Of any object, to find that out takes 6 µs."""
    plain = tensor.detach().contiguous()
    if plain.is_cpu:
        with suppress(TypeError, RuntimeError):  # whoever reads the tensor says what is wrong
            return plain.numpy()
    return plain


def _bits(values: Tensor) -> Tensor:
    """Something to copy in the place of values that numpy does not know."""
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


def _own_steps(ragged: Ragged, dtype: torch.dtype) -> Tensor:
    """The rows' steps, end to end, in memory that is nobody else's."""
    taken, arrays = ragged.compact()._rows.values, ragged._rows.arrays
    steps = tensor_of(taken)
    if not arrays.is_host or np.may_share_memory(taken, ragged._rows.values):
        steps = steps.clone()
    return steps.view(dtype)


def _array_like(tensor: Tensor | None, shape: Sequence[int], like: Tensor, what: str) -> Any:
    """The array of a tensor, if there is one, of this shape, and of another's dtype.

    A kernel does not look, and anyone may call the op of a gradient.
    """
    if tensor is None:
        return None
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype != like.dtype:
        raise InvalidInputError(
            f"{what} must be {like.dtype} {tuple(shape)}; got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return array_of(tensor, what)


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
    of_soft = _array_like(gradient, soft.shape, soft, "the gradient")
    return tensor_of(softmax_gradient(rows, of_soft))


@_fake(temporal_softmax)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@_fake(_softmax_gradient)
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

_UNSIGNED = torch.uint8, torch.uint16, torch.uint32, torch.uint64


def checked_how(how: Any) -> How:
    if how not in POOL_CODES:
        words = ", ".join(map(repr, POOL_CODES))
        raise InvalidInputError(f"how must be one of {words}; got {how!r}")
    word: How = how
    return word


@_op("temporal_pool")
def temporal_pool(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    pooled = numpy_pool(Ragged._of(rows_of(values, offsets, mask)), checked_how(how))
    return tensor_of(pooled)


@_op("temporal_pool_gradient")
def _pool_gradient(
    values: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor, how: str
) -> Tensor:
    rows = rows_of(values, offsets, mask)
    shape = len(rows), *values.shape[1:]
    of_pooled = _array_like(gradient, shape, values, "the gradient")
    return tensor_of(pool_gradient(rows, checked_how(how), of_pooled))


@_fake(temporal_pool)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    dtype = values.dtype
    if not dtype.is_floating_point and how in ("mean", "sum"):
        dtype = torch.float64 if how == "mean" else torch.int64
        dtype = torch.uint64 if how == "sum" and values.dtype in _UNSIGNED else dtype
    return values.new_empty((offsets.shape[0] - 1, *values.shape[1:]), dtype=dtype)


@_fake(_pool_gradient)
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
    vectors = numpy_embedding(rows, array_of(_bits(table), "table"))
    return tensor_of(vectors._rows.values).view(table.dtype)


@_op("embedding_gradient")
def _embedding_gradient(
    ids: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    vocabulary: int,
    mask_zero: bool,
) -> Tensor:
    rows, dtype = checked_ids(rows_of(ids, offsets, mask), vocabulary), gradient.dtype
    if dtype == torch.bfloat16:
        gradient = gradient.float()
    if mask_zero:  # a step of id 0 is masked in what was given back
        rows = rows.masked(rows.arrays.kept_nonzero(rows.mask, rows.values))
    shape = len(ids), *gradient.shape[1:]
    of_steps = _array_like(gradient, shape, gradient, "the gradient")
    return tensor_of(embedding_gradient(rows, vocabulary, of_steps)).to(dtype)


@_fake(embedding)
def _(ids: Tensor, offsets: Tensor, mask: Tensor | None, table: Tensor, mask_zero: bool) -> Tensor:
    return table.new_empty((ids.shape[0], *table.shape[1:]))


@_fake(_embedding_gradient)
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


@_fake(masking)
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
    ragged = Ragged(_as_is(_bits(values)), _as_is(starts), _as_is(lengths))
    return _own_steps(ragged, values.dtype)


@_op("add_rows")
def _add_rows(gradient: Tensor, starts: Tensor, lengths: Tensor, n: int) -> Tensor:
    """The transpose: `n` steps, each the sum of the rows' steps that lie there."""
    dtype = gradient.dtype
    if dtype == torch.bfloat16:
        gradient = gradient.float()
    none = gradient.new_empty((n, 0), dtype=torch.bool)  # what rows are checked against
    layout = Ragged(_as_is(none), _as_is(starts), _as_is(lengths))._rows.layout
    shape = layout.n_steps, *gradient.shape[1:]
    given = _array_like(gradient, shape, gradient, "the gradient")
    added = add_rows(given, layout, n)
    steps = tensor_of(added)
    return (steps.clone() if added is given else steps).to(dtype)


@_fake(take_rows)
def _(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    n: Any = torch.library.get_ctx().new_dynamic_size()
    return values.new_empty((n, *values.shape[1:]))


@_fake(_add_rows)
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
    exact = values.float() if values.dtype == torch.bfloat16 else values
    ragged = Ragged._of(rows_of(exact, offsets))
    if width < (longest := ragged._rows.layout.longest):  # what was cut off would get a gradient
        raise InvalidInputError(f"width {width} is less than the longest row, {longest}")
    padded = ragged.to_padded(width, value=value)
    return tensor_of(padded._values).to(values.dtype)


@_op("to_padded_gradient")
def _padded_gradient(gradient: Tensor, offsets: Tensor, n: int) -> Tensor:
    """The `n` steps of rows that were padded."""
    padded = Ragged.from_padded(_as_is(_bits(gradient)), lengths=_as_is(offsets.diff()))
    if padded.n_steps != n:
        raise InvalidInputError(f"the offsets are of {padded.n_steps} steps; got n={n}")
    return _own_steps(padded, gradient.dtype)


@_fake(to_padded)
def _(values: Tensor, offsets: Tensor, width: int, value: float) -> Tensor:
    return values.new_empty((offsets.shape[0] - 1, width, *values.shape[1:]))


@_fake(_padded_gradient)
def _(gradient: Tensor, offsets: Tensor, n: int) -> Tensor:
    return gradient.new_empty((n, *gradient.shape[2:]))


def _keep_padded(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, offsets, *_ = inputs
    ctx.n = values.shape[0]
    ctx.save_for_backward(offsets)


def _undo_padded(ctx: Any, gradient: Tensor) -> Any:
    return _padded_gradient(gradient, *ctx.saved_tensors, ctx.n), None, None, None


def _keep_padded_gradient(ctx: Any, inputs: Any, output: Tensor) -> None:
    gradient, offsets, _ = inputs
    ctx.width = gradient.shape[1]
    ctx.save_for_backward(offsets)


def _undo_padded_gradient(ctx: Any, gradient: Tensor) -> Any:
    return to_padded(gradient, *ctx.saved_tensors, ctx.width, 0), None, None


to_padded.register_autograd(_undo_padded, setup_context=_keep_padded)
_padded_gradient.register_autograd(_undo_padded_gradient, setup_context=_keep_padded_gradient)


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
        of_outputs: Tensor | None,
        of_last: Tensor | None,
        go_backwards: bool,
        wants_values: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        rows, arrays = _checked(
            cell, values, offsets, mask, kernel, recurrent_kernel, bias, initial
        )
        units = recurrent_kernel.shape[0]
        results = (
            _array_like(outputs, (len(values), units), values, "outputs"),
            _array_like(kept, (_kept_size(cell, values, units),), values, "what was kept"),
        )
        gradients = (
            _array_like(of_outputs, outputs.shape, values, "the gradient of outputs"),
            _array_like(of_last, initial.shape, values, "the gradient of the last states"),
        )
        of_x, *others = recur_gradient(
            cell, rows, *arrays, go_backwards, *results, *gradients, wants_values
        )
        of_values = values.new_empty(0) if of_x is None else tensor_of(of_x)
        first, second, third, fourth = map(tensor_of, others)
        return of_values, first, second, third, fourth

    @_fake(recurrent)
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
        kept = _kept_size(cell, values, units) if keep else 0
        return (
            values.new_empty((n, units)),
            torch.empty_like(initial, memory_format=torch.contiguous_format),
            values.new_empty((kept,)),
        )

    @_fake(gradient)
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
        of_outputs: Tensor | None,
        of_last: Tensor | None,
        go_backwards: bool,
        wants_values: bool,
    ) -> Any:
        arrays = kernel, recurrent_kernel, bias, initial
        of_values = values.new_empty(values.shape if wants_values else (0,))
        contiguous = torch.contiguous_format
        others = (torch.empty_like(one, memory_format=contiguous) for one in arrays)
        return of_values, *others

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.go_backwards, _ = inputs
        outputs, _, kept = output
        ctx.mark_non_differentiable(kept)
        ctx.set_materialize_grads(False)  # zeros for what was kept would be the most of all
        ctx.save_for_backward(*tensors, outputs, kept)

    def undo(ctx: Any, of_outputs: Tensor | None, of_last: Tensor | None, _: Any) -> Any:
        wants = ctx.needs_input_grad[0]
        of_values, *others = gradient(
            *ctx.saved_tensors, of_outputs, of_last, ctx.go_backwards, wants
        )
        return of_values if wants else None, None, None, *others, None, None

    recurrent.register_autograd(undo, setup_context=keep)
    _no_second(gradient)
    return recurrent


def _kept_size(cell: Cell, values: Tensor, units: int) -> int:
    """How many numbers a recurrent layer keeps for its gradient."""
    if values.device.type == "cuda":
        return 0
    lanes = PANEL_BYTES // values.element_size()
    size: int = values.shape[0] * (-(-units // lanes) * lanes * cell.kept)
    return size


def _checked(
    cell: Cell,
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    initial: Tensor,
) -> tuple[Rows, tuple[Any, Any, Any, Any]]:
    """Rows and arrays that fit each other, all of one dtype."""
    names = "kernel", "recurrent_kernel", "bias", "initial_state"
    tensors = kernel, recurrent_kernel, bias, initial
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.dtype != values.dtype or values.dtype not in (torch.float32, torch.float64):
            raise UnsupportedTypeError(
                f"{cell.name}: values and weights are float32 or float64, both the same; got "
                f"{values.dtype}, and {name} of {tensor.dtype}: take x.to({tensor.dtype}), or the "
                f"layer's .to({values.dtype})"
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
    first, second, third, fourth = map(array_of, tensors, names)
    return rows, (first, second, third, fourth)


RECURRENT = {cell.name: _recurrent(cell) for cell in CELLS}
