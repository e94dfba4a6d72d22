"""Launches of a cell: its recurrence over sums that `project` has made, and its gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.kernels.cuda.launch import Limits, device_limits, launch_blocks
from ragmask.kernels.cuda.recurrent.arguments import Options, RowArrays, States
from ragmask.kernels.cuda.recurrent.gradient import GradientKernels, gather_inputs
from ragmask.kernels.cuda.recurrent.plan import Kernels, Plan, gradient_block, plan_of
from ragmask.kernels.cuda.teams import THREADS, WARPS

_STEPS = 4  # of a row of mean length that a warp gathers
_MOST_THREADS = 256  # of a block that walks a row, a unit for each


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


def gather(
    rows: RowArrays,
    x: Any,
    outputs: Any,
    h0: Any,
    options: Options,
    out: Any,
    *,
    stream: Any = 0,
) -> None:
    """Launch `gather_inputs`, with a block for every few steps of a row of mean length."""
    n_rows = len(h0)
    parts = max(1, len(x) // (n_rows * _STEPS * WARPS)) if n_rows else 0
    given = rows, x, outputs, h0, options, out
    launch_blocks(gather_inputs, n_rows * parts, THREADS, *given, stream=stream)


def gradient_launchers_of(
    kernels: GradientKernels,
) -> tuple[Callable[..., None], Callable[..., None]]:
    """What launches the two kernels of a cell's gradient."""

    def keeping(
        rows: RowArrays,
        sums: Any,
        h0: Any,
        c0: Any,
        options: Options,
        out: Any,
        *,
        stream: Any = 0,
    ) -> None:
        """sums is aligned to 16 bytes."""
        n_rows, units = h0.shape
        threads = min(-(-units // 32) * 32, _MOST_THREADS)
        given = rows, sums, h0, c0, options, out
        launch_blocks(kernels.keeping, n_rows, threads, *given, stream=stream)

    def gradient(
        rows: RowArrays,
        kept: Any,
        gradients: Any,
        weights: Any,
        states: States,
        options: Options,
        out: Any,
        *,
        limits: Limits | None = None,
        stream: Any = 0,
    ) -> None:
        """Nothing where there are no rows. weights and out are aligned to 16 bytes.

        All numbers are float32, or all float64. The block is chosen by units and dtype alone.
        """
        n_rows, units = states.h.shape
        if n_rows == 0:
            return
        of_device = limits or device_limits()
        threads, parts, shared_bytes = gradient_block(units, out.dtype.itemsize, of_device)
        launch_blocks(
            *(kernels.back, n_rows, threads),
            *(rows, kept, gradients, weights, states, options, parts, out),
            shared_bytes=shared_bytes,
            stream=stream,
        )

    return keeping, gradient
