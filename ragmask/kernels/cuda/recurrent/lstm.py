"""The LSTM's cell, and its recurrence over gates that `project` has summed up."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.launch import Limits, device_limits, launch_blocks
from ragmask.kernels.cuda.recurrent.arguments import Options, RowArrays, States
from ragmask.kernels.cuda.recurrent.plan import Plan, kernels_of, plan_of
from ragmask.kernels.math import lstm_output, lstm_state


@cuda_device
def lstm_cell(sums: Any, carry: Any) -> Any:
    """The state and cell state, from the sums of the gates i, f, g, o and the old cell state."""
    i, f, g, o = sums
    carry = lstm_state(i, f, g, carry)
    return lstm_output(o, carry), carry


LSTM = kernels_of(lstm_cell)
lstm_row = LSTM.row


def lstm(
    rows: RowArrays,
    gates: Any,
    recurrent: Any,
    states: States,
    options: Options,
    out: Any,
    counter: Any,
    *,
    limits: Limits | None = None,
    planner: Callable[..., Plan | None] = plan_of,
    stream: Any = 0,
) -> None:
    """Launch the kernel for so many units; nothing where there are no rows.

    gates (n · 4 · units,) from `project`, and recurrent (units · 4 · units,) from
    `packed_for_cuda`, are aligned to 16 bytes; out (steps, units), or (0, units) where only the
    states are wanted; counter int64 (1,), 0. All numbers are float32, or all float64.

    The kernel is chosen by units, dtype and device, never by the rows, and which block and slot
    takes a row changes no bit of what it becomes. limits are those of the current device.
    """
    n_rows, units = states.h.shape
    if n_rows == 0:
        return
    limits = limits or device_limits()
    plan = planner(LSTM, n_rows, units, gates.dtype == np.float32, limits)
    assert plan is not None
    slots = () if plan.slots is None else (plan.slots,)
    launch_blocks(
        *(plan.kernel, plan.blocks, plan.threads),
        *(rows, gates, recurrent, states, options, *slots, out, counter),
        shared_bytes=plan.shared_bytes,
        stream=stream,
    )
