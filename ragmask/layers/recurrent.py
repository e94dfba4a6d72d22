"""Recurrent layers: LSTM, GRU and SimpleRNN."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.cells import Cell
from ragmask.layers import initializers
from ragmask.layers.batch import mask_of, reverse
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_floats, check_steps, features_of, shown_shape
from ragmask.ops.gru import gru
from ragmask.ops.lstm import lstm
from ragmask.ops.rnn import rnn
from ragmask.ops.states import by_name
from ragmask.rows.checks import check_count
from ragmask.weights import GRUWeights, LSTMWeights, RNNWeights
from ragmask.weights.recurrent import RecurrentWeights

_ACTIVATIONS = {"activation": "tanh", "recurrent_activation": "sigmoid"}


class Recurrent(Layer):
    """What is the same in all recurrent layers; each says its op, and the weights that it takes."""

    _masks_itself = True
    supports_masking = True
    weights_class: ClassVar[type[RecurrentWeights]]
    op: ClassVar[Callable[..., tuple[Any, ...]]]
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None

    def __init__(
        self,
        units: int,
        use_bias: bool,
        initializers: tuple[Any, Any, Any],
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units, self.use_bias = check_count("units", units, 1), bool(use_bias)
        self.initializers = initializers
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self._packed: tuple[int, Any] | None = None  # of which version

    def _check_activations(self, **given: Any) -> None:
        known = {name: _ACTIVATIONS[name] for name in given}
        if given != known:
            are = "activations are" if len(known) > 1 else "activation is"
            raise UnsupportedTypeError(
                f"layer {self.name!r}: of {self.kind} layers the {are} "
                f"{' and '.join(known.values())}; got {' and '.join(map(repr, given.values()))}"
            )

    @property
    def kind(self) -> str:
        """Which of the recurrent layers it is."""
        return next(cls.__name__ for cls in KINDS if isinstance(self, cls))

    def build(self, input_shape: Any) -> None:
        features = features_of(self.name, input_shape)
        if len(input_shape) < 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); got an "
                f"array (rows, {features})"
            )
        of_kernel, of_recurrent, of_bias = self.initializers
        kernel, recurrent_kernel, bias = self.weights_class.shapes(features, self.units)
        self.kernel = self.add_weight(kernel, of_kernel, name="kernel")
        self.recurrent_kernel = self.add_weight(
            recurrent_kernel, of_recurrent, name="recurrent_kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(bias, self._first_bias(of_bias), name="bias")

    def _first_bias(self, initializer: Any) -> Any:
        return initializer

    @property
    def cell(self) -> Cell:
        """The record of what it computes at a step."""
        return self.weights_class.cell

    @property
    def cell_weights(self) -> Any:
        """Its weights as the op takes them; packed once, until `set_weights`."""
        if self._packed is None or self._packed[0] != self._version:
            arrays = list(self._own_weights.values())
            self._packed = self._version, self.weights_class.from_keras(arrays)
        return self._packed[1]

    def call(self, inputs: Any, mask: Any = None, initial_state: Any = None) -> Any:
        return self.given(*self.run(inputs, initial_state))

    def run(self, inputs: Any, initial_state: Any, op: Any = None) -> tuple[Any, ...]:
        """The op's result, sequences aligned with the input's steps."""
        result: tuple[Any, ...] = (op or type(self).op)(
            inputs,
            self.cell_weights,
            initial_state=initial_state,
            go_backwards=self.go_backwards,
            zero_output_for_mask=self.zero_output_for_mask,
            outputs=self.return_sequences,
        )
        return result

    def given(self, outputs: Any, *states: Any) -> Any:
        """What it gives of the op's result: sequences in the order they were computed in."""
        if self.return_sequences and self.go_backwards:
            outputs = reverse(outputs)
        return self._returned(outputs, states)

    def _returned(self, outputs: Any, states: tuple[Any, ...]) -> Any:
        output = outputs if self.return_sequences else states[0]
        return [output, *states] if self.return_state else output

    def compute_output(self, inputs: Spec, initial_state: Any = None) -> Any:
        outputs, *states = self.output_and_states(inputs, initial_state)
        return self._returned(outputs, tuple(states))

    def output_and_states(self, inputs: Spec, initial_state: Any) -> tuple[Spec, ...]:
        """What is known of the outputs of all steps, and of each last state."""
        check_steps(inputs)
        features = len(self.kernel)
        if inputs.item_shape != (features,):
            raise InvalidInputError(
                f"x has steps of shape {inputs.item_shape}; the weights were made for ({features},)"
            )
        check_floats(inputs)
        if initial_state is not None:
            self._check_states(by_name(initial_state, self.cell, f"(rows, {self.units})"))
        last = Spec((None, self.units), inputs.dtype)
        return inputs.of_items(self.units), *[last] * self.cell.states

    def _check_states(self, states: dict[str, Any]) -> None:
        for name, state in states.items():
            shape = tuple(np.shape(state)) if not isinstance(state, Spec) else state.input_shape
            if len(shape) != 2 or shape[1] != self.units:
                raise InvalidInputError(
                    f"initial_state's {name} has shape {shown_shape(shape)}; (rows, units) is "
                    f"(·, {self.units})"
                )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = None
        if self.return_sequences and mask is not None:
            kept = mask_of(reverse(with_mask(inputs, mask))) if self.go_backwards else mask
        return [kept, *[None] * self.cell.states] if self.return_state else kept


@register
class LSTM(Recurrent):
    """Long short-term memory over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.LSTM(3)(batch).shape
    (3, 3)
    >>> rm.layers.LSTM(3, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    units : features of the output.
    return_sequences : an output for each step, with the input's mask; by default the last alone,
        (rows, units).
    return_state : a list: the output, and the last h and c.
    go_backwards : reads rows from their ends; sequences come in the order they were computed in.
    zero_output_for_mask : outputs of masked steps are 0, not the one before them.
    unit_forget_bias : the forget gates' biases begin with 1.

    `layer(x, initial_state=[h, c])`: each (rows, units). A row's outputs before its first kept
    step are 0, whatever the initial state. Weights: kernel (features, 4 · units),
    recurrent_kernel (units, 4 · units), bias (4 · units,); gates i, f, c, o.
    """

    weights_class = LSTMWeights
    op = staticmethod(lstm)

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            zero_output_for_mask,
            **options,
        )
        self._check_activations(activation=activation, recurrent_activation=recurrent_activation)
        self.unit_forget_bias = bool(unit_forget_bias)

    def _first_bias(self, initializer: Any) -> Any:
        def bias(shape: tuple[int, ...]) -> Array:
            first = initializers.make(initializer, shape).astype(np.float32)
            if self.unit_forget_bias:
                first[self.units : 2 * self.units] = 1
            return first

        return bias

    @property
    def lstm_weights(self) -> LSTMWeights:
        """`cell_weights`, which for an LSTM are these."""
        weights: LSTMWeights = self.cell_weights
        return weights


@register
class GRU(Recurrent):
    """Gated recurrent units over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.GRU(3, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    units, return_sequences, go_backwards, zero_output_for_mask : as for `LSTM`.
    return_state : a list: the output, and the last h.
    reset_after : True alone: the reset gate multiplies the product with the outputs before.

    `layer(x, initial_state=h)`: (rows, units), or [h]. A row's outputs before its first kept step
    are 0, whatever the initial state. Weights: kernel (features, 3 · units), recurrent_kernel
    (units, 3 · units), bias (2, 3 · units), of the input and of the outputs before; gates z, r, h.
    """

    weights_class = GRUWeights
    op = staticmethod(gru)

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        reset_after: bool = True,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            zero_output_for_mask,
            **options,
        )
        self._check_activations(activation=activation, recurrent_activation=recurrent_activation)
        if not reset_after:
            raise UnsupportedTypeError(
                f"layer {self.name!r}: a GRU with reset_after=False computes something else, and "
                "no weights make the one of the other: train it with reset_after=True, Keras's "
                "default"
            )


@register
class SimpleRNN(Recurrent):
    """A simple recurrent layer, tanh of all sums, over the kept steps of each row.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.SimpleRNN(3)(batch).shape
    (3, 3)

    units, return_sequences, go_backwards, zero_output_for_mask : as for `LSTM`.
    activation : "tanh" alone, which is Keras's default.
    return_state : a list: the output, and the last h.

    `layer(x, initial_state=h)`: (rows, units), or [h]. A row's outputs before its first kept step
    are 0, whatever the initial state. Weights: kernel (features, units), recurrent_kernel
    (units, units), bias (units,).
    """

    weights_class = RNNWeights
    op = staticmethod(rnn)

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            zero_output_for_mask,
            **options,
        )
        self._check_activations(activation=activation)


KINDS = (LSTM, GRU, SimpleRNN)
