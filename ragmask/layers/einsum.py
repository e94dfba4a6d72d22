"""Products of each step's features with a kernel, as an equation says."""

import re
import string
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import activations, initializers
from ragmask.layers.batch import each, shape_of
from ragmask.layers.layer import NOTHING
from ragmask.layers.nonlinear import Activating
from ragmask.layers.options import plain_options
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape

_EQUATION = re.compile(r"(\.\.\.)?([A-Za-z]+)(\.\.\.)?,([A-Za-z]+)->(\.\.\.)?([A-Za-z]+)(\.\.\.)?")


class _Letters(NamedTuple):
    """An equation with a letter for every axis."""

    inputs: str
    kernel: str
    outputs: str

    @property
    def keeps_steps(self) -> bool:
        """Whether the axes of rows and time stay as they are."""
        steps = self.inputs[:2]
        return self.outputs[:2] == steps and not set(steps) & set(self.kernel)


@register
class EinsumDense(Activating):
    """`activation(einsum(equation, x, kernel) + bias)`.

    >>> import ragmask as rm
    >>> heads = rm.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3))
    >>> heads(rm.Ragged.from_rows([[[1.0, 2.0, 3.0]], []])).item_shape
    (2, 3)

    equation : "abc,cd->abd", "...x,xy->...y" or "ab...,bc->ac...".
    output_shape : of a row, None for what the inputs say.
    activation : as Activation's.
    bias_axes : the output's axes along which there is a bias; None for no bias.

    Of a Ragged the axes of rows and time, the first two, stay where they are, and are not the
    kernel's; of an array they may be any. Weights: kernel, and bias with 1 for axes without.
    """

    kernel: Array
    bias: Array | None

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**plain_options(options))
        found = _EQUATION.fullmatch(equation) if isinstance(equation, str) else None
        if found is None:
            raise InvalidInputError(_wrong(equation))
        before, inputs, behind, kernel, before_output, outputs, behind_output = found.groups()
        if (before, behind) != (before_output, behind_output) or (before and behind):
            raise InvalidInputError(_wrong(equation))
        for letter in [*outputs, *(bias_axes or "")]:
            if letter not in inputs + kernel or letter not in outputs:
                raise InvalidInputError(
                    f"the equation {equation!r}, with bias_axes={bias_axes!r}, has {letter!r} in "
                    "its output, and it is an axis of neither the inputs nor the kernel; or it is "
                    "no axis of the output"
                )
        self.equation, self.bias_axes = equation, bias_axes
        self.partial_output_shape = (
            (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        )
        self.activation = activation
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self._parts = _Letters(inputs, kernel, outputs)
        self._first_shape: Any = None
        self._elided = "left" if before else "right" if behind else ""
        activations.get(activation)

    def _letters(self, ndim: int) -> _Letters:
        """The equation, of inputs of so many axes."""
        inputs, kernel, outputs = self._parts
        more = ndim - len(inputs)
        if more < 0 or (more and not self._elided):
            raise InvalidInputError(
                f"layer {self.name!r}: the equation {self.equation!r} is not of inputs of {ndim} "
                "axes"
            )
        free = [one for one in string.ascii_letters if one not in inputs + kernel + outputs]
        if more > len(free):
            raise InvalidInputError(f"layer {self.name!r}: inputs of {ndim} axes are too many")
        between = "".join(free[:more])
        if self._elided == "left":
            return _Letters(between + inputs, kernel, between + outputs)
        return _Letters(inputs + between, kernel, outputs + between)

    def _sizes(self, letters: _Letters, shape: Any) -> dict[str, Any]:
        """Each axis's size: of the inputs, and of the outputs where `output_shape` says one."""
        sizes = dict(zip(letters.inputs, shape, strict=True))
        before = len(letters.outputs) - len(self._parts.outputs) if self._elided == "left" else 0
        named = letters.outputs[max(before, 1) :][: len(self.partial_output_shape)]
        if len(named) != len(self.partial_output_shape) or (
            self._elided != "right" and letters.outputs[max(before, 1) :] != named
        ):
            raise InvalidInputError(
                f"layer {self.name!r}: output_shape={self.partial_output_shape} is not that of a "
                f"row of the outputs of {self.equation!r}"
            )
        for letter, size in zip(named, self.partial_output_shape, strict=True):
            known = sizes.get(letter)
            if size is not None and known not in (None, size):
                raise InvalidInputError(
                    f"layer {self.name!r}: {letter!r} in {self.equation!r} has the size {known} in "
                    f"the inputs, and {size} in output_shape={self.partial_output_shape}"
                )
            sizes[letter] = known if size is None else size
        return sizes

    def _build_for(self, inputs: Any, options: Mapping[str, Any] = NOTHING) -> None:
        is_one = not isinstance(inputs, list | tuple | dict)
        self._first_shape = _sizes_of(inputs) if is_one else None  # for a kernel of an array's time
        super()._build_for(inputs, options)

    def build(self, input_shape: Any) -> None:
        input_shape = self._first_shape or input_shape
        if not isinstance(input_shape, tuple):
            raise InvalidInputError(
                f"layer {self.name!r} takes one batch; got shape {shown_shape(input_shape)}"
            )
        letters = self._letters(len(input_shape))
        sizes = self._sizes(letters, input_shape)
        needed = letters.kernel + (self.bias_axes or "")
        for letter in needed:
            if sizes.get(letter) is None:
                raise InvalidInputError(
                    f"layer {self.name!r}: the size of {letter!r} in {self.equation!r} is not "
                    f"known, of inputs of shape {shown_shape(input_shape)} and "
                    f"output_shape={self.partial_output_shape}"
                )
        axes: tuple[list[int], list[int]] = [], []
        for axis, letter in enumerate(letters.kernel):
            axes[letter in letters.outputs].append(axis)
        self.kernel = self.add_weight(
            tuple(sizes[letter] for letter in letters.kernel),
            initializers.over_axes(self.kernel_initializer, *axes),
            name="kernel",
        )
        self.bias = None
        if self.bias_axes:
            first = min(letters.outputs.index(letter) for letter in self.bias_axes)
            shape = tuple(
                sizes[letter] if letter in self.bias_axes else 1
                for letter in letters.outputs[first:]
            )
            self.bias = self.add_weight(shape, self.bias_initializer, name="bias")

    def call(self, inputs: Any) -> Any:
        letters = self._checked(_sizes_of(inputs), isinstance(inputs, Ragged))
        sums: Any
        if isinstance(inputs, Padded) and not letters.keeps_steps:
            sums = self._product(inputs.values, letters)
        elif isinstance(inputs, Ragged):
            flat = _Letters(letters.inputs[1:], letters.kernel, letters.outputs[1:])
            sums = each(inputs, lambda values: self._product(values, flat))
        else:
            sums = each(inputs, lambda values: self._product(values, letters))
        return activations.get(self.activation)(sums)

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        letters = self._checked(_sizes_of(inputs), inputs.kind == "ragged")
        sizes = dict(zip(letters.inputs, inputs.shape, strict=True))
        sizes |= dict(zip(letters.kernel, self.kernel.shape, strict=True))
        shape = tuple(sizes[letter] for letter in letters.outputs)
        sums = inputs.of(shape, self.kernel.dtype)
        if inputs.kind == "padded" and not letters.keeps_steps:
            sums = Spec(shape, self.kernel.dtype)
        return activations.compute_output(self.activation, sums)

    def _checked(self, shape: Any, is_ragged: bool) -> _Letters:
        letters = self._letters(len(shape))
        of_kernel = dict(zip(letters.kernel, self.kernel.shape, strict=True))
        for letter, size in zip(letters.inputs, shape, strict=True):
            if size is not None and of_kernel.get(letter, size) != size:
                raise InvalidInputError(
                    f"layer {self.name!r} was built for inputs of shape "
                    f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
                )
        if is_ragged and not letters.keeps_steps:
            raise UnsupportedTypeError(
                f"layer {self.name!r}: {self.equation!r} moves or sums up rows or time, and those "
                "of a Ragged have any number of steps: pass it to_padded()"
            )
        return letters

    def _product(self, values: Array, letters: _Letters) -> Array:
        equation = f"{letters.inputs},{letters.kernel}->{letters.outputs}"
        x = values.astype(self.kernel.dtype, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):  # padding may hold anything
            product: Array = np.einsum(equation, x, self.kernel, optimize=True)
            return product if self.bias is None else product + self.bias

    def _check_shape(self, shape: Any) -> None:
        pass  # `_checked` does, axis by axis


def _sizes_of(batch: Any) -> Any:
    """A batch's shape, with None for rows, and for time but of arrays."""
    if isinstance(batch, np.ndarray) or (isinstance(batch, Spec) and batch.kind == "dense"):
        return (None, *batch.shape[1:])
    return shape_of(batch)


def _wrong(equation: Any) -> str:
    return (
        'an equation is [X],[Y]->[Z], ...[X],[Y]->...[Z] or [X]...,[Y]->[Z]..., as "abc,cd->abd"; '
        f"got {equation!r}"
    )
