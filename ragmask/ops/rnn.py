"""Simple recurrent layers over ragged rows."""

from typing import Any, NamedTuple

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.ops.recurrent import recur
from ragmask.weights import RNNWeights


class RNNResult(NamedTuple):
    """What `rnn` gives: outputs a step (None with outputs=False), and the last state."""

    outputs: Any
    h: Array


def rnn(
    x: Ragged | Padded | Any,
    weights: RNNWeights,
    *,
    mask: Any = None,
    initial_state: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    outputs: bool = True,
    out: Any = None,
) -> RNNResult:
    """Run a simple recurrent layer, h' = tanh(x·W + h·U + b), over the kept steps of each row.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> weights = rm.RNNWeights(np.ones((2, 3)), np.ones((3, 3)), np.zeros(3))
    >>> rows = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]]])
    >>> rm.rnn(rows, weights).outputs
    Ragged(2 rows, 3 steps, 3 float64, lengths 1–2)
      [[0.9051 0.9051 0.9051] [0.9988 0.9988 0.9988]]
      [[0.7616 0.7616 0.7616]]

    Parameters
    ----------
    x, mask, go_backwards, zero_output_for_mask, outputs, out : as for `lstm`.
    weights : RNNWeights of as many features as x has.
    initial_state : h, (rows, units), or (h,); by default zeros.

    Returns RNNResult(outputs, h): outputs in x's kind, with its mask; h (rows, units) after each
    row's last kept step. Masks, rows with no kept step, and bits are as for `lstm`.

    J. L. Elman (1990); Keras's SimpleRNN and torch's RNN with their default, tanh.
    Raises InvalidInputError for features or states that do not fit.
    """
    steps, (h,) = recur(
        RNNWeights,
        x,
        weights,
        mask=mask,
        initial_state=initial_state,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        outputs=outputs,
        out=out,
    )
    return RNNResult(steps, h)
