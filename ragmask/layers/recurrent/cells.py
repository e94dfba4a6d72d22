"""Recurrent cells: one step of a recurrent layer, on rows of vectors."""

from typing import Any, NoReturn

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.recurrent.gates import Gated, GRUGates, LSTMGates, RNNGates
from ragmask.layers.recurrent.stacks import flat
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, features_of, shown_shape


class GatedCell(Gated):
    """A cell that is called on rows of vectors, and the states before."""

    def build(self, input_shape: Any) -> None:
        if len(input_shape) > 2:
            self._refuse()
        self._make_weights(features_of(self.name, input_shape))

    def call(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> Any:
        self._check(inputs, flat(states))
        dtype = np.result_type(self.dtype, np.float32)
        entering, *before = (np.asarray(one, dtype) for one in (inputs, *flat(states)))
        output, new = self.step(entering, before, training)
        output, *new = (one.astype(self.dtype, copy=False) for one in (output, *new))
        return output, new if isinstance(states, list | tuple) else new[0]

    def compute_output(self, inputs: Any, states: Any, training: bool = False) -> Any:
        self._check(inputs, flat(states))
        spec = Spec((None, self.units), self.dtype)
        new = [spec] * self.record.states
        return spec, new if isinstance(states, list | tuple) else spec

    def _check(self, inputs: Any, states: list[Any]) -> None:
        shapes = [_shape_of(one) for one in states]
        if not isinstance(inputs, np.ndarray | Spec) or len(_shape_of(inputs)) != 2:
            self._refuse()
        if len(states) != self.record.states or any(one[1:] != (self.units,) for one in shapes):
            raise InvalidInputError(
                f"cell {self.name!r} takes {_counted(self.record.states)}, each "
                f"(rows, {self.units}); got {_counted(len(states))}, "
                f"{', '.join(map(shown_shape, shapes)) or 'none'}"
            )
        for one, shape in zip((inputs, *states), (_shape_of(inputs), *shapes), strict=True):
            if shape[0] != _shape_of(inputs)[0]:
                raise InvalidInputError(
                    f"cell {self.name!r}: its inputs are {_shape_of(inputs)[0]} rows, and a state "
                    f"is {shape[0]}"
                )
            if one.dtype.kind not in "biuf":
                raise UnsupportedTypeError(f"cell {self.name!r} takes reals; got {one.dtype}")

    def _refuse(self) -> NoReturn:
        raise UnsupportedTypeError(
            f"cell {self.name!r} takes rows of vectors, an array (rows, features); over the steps "
            "of a batch it is run by RNN(cell)"
        )

    @property
    def state_size(self) -> Any:
        """Units of its state, or of each."""
        sizes = [self.units] * self.record.states
        return sizes if len(sizes) > 1 else self.units

    @property
    def output_size(self) -> int:
        """Features of its output."""
        return self.units


@register
class LSTMCell(LSTMGates, GatedCell):
    """One step of long short-term memory, with Keras's arguments.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> cell = rm.layers.LSTMCell(3)
    >>> output, (h, c) = cell(np.ones((2, 4), "f4"), cell.get_initial_state(2))
    >>> output.shape, c.shape
    ((2, 3), (2, 3))

    units : features of the output, and of each state.
    activation, recurrent_activation : any that `Activation` knows. `RNN` runs tanh and sigmoid, the
        defaults, in compiled kernels, and others step by step.
    dropout, recurrent_dropout : shares of the inputs, and of the outputs before, that are 0 with
        `training=True`; the same at all steps that `RNN` runs.
    implementation : of no effect, as `seed`: choices come from the generator of `set_random_seed`.

    Called on (rows, features) and [h, c], each (rows, units); gives the output, and [h, c]. Weights
    are those of `LSTM`.
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
        implementation: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
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
        self.unit_forget_bias = bool(unit_forget_bias)


@register
class GRUCell(GRUGates, GatedCell):
    """One step of a gated recurrent unit, with Keras's arguments.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> output, h = rm.layers.GRUCell(3)(np.ones((2, 4), "f4"), np.zeros((2, 3), "f4"))
    >>> output.shape
    (2, 3)

    reset_after : True multiplies the reset gate with the product; False, which no compiled kernel
        computes, with the outputs before.

    Called on (rows, features) and h, or [h], (rows, units). Weights are those of `GRU`; the other
    arguments those of `LSTMCell`.
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
        reset_after: bool = True,
        seed: Any = None,
        implementation: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
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
        self.reset_after = bool(reset_after)


@register
class SimpleRNNCell(RNNGates, GatedCell):
    """One step of a simple recurrent layer, with Keras's arguments.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> output, h = rm.layers.SimpleRNNCell(3)(np.ones((2, 4), "f4"), np.zeros((2, 3), "f4"))
    >>> bool((output == h).all())
    True

    Called on (rows, features) and h, or [h], (rows, units). Weights are those of `SimpleRNN`; the
    arguments those of `LSTMCell`.
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
        seed: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set_gates(
            units,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            dropout,
            recurrent_dropout,
            seed,
            activation=activation,
        )


def _shape_of(one: Any) -> tuple[Any, ...]:
    return one.input_shape if isinstance(one, Spec) else tuple(np.shape(one))


def _counted(states: int) -> str:
    return f"{states} state{'s' if states != 1 else ''}"
