"""A cell's recurrence over sums of its inputs that `project` has made, as one launch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.kernels.cuda.launch import Limits, device_limits, launch_blocks
from ragmask.kernels.cuda.recurrent.arguments import Options, RowArrays, States
from ragmask.kernels.cuda.recurrent.plan import Kernels, Plan, plan_of


def launcher_of(kernels: Kernels) -> Callable[..., None]:
    """What launches the kernels of a cell."""

    def recurrence(
        rows: RowArrays,
        sums: Any,
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

        sums (n · 4 · units,) from `project`, and recurrent (units · 4 · units,) from
        `packed_for_cuda`, are aligned to 16 bytes; out (steps, units), or (0, units) where only
        the states are wanted; counter int64 (1,), 0. All numbers are float32, or all float64.

        The kernel is chosen by units, dtype and device, never by the rows, and which block and
        slot takes a row changes no bit of what it becomes. limits are those of the current device.
        """
        n_rows, units = states.h.shape
        if n_rows == 0:
            return
        of_device = limits or device_limits()
        plan = planner(kernels, n_rows, units, sums.dtype == np.float32, of_device)
        assert plan is not None
        slots = () if plan.slots is None else (plan.slots,)
        launch_blocks(
            *(plan.kernel, plan.blocks, plan.threads),
            *(rows, sums, recurrent, states, options, *slots, out, counter),
            shared_bytes=plan.shared_bytes,
            stream=stream,
        )

    return recurrence
