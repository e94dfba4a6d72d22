"""The weights of recurrent cells, and what they do at one step with any activations."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.kernels.cells import Cell
from ragmask.layers import activations, initializers
from ragmask.layers.layer import Layer
from ragmask.ops.gru import gru
from ragmask.ops.lstm import lstm
from ragmask.ops.rnn import rnn
from ragmask.rows.checks import check_count
from ragmask.weights import GRUWeights, LSTMWeights, RNNWeights
from ragmask.weights.recurrent import RecurrentWeights

_COMPILED = {"activation": "tanh", "recurrent_activation": "sigmoid"}  # what kernels compute


class Gated(Layer):
    """What a cell and the layer of that cell share."""

    weights_class: ClassVar[type[RecurrentWeights]]
    op: ClassVar[Callable[..., tuple[Any, ...]]]
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    reset_after = True

    def _set_gates(
        self,
        units: int,
        use_bias: bool,
        initializers: tuple[Any, Any, Any],
        dropout: float,
        recurrent_dropout: float,
        seed: Any,
        **given: Any,
    ) -> None:
        """Take the arguments; given are the activations."""
        self.units, self.use_bias = check_count("units", units, 1), bool(use_bias)
        self.initializers, self.seed = initializers, seed
        self.dropout = _share(self.name, "dropout", dropout)
        self.recurrent_dropout = _share(self.name, "recurrent_dropout", recurrent_dropout)
        self._activations = given
        for name, activation in given.items():
            activations.get(activation)
            setattr(self, name, activation)
        self._packed: tuple[int, Any] | None = None  # of which version
        self._kept: dict[str, list[Array]] = {}  # what dropout leaves, until it is reset

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_kept": {}}

    @property
    def record(self) -> Cell:
        """What kernels have to know of it."""
        return self.weights_class.cell

    @property
    def is_compiled(self) -> bool:
        """Whether there are kernels for what it computes."""
        given = self._activations.items()
        return self.reset_after and all(
            activations.get(one) is activations.get(_COMPILED[name]) for name, one in given
        )

    @property
    def set_apart(self) -> str:
        """What it was given that no kernel computes."""
        told = [
            f"{name}={one!r}"
            for name, one in self._activations.items()
            if activations.get(one) is not activations.get(_COMPILED[name])
        ]
        return ", ".join(told if self.reset_after else [*told, "reset_after=False"])

    # -- weights

    def _make_weights(self, features: int) -> None:
        of_kernel, of_recurrent, of_bias = self.initializers
        kernel, recurrent_kernel, bias = self._shapes(features)
        self.kernel = self.add_weight(kernel, of_kernel, name="kernel")
        self.recurrent_kernel = self.add_weight(
            recurrent_kernel, of_recurrent, name="recurrent_kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(bias, self._first_bias(of_bias), name="bias")

    def _shapes(self, features: int) -> tuple[tuple[int, ...], ...]:
        return self.weights_class.shapes(features, self.units)

    def _first_bias(self, initializer: Any) -> Any:
        return initializer

    @property
    def cell_weights(self) -> Any:
        """Its weights as the op takes them; packed once, until `set_weights`."""
        if self._packed is None or self._packed[0] != self._version:
            arrays = list(self._own_weights.values())
            self._packed = self._version, self.weights_class.from_keras(arrays)
        return self._packed[1]

    def get_initial_state(self, batch_size: int | None = None) -> list[Array]:
        """Zeros, (rows, units) for each state."""
        shape = check_count("batch_size", batch_size), self.units
        return [np.zeros(shape, self.dtype) for _ in range(self.record.states)]

    # -- dropout: of a row, the same numbers at all steps

    def reset_dropout_mask(self) -> None:
        """Draw anew, at the next step, what dropout leaves of the inputs."""
        self._kept.pop("inputs", None)

    def reset_recurrent_dropout_mask(self) -> None:
        """The same of the outputs before."""
        self._kept.pop("states", None)

    def dropped(self, batch: Any) -> Any:
        """A batch as it enters in training: (rows, features) of factors, over all steps of a row.

        Y. Gal, Z. Ghahramani (2016).
        """
        if isinstance(batch, Ragged):
            rows = batch.compact()
            values = rows._rows.values
            (factors,) = self._factors(self.dropout, (len(rows), *rows.item_shape), values.dtype, 1)
            return rows.with_values(values * np.repeat(factors, rows.lengths, axis=0))
        values = batch.values if isinstance(batch, Padded) else batch
        shape = len(values), *values.shape[2:]
        (factors,) = self._factors(self.dropout, shape, values.dtype, 1)
        values = values * factors[:, None]
        return Padded(values, batch.mask) if isinstance(batch, Padded) else values

    def _factors(self, rate: float, shape: tuple[int, ...], dtype: Any, gates: int) -> list[Array]:
        random, scale = initializers.random(), 0 if rate == 1 else 1 / (1 - rate)
        return [((random.random(shape) >= rate) * scale).astype(dtype) for _ in range(gates)]

    def _for_gates(self, which: str, values: Array, training: bool) -> list[Array]:
        """What enters the gates: one array for all, or with recurrent_dropout one for each.

        Steps take the first of the rows that the first step had.
        """
        rate = self.dropout if which == "inputs" else self.recurrent_dropout
        if not training or rate == 0:
            return [values]
        if which not in self._kept or len(self._kept[which][0]) < len(values):
            gates = self.record.gates if self.recurrent_dropout else 1
            self._kept[which] = self._factors(rate, values.shape, values.dtype, gates)
        return [values * one[: len(values)] for one in self._kept[which]]

    # -- what it computes

    def step(
        self, inputs: Array, states: Sequence[Array], training: bool = False
    ) -> tuple[Array, list[Array]]:
        """(rows, features) and the states before to the output and the states behind."""
        raise NotImplementedError

    def _sums(self, inputs: Array, output: Array, training: bool) -> tuple[Array, Array]:
        """Those over the inputs, with their bias, and those over the outputs before."""
        of_inputs = _product(self._for_gates("inputs", inputs, training), self.kernel)
        of_output = _product(self._for_gates("states", output, training), self.recurrent_kernel)
        return (of_inputs if self.bias is None else of_inputs + self.bias), of_output


class LSTMGates(Gated):
    """S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000)."""

    weights_class = LSTMWeights
    op = staticmethod(lstm)
    activation: Any
    recurrent_activation: Any
    unit_forget_bias: bool

    def _first_bias(self, initializer: Any) -> Any:
        def bias(shape: tuple[int, ...]) -> Array:
            first = initializers.make(initializer, shape).astype(np.float32)
            if self.unit_forget_bias:
                first[self.units : 2 * self.units] = 1
            return first

        return bias

    def step(
        self, inputs: Array, states: Sequence[Array], training: bool = False
    ) -> tuple[Array, list[Array]]:
        h, c = states
        function, gate = map(activations.get, (self.activation, self.recurrent_activation))
        i, f, g, o = np.split(np.add(*self._sums(inputs, h, training)), 4, axis=1)
        c = gate(f) * c + gate(i) * function(g)
        h = gate(o) * function(c)
        return h, [h, c]


class GRUGates(Gated):
    """K. Cho et al. (2014). The reset gate is before the product, as there, or after it."""

    weights_class = GRUWeights
    op = staticmethod(gru)
    activation: Any
    recurrent_activation: Any

    def _shapes(self, features: int) -> tuple[tuple[int, ...], ...]:
        kernel, recurrent_kernel, bias = super()._shapes(features)
        return kernel, recurrent_kernel, bias if self.reset_after else bias[1:]

    def step(
        self, inputs: Array, states: Sequence[Array], training: bool = False
    ) -> tuple[Array, list[Array]]:
        (h,) = states
        function, gate = map(activations.get, (self.activation, self.recurrent_activation))
        bias, other = self.bias, None
        if self.reset_after and bias is not None:
            bias, other = bias
        of_inputs = _product(self._for_gates("inputs", inputs, training), self.kernel)
        if bias is not None:
            of_inputs = of_inputs + bias
        x_z, x_r, x_h = np.split(of_inputs, 3, axis=1)
        entering, kernel = self._for_gates("states", h, training), self.recurrent_kernel
        gates = 3 if self.reset_after else 2
        of_output = _product(entering[:gates], kernel[:, : gates * self.units])
        if other is not None:
            of_output = of_output + other
        h_z, h_r, *h_h = np.split(of_output, gates, axis=1)
        z, r = gate(x_z + h_z), gate(x_r + h_r)
        if self.reset_after:
            candidate = function(x_h + r * h_h[0])
        else:
            candidate = function(x_h + (r * entering[-1]) @ kernel[:, 2 * self.units :])
        h = z * h + (1 - z) * candidate
        return h, [h]


class RNNGates(Gated):
    """J. L. Elman (1990)."""

    weights_class = RNNWeights
    op = staticmethod(rnn)
    activation: Any

    def step(
        self, inputs: Array, states: Sequence[Array], training: bool = False
    ) -> tuple[Array, list[Array]]:
        of_inputs, of_output = self._sums(inputs, states[0], training)
        h = activations.get(self.activation)(of_inputs + of_output)
        return h, [h]


def _product(entering: list[Array], kernel: Array) -> Array:
    """One array times all columns, or each times those of its gate."""
    parts = np.split(kernel, len(entering), axis=1)
    products = [one @ part for one, part in zip(entering, parts, strict=True)]
    return products[0] if len(products) == 1 else np.concatenate(products, axis=1)


def _share(layer: str, name: str, given: Any) -> float:
    if not (isinstance(given, int | float) and 0 <= given <= 1):
        raise InvalidInputError(f"layer {layer!r}: {name} is a share, 0 to 1; got {given!r}")
    return given
