"""Gated recurrent units over ragged rows."""

from typing import Any, NamedTuple

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.ops.recurrent import recur
from ragmask.weights import GRUWeights


class GRUResult(NamedTuple):
    """What `gru` gives: outputs a step (None with outputs=False), and the last state."""

    outputs: Any
    h: Array


def gru(
    x: Ragged | Padded | Any,
    weights: GRUWeights,
    *,
    mask: Any = None,
    initial_state: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    outputs: bool = True,
    out: Any = None,
) -> GRUResult:
    """Run a gated recurrent unit over the kept steps of each row.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> weights = rm.GRUWeights(np.ones((2, 9)), np.ones((3, 9)), np.zeros((2, 9)))
    >>> rows = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]]])
    >>> rm.gru(rows, weights).outputs
    Ragged(2 rows, 3 steps, 3 float64, lengths 1–2)
      [[0.1651 0.1651 0.1651] [0.2972 0.2972 0.2972]]
      [[0.2048 0.2048 0.2048]]

    Parameters
    ----------
    x, mask, go_backwards, zero_output_for_mask, outputs, out : as for `lstm`.
    weights : GRUWeights of as many features as x has.
    initial_state : h, (rows, units), or (h,); by default zeros.

    Returns GRUResult(outputs, h): outputs in x's kind, with its mask; h (rows, units) after each
    row's last kept step. Masks, rows with no kept step, and bits are as for `lstm`.

    h' = z · h + (1 − z) · tanh(x·W + b + r · (h·U + b')), with the gates z and r: K. Cho et al.
    (2014) in the form of cuDNN, which Keras calls reset_after=True, and which torch has.
    Raises InvalidInputError for features or states that do not fit.
    """
    steps, (h,) = recur(
        GRUWeights,
        x,
        weights,
        mask=mask,
        initial_state=initial_state,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        outputs=outputs,
        out=out,
    )
    return GRUResult(steps, h)
