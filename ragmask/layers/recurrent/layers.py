"""Recurrent layers: LSTM, GRU and SimpleRNN."""

from typing import Any

from ragmask.errors import InvalidInputError
from ragmask.layers.layer import Layer
from ragmask.layers.recurrent.gates import Gated, GRUGates, LSTMGates, RNNGates
from ragmask.layers.recurrent.rnn import RNN
from ragmask.layers.registry import register
from ragmask.weights import LSTMWeights


class Recurrent(Gated, RNN):
    """A layer that is its own cell, and has that cell's weights."""

    def build(self, sequences_shape: Any) -> None:
        features, *more = self._item_shape(sequences_shape)
        if more:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of vectors; got steps of shape "
                f"{(features, *more)}"
            )
        self._make_weights(features)

    @property
    def _stepped(self) -> Any:
        return self

    @property
    def state_size(self) -> list[Any]:
        """Units of each state."""
        return [self.units] * self.record.states

    @property
    def output_size(self) -> int:
        """Features of the output."""
        return self.units


@register
class LSTM(LSTMGates, Recurrent):
    """Long short-term memory over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.LSTM(3)(batch).shape
    (3, 3)
    >>> rm.layers.LSTM(3, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    units : features of the output.
    activation, recurrent_activation : tanh and sigmoid, the defaults, run in a compiled kernel; any
        others that `Activation` knows step by step, as `RNN` says.
    unit_forget_bias : the forget gates' biases begin with 1.
    dropout, recurrent_dropout : shares of the inputs, and of the outputs before, that are 0 with
        `training=True`: of a row the same at all steps. Choices come from the generator of
        `set_random_seed`.
    return_sequences : an output for each step, with the input's mask; by default the last alone,
        (rows, units).
    return_state : a list: the output, and the last h and c.
    go_backwards : reads rows from their ends; sequences come in the order they were computed in.
    stateful : the last states are what the next call's rows begin with, until `reset_states()`.
        Neither copies nor saved models carry them.
    zero_output_for_mask : outputs of masked steps are 0, not the one before them.
    seed, unroll, use_cudnn, implementation : of no effect.

    `layer(x, initial_state=[h, c])`: each (rows, units). A row's outputs before its first kept
    step are 0, whatever the initial state. It computes in the layer's dtype. Weights: kernel
    (features, 4 · units), recurrent_kernel (units, 4 · units), bias (4 · units,); gates i, f, c, o.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        implementation: int = 2,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        Layer.__init__(self, **options)
        self._set_gates(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            dropout,
            recurrent_dropout,
            seed,
            activation=activation,
            recurrent_activation=recurrent_activation,
        )
        self._set_run(return_sequences, return_state, go_backwards, stateful, zero_output_for_mask)
        self.unit_forget_bias = bool(unit_forget_bias)
        self.use_cudnn = _checked_cudnn(self.name, use_cudnn)

    @property
    def lstm_weights(self) -> LSTMWeights:
        """`cell_weights`, which for an LSTM are these."""
        weights: LSTMWeights = self.cell_weights
        return weights


@register
class GRU(GRUGates, Recurrent):
    """Gated recurrent units over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.GRU(3, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    return_state : a list: the output, and the last h.
    reset_after : True multiplies the reset gate with the product; False with the outputs before,
        which runs step by step, as `RNN` says.

    The other arguments are those of `LSTM`. `layer(x, initial_state=h)`: (rows, units), or [h].
    Weights: kernel (features, 3 · units), recurrent_kernel (units, 3 · units), bias (2, 3 · units),
    of the input and of the outputs before, or with reset_after=False (3 · units,); gates z, r, h.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        implementation: int = 2,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        Layer.__init__(self, **options)
        self._set_gates(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            dropout,
            recurrent_dropout,
            seed,
            activation=activation,
            recurrent_activation=recurrent_activation,
        )
        self._set_run(return_sequences, return_state, go_backwards, stateful, zero_output_for_mask)
        self.reset_after = bool(reset_after)
        self.use_cudnn = _checked_cudnn(self.name, use_cudnn)


@register
class SimpleRNN(RNNGates, Recurrent):
    """A simple recurrent layer, tanh of all sums, over the kept steps of each row.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.SimpleRNN(3)(batch).shape
    (3, 3)

    return_state : a list: the output, and the last h.

    The other arguments are those of `LSTM`. `layer(x, initial_state=h)`: (rows, units), or [h].
    Weights: kernel (features, units), recurrent_kernel (units, units), bias (units,).
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: Any = None,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        Layer.__init__(self, **options)
        self._set_gates(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            dropout,
            recurrent_dropout,
            seed,
            activation=activation,
        )
        self._set_run(return_sequences, return_state, go_backwards, stateful, zero_output_for_mask)


KINDS = (LSTM, GRU, SimpleRNN)


def _checked_cudnn(layer: str, given: Any) -> Any:
    if given not in (True, False, "auto"):
        raise InvalidInputError(
            f'layer {layer!r}: use_cudnn is True, False or "auto"; got {given!r}'
        )
    return given
