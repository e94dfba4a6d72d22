"""Recurrent layers."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.jax.batch import Batch
from ragmask.interop.jax.host import on_host
from ragmask.ops.gru import GRUResult
from ragmask.ops.lstm import LSTMResult
from ragmask.ops.recurrent import kept_of_a_step, recur_and_keep, recur_gradient
from ragmask.ops.states import by_name
from ragmask.weights import GRUWeights, LSTMWeights
from ragmask.weights.recurrent import RecurrentWeights

Weights = tuple[Any, Any, Any]


def lstm(
    values: Any,
    offsets: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    *,
    initial_state: tuple[Any, Any] | None = None,
    mask: Any = None,
    go_backwards: bool = False,
) -> LSTMResult:
    """Run an LSTM over the kept steps of each row.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ragmask.interop.jax import lstm
    >>> values, offsets = jnp.array([[1.0, 0.5], [0.0, 1.0], [0.5, 0.5]]), jnp.array([0, 2, 3])
    >>> weights = jnp.ones((2, 12)), jnp.ones((3, 12)), jnp.zeros(12)
    >>> print(np.asarray(lstm(values, offsets, *weights).h).round(3))
    [[0.855 0.855 0.855]
     [0.37  0.37  0.37 ]]
    >>> of_kernel = jax.grad(lambda kernel: lstm(values, offsets, kernel, *weights[1:]).h.sum())
    >>> of_kernel(weights[0]).shape
    (2, 12)

    Parameters
    ----------
    values, offsets, mask : a batch, as the package says; values (n, features).
    kernel, recurrent_kernel, bias : (features, 4 · units), (units, 4 · units) and (4 · units,), of
        floats, in Keras's order of gates: i, f, c, o. Computed in the dtype that values are.
    initial_state : (h, c), each (rows, units); by default zeros.
    go_backwards : read each row from its end. Outputs stay aligned with the input's steps.

    Returns LSTMResult(outputs, h, c): outputs (n, units), where a masked step repeats the output
    before it, and steps in no row are 0; h and c (rows, units) after each row's last kept step. The
    rest is as for ragmask's lstm.

    A forward pass that is differentiated keeps 5 numbers a step and unit for the way back, and all
    gradients are computed then, whichever are asked for. The gradient that arrives at a masked
    step's output is not looked at.

    Raises InvalidInputError for shapes that do not fit and, naming the row, for such offsets;
    UnsupportedTypeError for dtypes.
    """
    layer, weights = _Layer(LSTMWeights, bool(go_backwards)), (kernel, recurrent_kernel, bias)
    outputs, (h, c) = _run(layer, values, offsets, mask, weights, initial_state)
    return LSTMResult(outputs, h, c)


def gru(
    values: Any,
    offsets: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    *,
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
) -> GRUResult:
    """Run a gated recurrent unit over the kept steps of each row.

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ragmask.interop.jax import gru
    >>> values, offsets = jnp.array([[1.0, 0.5], [0.0, 1.0], [0.5, 0.5]]), jnp.array([0, 2, 3])
    >>> weights = jnp.ones((2, 9)), jnp.ones((3, 9)), jnp.zeros((2, 9))
    >>> print(np.asarray(gru(values, offsets, *weights).h).round(3))
    [[0.297 0.297 0.297]
     [0.205 0.205 0.205]]

    Parameters
    ----------
    values, offsets, mask, go_backwards : as for `lstm`.
    kernel, recurrent_kernel, bias : (features, 3 · units), (units, 3 · units) and (2, 3 · units),
        in Keras's order of gates: z, r, h, with reset_after=True.
    initial_state : h, (rows, units), or (h,); by default zeros.

    Returns GRUResult(outputs, h). Masks, what is kept, gradients and errors are as for `lstm`.
    """
    layer, weights = _Layer(GRUWeights, bool(go_backwards)), (kernel, recurrent_kernel, bias)
    outputs, (h,) = _run(layer, values, offsets, mask, weights, initial_state)
    return GRUResult(outputs, h)


class _Layer(NamedTuple):
    """What is no array of a layer, and what it does on the host."""

    kind: type[RecurrentWeights]
    go_backwards: bool

    def run(self, batch: Batch, weights: Weights, initial: Array) -> tuple[Array, Array]:
        outputs, last, _ = recur_and_keep(
            self.kind.cell, batch.rows(), *weights, initial, self.go_backwards, keep=False
        )
        return batch.spread(outputs), last

    def keep(self, batch: Batch, weights: Weights, initial: Array) -> tuple[Array, Array, Array]:
        """Also what the gradient takes, filled up to the size that it has if all steps count."""
        rows = batch.rows()
        outputs, last, some = recur_and_keep(
            self.kind.cell, rows, *weights, initial, self.go_backwards
        )
        kept = HOST.full(0, (self.size_kept(len(batch.values), initial),), some.dtype)
        kept[: len(some)] = some
        return batch.spread(outputs), last, kept

    def gradient(
        self,
        given: tuple[Batch, Weights, Array],
        outputs: Array,
        kept: Array,
        gradients: tuple[Array, Array],
    ) -> tuple[Array, Weights, Array]:
        batch, weights, initial = given
        of_outputs, of_last = gradients
        rows = batch.rows()
        of_values, *of_weights, of_initial = recur_gradient(
            self.kind.cell,
            rows,
            *weights,
            initial,
            self.go_backwards,
            batch.steps_of(outputs),
            kept[: self.size_kept(rows.n_steps, initial)],
            batch.steps_of(of_outputs),
            of_last,
        )
        return batch.spread(of_values), tuple(of_weights), of_initial

    def size_kept(self, n_steps: int, initial: Any) -> int:
        return n_steps * kept_of_a_step(self.kind.cell, initial.shape[2], initial.dtype.itemsize)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(layer: _Layer, batch: Batch, weights: Weights, initial: Any) -> Any:
    """The outputs, (n, units), and the last states, (states, rows, units), as initial is."""
    results = _outputs_of(batch, initial), initial
    return on_host(_Layer.run, (layer,), results, batch, weights, initial)


def _recur_and_keep(layer: _Layer, *given: Any) -> Any:
    batch, _, initial = given
    kept = jax.ShapeDtypeStruct((layer.size_kept(len(batch.values), initial),), initial.dtype)
    results = _outputs_of(batch, initial), initial, kept
    outputs, last, kept = on_host(_Layer.keep, (layer,), results, *given)
    return (outputs, last), (given, outputs, kept)


def _recur_backwards(layer: _Layer, kept: Any, gradients: Any) -> Any:
    (batch, weights, initial), *_ = kept
    results = batch.values, weights, initial
    of_values, *others = on_host(_Layer.gradient, (layer,), results, *kept, gradients)
    return Batch(of_values, None, None), *others


_recur.defvjp(_recur_and_keep, _recur_backwards)


def _outputs_of(batch: Batch, initial: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((len(batch.values), initial.shape[2]), initial.dtype)


def _run(
    layer: _Layer, values: Any, offsets: Any, mask: Any, weights: Weights, initial_state: Any
) -> Any:
    """The outputs and the last states, in values' dtype; checks all that is known yet."""
    batch, dtype = Batch.of(values, offsets, mask)
    arrays = _checked_weights(layer.kind, batch, weights)
    initial = _checked_states(layer.kind, batch, initial_state, len(arrays[1]))
    outputs, last = _recur(layer, batch, arrays, initial)
    return outputs.astype(dtype), last.astype(dtype)


def _checked_weights(kind: type[RecurrentWeights], batch: Batch, weights: Weights) -> Weights:
    if batch.values.ndim != 2:
        raise InvalidInputError(f"values have shape {batch.values.shape}; (n, features) is needed")
    names, dtype = ("kernel", "recurrent_kernel", "bias"), batch.values.dtype
    arrays = [_floats(array, name, dtype) for array, name in zip(weights, names, strict=True)]
    features, units = batch.values.shape[1], (arrays[1].shape or (0,))[0]
    if units == 0:
        raise InvalidInputError(
            f"recurrent_kernel has shape {arrays[1].shape}; it has a row for each unit"
        )
    for name, array, shape in zip(names, arrays, kind.shapes(features, units), strict=True):
        if array.shape != shape:
            raise InvalidInputError(
                f"{name} has shape {array.shape}; {shape} goes with {features} features and "
                f"{units} units"
            )
    kernel, recurrent_kernel, bias = arrays
    return kernel, recurrent_kernel, bias


def _checked_states(
    kind: type[RecurrentWeights], batch: Batch, states: Any, units: int
) -> jax.Array:
    """(states, rows, units); by default zeros."""
    shape, dtype = (batch.n_rows, units), batch.values.dtype
    if states is None:
        return jnp.zeros((kind.cell.states, *shape), dtype)
    checked = []
    for name, state in by_name(states, kind.cell, shape).items():
        array = _floats(state, f"initial_state's {name}", dtype)
        if array.shape != shape:
            raise InvalidInputError(
                f"initial_state's {name} has shape {array.shape}; (rows, units) is {shape}"
            )
        checked.append(array)
    return jnp.stack(checked)


def _floats(given: Any, name: str, dtype: Any) -> jax.Array:
    array = jnp.asarray(given)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UnsupportedTypeError(f"{name} must hold floats; got {array.dtype}")
    return array.astype(dtype)
