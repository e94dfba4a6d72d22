"""Recurrent layers: an op and its gradient for each cell."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.custom.arrays import array_like, array_of, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake, no_second
from ragmask.kernels.cells import CELLS, Cell
from ragmask.ops.recurrent import kept_of_a_step, recur_and_keep, recur_gradient
from ragmask.rows.rows import Rows


class Layer(NamedTuple):
    """The tensors that a layer and its gradient begin with; initial (states, rows, units)."""

    values: Tensor
    offsets: Tensor
    mask: Tensor | None
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor
    initial: Tensor


_LAYER = ", ".join(f"Tensor{'?' if name == 'mask' else ''} {name}" for name in Layer._fields)
_FORWARD = f"({_LAYER}, bool go_backwards, bool keep) -> (Tensor, Tensor, Tensor)"
_BACKWARD = (
    f"({_LAYER}, Tensor outputs, Tensor kept, Tensor? of_outputs, Tensor? of_last, "
    "bool go_backwards, bool wants_values) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_COUNT = len(Layer._fields)


def _recurrent(cell: Cell) -> Any:
    name, _, name_of_gradient = cell.names

    @define(name, _FORWARD)
    def recurrent(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        """(outputs, last states, what the gradient takes); the states (states, rows, units)."""
        rows, arrays = _checked(cell, Layer(*arguments[:_COUNT]))
        go_backwards, keep = arguments[_COUNT:]
        outputs, last, kept = recur_and_keep(cell, rows, *arrays, go_backwards, keep)
        return tensor_of(outputs), tensor_of(last), tensor_of(kept)

    @define(name_of_gradient, _BACKWARD)
    def gradient(*arguments: Any) -> tuple[Tensor, ...]:
        layer = Layer(*arguments[:_COUNT])
        outputs, kept, of_outputs, of_last, go_backwards, wants_values = arguments[_COUNT:]
        rows, arrays = _checked(cell, layer)
        values, units = layer.values, layer.recurrent_kernel.shape[0]
        of_steps, of_states = (len(values), units), layer.initial.shape
        given = (
            array_like(outputs, of_steps, values, "outputs"),
            array_like(kept, (_kept_size(cell, values, units),), values, "what was kept"),
            array_like(of_outputs, of_steps, values, "the gradient of outputs"),
            array_like(of_last, of_states, values, "the gradient of the last states"),
        )
        of_x, *others = recur_gradient(cell, rows, *arrays, go_backwards, *given, wants_values)
        of_values = values.new_empty(0) if of_x is None else tensor_of(of_x)
        return of_values, *map(tensor_of, others)

    @fake(recurrent, _FORWARD)
    def shapes(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        layer, keep = Layer(*arguments[:_COUNT]), arguments[-1]
        n, units = layer.values.shape[0], layer.recurrent_kernel.shape[0]
        kept = _kept_size(cell, layer.values, units) if keep else 0
        new = layer.values.new_empty
        return new((n, units)), _like(layer.initial), new((kept,))

    @fake(gradient, _BACKWARD)
    def gradient_shapes(*arguments: Any) -> tuple[Tensor, ...]:
        layer, wants_values = Layer(*arguments[:_COUNT]), arguments[-1]
        of_values = layer.values.new_empty(layer.values.shape if wants_values else (0,))
        return of_values, *map(_like, layer[3:])

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
    no_second(gradient)
    return recurrent


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _kept_size(cell: Cell, values: Tensor, units: int) -> int:
    """How many numbers a recurrent layer keeps for its gradient."""
    if values.device.type == "cuda":
        return 0
    size: int = values.shape[0] * kept_of_a_step(cell, units, values.element_size())
    return size


def _checked(cell: Cell, layer: Layer) -> tuple[Rows, tuple[Any, Any, Any, Any]]:
    """Rows and arrays that fit each other, all of one dtype."""
    names, tensors = ("kernel", "recurrent_kernel", "bias", "initial_state"), layer[3:]
    values, offsets, recurrent_kernel = layer.values, layer.offsets, layer.recurrent_kernel
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
    rows = rows_of(values, offsets, layer.mask)
    first, second, third, fourth = map(array_of, tensors, names)
    return rows, (first, second, third, fourth)


RECURRENT = {cell.name: _recurrent(cell) for cell in CELLS}
