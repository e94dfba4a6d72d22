"""Layers that convolve: each step is made of the steps around it in its row."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array, Bools, Ints
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import activations
from ragmask.layers.batch import mask_of, shape_of
from ragmask.layers.nonlinear import Activating
from ragmask.layers.options import axes_of, plain_options
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_steps, shown_shape
from ragmask.ops.conv import MOST_SPAN, convolve, steps_before
from ragmask.ops.input import Input, as_dtype
from ragmask.rows.checks import check_count
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

_PADDINGS = "valid", "same", "causal"
_CHUNK = 2**21  # numbers of the inputs of one product


class Windows:
    """Where each output step's taps lie, of rows end to end.

    counts (rows,): how many output steps a row has; firsts (n,): where the first tap of each would
    be, which may lie outside its row; steps (n,): the step that it stands for.
    """

    def __init__(self, layer: "_Conv", rows: Rows) -> None:
        self.rows, self.taps, self.dilation = rows, layer.taps, layer.dilation
        starts, lengths = rows.starts, rows.lengths
        self.counts, before = layer.counts(lengths)
        self.is_every = layer.stride == 1 and layer.padding != "valid"
        self._row = np.repeat(np.arange(len(rows)), self.counts)
        first_outputs = np.cumsum(self.counts) - self.counts
        number = np.arange(len(self._row)) - first_outputs[self._row]
        self.firsts: Ints = (starts - before)[self._row] + number * layer.stride
        self.steps: Ints = self.firsts + layer.before

    def tap(self, tap: int, part: slice = slice(None)) -> tuple[Ints, Bools]:
        """(places, whether there is a kept step of the row) that one tap meets; else place 0."""
        places, row = self.firsts[part] + tap * self.dilation, self._row[part]
        starts = self.rows.starts[row]
        inside = (places >= starts) & (places < starts + self.rows.lengths[row])
        places = np.where(inside, places, 0)
        if self.rows.mask is not None:
            inside &= self.rows.mask[places]
        return places, inside

    def mask(self, needs_all: bool) -> Bools | None:
        """The output's: of the steps it stands for, or True where every tap meets a kept one."""
        mask: Bools | None = self.rows.mask
        if mask is None or self.is_every:
            return mask
        kept: Bools = mask[self.steps]
        for tap in range(self.taps if needs_all else 0):
            kept &= self.tap(tap)[1]
        return kept


class _Conv(Activating):
    """What the convolutions share: where their windows lie, and what becomes of masks."""

    _masks_itself = True
    supports_masking = True
    kernel: Array
    bias: Array | None

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        **options: Any,
    ) -> None:
        super().__init__(**plain_options(options))
        self.taps = _one_count("kernel_size", kernel_size)
        self.stride = _one_count("strides", strides)
        self.dilation = _one_count("dilation_rate", dilation_rate)
        if self.stride > 1 and self.dilation > 1:
            raise InvalidInputError(
                f"strides={self.stride} and dilation_rate={self.dilation}: one of them is to be 1"
            )
        word = padding.lower() if isinstance(padding, str) else padding
        if word not in _PADDINGS:
            words = ", ".join(f'"{one}"' for one in _PADDINGS)
            raise InvalidInputError(f"padding must be one of {words}; got {padding!r}")
        if data_format not in (None, "channels_last"):
            raise UnsupportedTypeError(
                f"data_format={data_format!r}: the steps of a batch come before their features, "
                '"channels_last"'
            )
        self.padding, self.activation, self.use_bias = word, activation, bool(use_bias)
        self.bias_initializer = bias_initializer
        self.span = steps_before(self.taps, True, self.dilation)  # from the first tap to the last
        activations.get(activation)

    @property
    def before(self) -> int:
        """How many steps before the one that an output step stands for its first tap lies."""
        return self.span // 2 if self.padding == "same" else self.span

    def counts(self, lengths: Any) -> tuple[Any, Any]:
        """Of rows of these lengths, ints of any kind: output steps, and steps before the first."""
        if self.padding == "valid":
            counts = (lengths - self.span - 1) // self.stride + 1
            return counts * (counts > 0), 0 * lengths
        counts = (lengths + self.stride - 1) // self.stride
        if self.padding == "causal":
            return counts, 0 * lengths + self.span
        lacking = (counts - 1) * self.stride + self.span + 1 - lengths
        return counts, lacking * (lacking > 0) // 2

    def _features(self, shape: Any) -> int:
        """Of the steps that it is built for."""
        if not isinstance(shape, tuple) or len(shape) != 3 or shape[-1] is None:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); got shape "
                f"{shown_shape(shape)}"
            )
        return int(shape[-1])

    @property
    def _outputs(self) -> int:
        """Features of an output step."""
        raise NotImplementedError

    def _sums(self, rows: Rows, windows: Windows) -> Array:
        """Of compact rows of the kernel's dtype: (n, features), with the bias."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        self._check_shape(shape_of(inputs))
        given = Input.of(inputs)
        rows = as_dtype(given.rows, self.kernel.dtype)
        windows = Windows(self, rows)
        with np.errstate(invalid="ignore", over="ignore"):  # as a product of arrays
            sums = self._sums(rows, windows)
        return activations.get(self.activation)(self._given(given, windows, sums))

    def _given(self, given: Input, windows: Windows, sums: Array) -> Any:
        """Output steps as the kind of the input; masked ones become 0."""
        mask = windows.mask(needs_all=self.padding == "valid")
        if mask is not None:
            sums[~mask] = 0
        arrays = given.arrays
        layout = Layout.of_lengths(arrays, arrays.frozen(windows.counts))
        width = self.counts(given.width)[0]
        rows = Rows(arrays.read_only(sums), layout, mask, given.rows.form)
        return Input(rows, given.kind, width, given.source).give(sums, mask)

    def compute_output(self, inputs: Spec) -> Spec:
        check_steps(inputs)
        self._check_shape(inputs.input_shape)
        rows, time, _ = inputs.shape
        time = None if time is None else self.counts(time)[0]
        sums = inputs.of((rows, time, self._outputs), self.kernel.dtype)
        return activations.compute_output(self.activation, sums)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        given = Input.of(with_mask(inputs, mask))
        windows = Windows(self, given.rows.compact())
        return mask_of(self._given(given, windows, np.empty((len(windows.steps), 0))))


@register
class Conv1D(_Conv):
    """`activation(sum over taps of x[step + tap] @ kernel[tap] + bias)`, inside each row.

    >>> import ragmask as rm
    >>> conv = rm.layers.Conv1D(2, kernel_size=2, activation="relu")
    >>> conv(rm.Ragged.from_rows([[[1.0], [2.0]], [[3.0], [4.0], [5.0]], []])).lengths
    array([1, 2, 0])

    filters : features of an output step. kernel_size : taps.
    padding : "causal" and "same" give each row as many steps as it has, divided by `strides` and
        rounded up; what lies outside a row is 0. "valid" gives those whose taps all lie inside.
    strides : gives every so many of the steps. dilation_rate : steps from one tap to the next.
    groups : parts that features and filters are cut into, each of which sees its own.

    Each row gives what Keras gives for it alone, without padding. A masked step counts as 0 and
    gives 0, and stays masked; with "valid" an output step is masked if one of its taps is. Steps
    are counted from where a row begins, so that with strides a Padded gives other ones than its
    rows do, unless it is padded behind; and "same" then depends on its width.

    Weights: kernel (kernel_size, features / groups, filters), bias (filters,); outputs are of their
    dtype. As Dense's, the sums are numpy's, and so are their last bits.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            **options,
        )
        self.filters = check_count("filters", filters, 1)
        self.groups = check_count("groups", groups, 1)
        self.kernel_initializer = kernel_initializer
        if self.filters % self.groups:
            raise InvalidInputError(f"{filters} filters cannot be cut into {groups} groups")

    def build(self, input_shape: Any) -> None:
        features = self._features(input_shape)
        if features % self.groups:
            raise InvalidInputError(
                f"layer {self.name!r}: {features} features cannot be cut into {self.groups} groups"
            )
        shape = self.taps, features // self.groups, self.filters
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight((self.filters,), self.bias_initializer, name="bias")

    @property
    def _outputs(self) -> int:
        return self.filters

    def _sums(self, rows: Rows, windows: Windows) -> Array:
        """One product for as many steps as make a block, of what their taps meet."""
        taps, features, filters = self.kernel.shape
        n, values = len(windows.steps), rows.values
        of_group = filters // self.groups
        sums = np.empty((n, filters), self.kernel.dtype)
        block = max(_CHUNK // max(taps * features * self.groups, 1), 1)
        for begin in range(0, n, block):
            part = slice(begin, begin + block)
            met = np.empty((min(block, n - begin), taps, features * self.groups), values.dtype)
            for tap in range(taps):
                places, inside = windows.tap(tap, part)
                np.take(values, places, axis=0, out=met[:, tap], mode="clip")
                met[~inside, tap] = 0
            for group in range(self.groups):
                own = slice(group * features, (group + 1) * features)
                made = slice(group * of_group, (group + 1) * of_group)
                flat = met[:, :, own].reshape(len(met), taps * features)
                kernel = self.kernel[:, :, made].reshape(taps * features, of_group)
                sums[part, made] = flat @ kernel
        if self.bias is not None:
            sums += self.bias
        return sums


@register
class DepthwiseConv1D(_Conv):
    """`activation(sum over taps of x[step + tap] · kernel[tap] + bias)`, inside each row.

    >>> import ragmask as rm
    >>> conv = rm.layers.DepthwiseConv1D(2, padding="causal", depthwise_initializer="ones")
    >>> conv(rm.Ragged.from_rows([[[1.0], [2.0]], [[3.0], [4.0], [5.0]]])).values[:, 0]
    array([1., 3., 3., 7., 9.], dtype=float32)

    depth_multiplier : how many features are made of each.
    kernel_size, strides, padding, dilation_rate : as Conv1D's; "causal" is not among Keras's.

    Masks, and what each row gives, are as Conv1D's. The same rows give the same bits in any layout
    (`ragmask.temporal_conv`). Weights: kernel (kernel_size, features, depth_multiplier), bias
    (features · depth_multiplier,).
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            **options,
        )
        self.depth_multiplier = check_count("depth_multiplier", depth_multiplier, 1)
        self.depthwise_initializer = depthwise_initializer

    def build(self, input_shape: Any) -> None:
        shape = self.taps, self._features(input_shape), self.depth_multiplier
        self.kernel = self.add_weight(shape, self.depthwise_initializer, name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight((self._outputs,), self.bias_initializer, name="bias")

    @property
    def _outputs(self) -> int:
        return math.prod(self.kernel.shape[1:])

    def _sums(self, rows: Rows, windows: Windows) -> Array:
        """Those of all steps, of which with strides, or without padding, some are taken."""
        rows = as_dtype(rows, rows.arrays.computed(rows.dtype))
        values = np.repeat(rows.values, self.depth_multiplier, axis=1)
        kernel = self.kernel.reshape(self.taps, values.shape[1]).astype(values.dtype, copy=False)
        bias = None if self.bias is None else self.bias.astype(values.dtype, copy=False)
        sums = np.empty(values.shape, values.dtype)
        rows = rows.over(rows.arrays.frozen(values))
        convolve(rows, kernel, bias, self.before, self.dilation, rows.starts, sums)
        taken = sums if windows.is_every else sums[windows.steps]
        return taken.astype(self.kernel.dtype, copy=False)


Convolution1D = Conv1D


def _one_count(name: str, given: Any) -> int:
    """A number, alone or in a list, as Keras's arguments are for each axis."""
    numbers = axes_of(name, given)
    if len(numbers) != 1:
        raise InvalidInputError(f"{name} is one number, for time; got {given!r}")
    return check_count(name, numbers[0], 1, MOST_SPAN)
