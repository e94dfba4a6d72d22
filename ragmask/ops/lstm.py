"""Long short-term memory over ragged rows."""

from typing import Any, NamedTuple

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.ops.recurrent import recur
from ragmask.weights import LSTMWeights


class LSTMResult(NamedTuple):
    """What `lstm` gives: outputs a step (None with outputs=False), and the last states."""

    outputs: Any
    h: Array
    c: Array


def lstm(
    x: Ragged | Padded | Any,
    weights: LSTMWeights,
    *,
    mask: Any = None,
    initial_state: tuple[Any, Any] | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    outputs: bool = True,
    out: Any = None,
) -> LSTMResult:
    """Run an LSTM over the kept steps of each row.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> weights = rm.LSTMWeights(np.ones((2, 12)), np.ones((3, 12)), np.zeros(12))
    >>> rows = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]]])
    >>> result = rm.lstm(rows, weights)
    >>> result.outputs
    Ragged(2 rows, 3 steps, 3 float64, lengths 1–2)
      [[0.5144 0.5144 0.5144] [0.8547 0.8547 0.8547]]
      [[0.3696 0.3696 0.3696]]
    >>> bool((result.h[0] == result.outputs[0][-1]).all())
    True

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, features) or Arrow's lists of vectors, float16, float32
        or float64. Its dtype is the one computed in (float16 in float32), and the one given back.
    weights : LSTMWeights of that many features.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    initial_state : (h, c), each (rows, units); by default zeros.
    go_backwards : read each row from its end. Outputs stay aligned with the input's steps.
    zero_output_for_mask : outputs of masked steps are 0, not the output before them.
    outputs : False computes the last states alone, and needs no memory for outputs.
    out : an array to write outputs to: (n_steps, units), or (rows, width, units) for Padded and
        arrays.

    Returns LSTMResult(outputs, h, c): outputs in x's kind, with its mask; h and c (rows, units)
    after each row's last kept step, as Arrow arrays where x is Arrow's. A masked step leaves the
    states alone. A row with no kept step returns its initial state, and 0 as every output. Each
    number is the same, bit for bit, whatever the other rows, the layout and the number of threads.

    Rows are dealt to threads by length, and each thread keeps a few in flight at once; see
    `ragmask.kernels.cpu.lstm`. Raises InvalidInputError for features or states that do not fit.
    """
    steps, (h, c) = recur(
        LSTMWeights,
        x,
        weights,
        mask=mask,
        initial_state=initial_state,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        outputs=outputs,
        out=out,
    )
    return LSTMResult(steps, h, c)
