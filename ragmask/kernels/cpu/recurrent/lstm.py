"""The LSTM: S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000)."""

from typing import Any

from ragmask.kernels.cells import LSTM
from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import lstm_output, lstm_state


@inline
def step(sums: Any, states: Any) -> Any:
    """The states (h, c) after a step, from the sums of its gates."""
    i, f, g, o = sums
    c = lstm_state(i, f, g, states[1])
    return lstm_output(o, c), c


_loop = loop_of(LSTM, step)


@njit
def lstm(
    first_row: int, last_row: int, rows: Any, weights: Any, states: Any, options: Any, out: Any
) -> None:
    """Run the rows `order[first_row:last_row]`, longest first if they are to be fast.

    rows (order, x, ids, starts, lengths, mask): x (n, features); ids int64 (n,), or (0,) where
    there are none; order, starts, lengths int64 (rows,); mask bool (n,), or (0,) where there is
    none. weights (panels, first_sums), packed. states ((h0, c0), (h, c)), each (rows, units).
    options (slots, go_backwards, zero_output_for_mask). out (starts, steps): int64 (rows,), and
    (steps, units), or (0, units) where only the states are wanted.

    All numbers are float32, or all float64. Empty arrays and not None: each variant of this kernel
    takes seconds to compile. Plain tuples: Numba takes 10 µs longer to read named ones.
    """
    _loop(first_row, last_row, rows, weights, states, options, out)
