"""RNN: a cell, or a stack of them, over the kept steps of rows."""

import warnings
from typing import Any

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import mask_of, reverse, shape_of
from ragmask.layers.layer import Layer
from ragmask.layers.recurrent.cells import GRUCell, LSTMCell, SimpleRNNCell
from ragmask.layers.recurrent.gates import Gated
from ragmask.layers.recurrent.stacks import (
    StackedRNNCells,
    as_list,
    build_cell,
    check_cell,
    flat,
    name_of,
    output_size,
)
from ragmask.layers.recurrent.stepping import Result, first_states, like, states_given, step_by_step
from ragmask.layers.registry import register
from ragmask.layers.shapes import is_trying
from ragmask.layers.spec import Spec, check_steps, shown_shape
from ragmask.ops.input import Input, as_dtype

_COMPILED = (LSTMCell, GRUCell, SimpleRNNCell)


class SlowCellWarning(UserWarning):
    """A recurrent layer runs step by step, in Python: its cell has no compiled kernel."""


@register
class RNN(Layer):
    """Any cell, or a stack of cells, over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> cells = [rm.layers.LSTMCell(8), rm.layers.LSTMCell(4)]
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.RNN(cells, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    cell : an LSTMCell, a GRUCell, a SimpleRNNCell, or a list of cells, each of which takes the
        output of the one before; or a cell of your own: what has `call(inputs, states)`, which
        gives (output, new states), and `state_size`, and if it likes `output_size`, and
        `get_initial_state(batch_size)`.
    return_sequences, return_state, go_backwards, zero_output_for_mask : as for `LSTM`.
    stateful : the last states are what the next call's rows begin with, until `reset_states()`.
        Neither copies nor saved models carry them.
    unroll : of no effect.

    ragmask's own cells with their default activations, and stacks of these, run in the kernels of
    `LSTM`, `GRU` and `SimpleRNN`. Others run in a loop of Python over steps, of all rows that have
    the step, and a SlowCellWarning says so at the first call; so do all with `training=True` and a
    recurrent_dropout. Of these the last bits of a row may depend on how many rows there are.

    `layer(x, initial_state)`: a state, or a list of those that `return_state` gives. A masked step
    leaves the states alone. A row's outputs before its first kept step are 0.
    """

    _masks_itself = True
    supports_masking = True
    cell: Any
    states: list[Any] | None = None

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        check_cell(cell, self.name)
        self.cell = cell
        self._set_run(return_sequences, return_state, go_backwards, stateful, zero_output_for_mask)

    def _set_run(
        self,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        zero_output_for_mask: bool,
    ) -> None:
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful = bool(go_backwards), bool(stateful)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.states = None
        self._has_warned = False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "states": None}

    def build(self, sequences_shape: Any) -> None:
        build_cell(self.cell, (None, *self._item_shape(sequences_shape)))

    def _item_shape(self, shape: Any) -> tuple[int, ...]:
        """Of a step, in the shape that it is built for."""
        if not isinstance(shape, tuple) or len(shape) < 3 or None in shape[2:]:
            got = f"an array {shown_shape(shape)}".replace("(·,", "(rows,")
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); got {got}"
            )
        return shape[2:]

    def _check_shape(self, shape: Any) -> None:
        if self._built_for and shape[2:] != self._built_for[2:]:
            raise InvalidInputError(
                f"layer {self.name!r} was built for inputs of shape "
                f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
            )

    # -- states

    @property
    def _stepped(self) -> Any:
        """The cell that it runs."""
        return self.cell

    @property
    def state_size(self) -> list[Any]:
        """Of each state."""
        return as_list(self._stepped.state_size)

    @property
    def _state_names(self) -> list[str]:
        """Of each of its states, in order."""
        cells = _cells_of(self._stepped)
        if all(isinstance(one, Gated) for one in cells):
            names = [name for one in cells for name in "hc"[: one.record.states]]
            return [f"{name} {at}" for at, name in enumerate(names)] if len(cells) > 1 else names
        return [f"state {at}" for at in range(len(flat(self.get_initial_state(1))))]

    @property
    def features(self) -> int:
        """Of its output."""
        return output_size(self._stepped)

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """What rows begin with, as the cell says."""
        return first_states(self._stepped, batch_size or 0, self.dtype)

    def reset_states(self) -> None:
        """Forget the states of the last call, of a stateful layer."""
        self.states = None

    reset_state = reset_states

    def _check_rows(self, rows: int) -> None:
        if self.states is not None and len(flat(self.states)[0]) != rows:
            raise InvalidInputError(
                f"layer {self.name!r} is stateful, and its states are those of a batch size of "
                f"{len(flat(self.states)[0])} rows; got {rows}: call reset_states() first"
            )

    # -- calling

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        return self.given(self.run(sequences, initial_state, training))

    def run(self, x: Any, initial_state: Any = None, training: bool = False) -> Result:
        """Its results, sequences aligned with the input's steps."""
        check_one_batch(x)
        self._check_shape(shape_of(x))
        x = in_floats(x, self.dtype)
        rows = len(x)
        if self.stateful and not is_trying():
            self._check_rows(rows)
            initial_state = self.states if initial_state is None else initial_state
        compiled = self._compiled(training)
        if compiled:
            result = self._run_compiled(compiled, x, initial_state, training)
        else:
            result = self._run_slowly(x, initial_state, training)
        if self.stateful and not is_trying():
            self.states = like(result.states, [one.copy() for one in flat(result.states)])
        return result

    def _compiled(self, training: bool = False) -> list[Gated]:
        """The cells that run in kernels, one behind the other; none where one cannot."""
        cells = _cells_of(self._stepped)
        are = all(_has_kernel(one) and _is_compiled(one, training) for one in cells)
        return cells if are else []

    def _run_compiled(
        self, cells: list[Gated], x: Any, initial_state: Any, training: bool
    ) -> Result:
        first = self._stepped.get_initial_state(batch_size=1 if initial_state is None else len(x))
        states = (
            None if initial_state is None else states_given(initial_state, first, self._state_names)
        )
        ends: list[Array] = []
        for number, cell in enumerate(cells, 1):
            n = len(ends)
            own = None if states is None else states[n : n + cell.record.states]
            x, *new = self._run_op(cell, x, own, training, number == len(cells))
            ends += new
        return Result(x, new[0], like(first, ends))

    def _run_op(
        self, cell: Gated, x: Any, states: Any, training: bool, is_last: bool = True
    ) -> tuple[Any, ...]:
        result: tuple[Any, ...] = type(cell).op(
            cell.dropped(x) if training and cell.dropout else x,
            cell.cell_weights,
            initial_state=states,
            go_backwards=self.go_backwards,
            zero_output_for_mask=self.zero_output_for_mask and is_last,
            outputs=self.return_sequences or not is_last,
        )
        return result

    def _run_slowly(self, x: Any, initial_state: Any, training: bool) -> Result:
        self._warn()
        first = first_states(self._stepped, len(x), self.dtype)
        states = flat(first)
        if initial_state is not None:
            states = states_given(initial_state, first, self._state_names)
        return step_by_step(
            self._stepped,
            x,
            first,
            states,
            training=training,
            go_backwards=self.go_backwards,
            zero_output_for_mask=self.zero_output_for_mask,
            outputs=self.return_sequences,
        )

    def _warn(self) -> None:
        if self._has_warned or is_trying():
            return
        self._has_warned = True
        warnings.warn(
            f"layer {self.name!r} runs step by step in Python: {self._why_slow()}. Compiled are "
            "LSTM, GRU and SimpleRNN, and their cells, with tanh, sigmoid and reset_after=True, "
            "without recurrent_dropout in training",
            SlowCellWarning,
            stacklevel=7,
        )

    def _why_slow(self) -> str:
        cells = _cells_of(self._stepped)
        cell = next((one for one in cells if not _has_kernel(one)), None)
        if cell is not None:
            return f"its cell {name_of(cell)} has no kernel"
        return _told(next((one for one in cells if not one.is_compiled), cells[0]))

    def given(self, result: Result) -> Any:
        """What it gives of its results: sequences in the order they were computed in."""
        outputs = result.outputs
        if self.return_sequences and self.go_backwards:
            outputs = reverse(outputs)
        return self._returned(outputs, result.last, result.states)

    def _returned(self, outputs: Any, last: Any, states: list[Any]) -> Any:
        output = outputs if self.return_sequences else last
        return [output, *states] if self.return_state else output

    # -- what is known before

    def compute_output(
        self, sequences: Spec, initial_state: Any = None, training: bool = False
    ) -> Any:
        return self._returned(*self.described(sequences, initial_state))

    def described(self, x: Spec, initial_state: Any = None) -> Any:
        """What is known of the outputs of all steps, of the last, and of the last states."""
        check_steps(x)
        if x.dtype.kind not in "biuf":
            raise UnsupportedTypeError(f"x holds no reals; got {x.dtype}")
        self._check_shape(x.input_shape)
        sizes = first_states(self._stepped, 1, self.dtype)
        states = [Spec((None, *one.shape[1:]), self.dtype) for one in flat(sizes)]
        if initial_state is not None:
            states_given(initial_state, states, self._state_names)
        last = Spec((None, self.features), self.dtype)
        return x.of_items(self.features, dtype=self.dtype), last, like(sizes, states)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = None
        if self.return_sequences and mask is not None:
            kept = mask_of(reverse(with_mask(inputs, mask))) if self.go_backwards else mask
        return [kept, *[None] * len(self.state_size)] if self.return_state else kept


def check_one_batch(x: Any) -> None:
    if isinstance(x, list | tuple | dict):
        raise UnsupportedTypeError(f"it takes one batch; got a {type(x).__name__}")


def in_floats(x: Any, dtype: Any) -> Any:
    """A batch of reals in the dtype that a layer computes in."""
    if x.dtype == dtype:
        return x
    if x.dtype.kind not in "biuf":
        raise UnsupportedTypeError(f"x holds no reals; got {x.dtype}")
    given = Input.of(x)
    rows = as_dtype(given.rows, dtype)
    return given.give(rows.values, rows.mask)


def _cells_of(cell: Any) -> list[Any]:
    """The cells of a stack, and of stacks in it."""
    if type(cell) is StackedRNNCells:
        return [one for part in cell.cells for one in _cells_of(part)]
    return [cell]


def _has_kernel(cell: Any) -> bool:
    """Whether there is one, for some activations; a cell of a user's subclass may do otherwise."""
    return type(cell) in _COMPILED or isinstance(cell, RNN)


def _is_compiled(cell: Gated, training: bool) -> bool:
    return cell.is_compiled and not (training and cell.recurrent_dropout)


def _told(cell: Gated) -> str:
    """What a cell was given that no kernel computes."""
    apart = cell.set_apart or f"recurrent_dropout={cell.recurrent_dropout}, in training"
    return f"no kernel has {apart}"
