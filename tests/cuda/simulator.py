"""What numba-cuda's simulator lacks: warps, and blocks whose threads wait without spinning.

A thread of CUDA is a thread of Python. The lanes of a warp meet at a barrier of their own for every
shuffle and vote, and all threads of a block at one for syncthreads. A thread that stays away, or
ends early, breaks the barrier for the others: divergence is an error here, not a hang.
"""

import threading

from numba.cuda.simulator import kernel
from numba.cuda.simulator.kernelapi import FakeCUDAModule

WARP = 32
ALL = 0xFFFFFFFF
PATIENCE_S = 30


class Warp:
    """The lanes of one warp, which show each other a value at a time.

    Two turns have two places to show: who comes late to read is not overtaken by the next turn.
    """

    def __init__(self, lanes):
        self.barrier = threading.Barrier(lanes, timeout=PATIENCE_S)
        self.shown = [{}, {}]


class Block:
    """Takes the place of the simulator's BlockManager."""

    def __init__(self, function, grid_dim, block_dim, debug):
        self.function, self._block_dim, self.debug = function, block_dim, debug
        self.threads = block_dim[0]
        assert block_dim[1:] == (1, 1)
        self.barrier = threading.Barrier(self.threads, timeout=PATIENCE_S)
        self.warps = [
            Warp(min(WARP, self.threads - first)) for first in range(0, self.threads, WARP)
        ]

    def run(self, block_index, *arguments):
        def work():
            try:
                self.function(*arguments)
            except Exception:
                for waiting in (self, *self.warps):
                    waiting.barrier.abort()
                raise

        threads = [
            kernel.BlockThread(work, self, block_index, (number, 0, 0), self.debug)
            for number in range(self.threads)
        ]
        for thread in threads:
            thread.turn = 0
            thread.start()
        for thread in threads:
            thread.join()
        failures = [thread.exception for thread in threads if thread.exception]
        failures.sort(key=lambda failure: isinstance(failure[0], threading.BrokenBarrierError))
        for error, traceback in failures:
            raise error.with_traceback(traceback)


def syncthreads(_):
    threading.current_thread()._manager.barrier.wait()


def show(mask, value):
    """(what every lane of the warp shows, this lane)."""
    thread = threading.current_thread()
    number, lane = divmod(thread.thread_id, WARP)
    warp = thread._manager.warps[number]
    assert mask == ALL, "the kernels have all lanes take part"
    thread.turn ^= 1
    shown = warp.shown[thread.turn]
    shown[lane] = value
    warp.barrier.wait()
    return dict(shown), lane


def shuffle(from_lane):
    """A shuffle; a lane that would read past the warp gets its own value back."""

    def shuffled(_, mask, value, argument):
        shown, lane = show(mask, value)
        return shown.get(from_lane(lane, argument), value)

    return shuffled


def ballot(_, mask, vote):
    shown, _ = show(mask, bool(vote))
    return sum(1 << lane for lane, vote in shown.items() if vote)


def complete():
    """Give the simulator what it lacks."""
    kernel.BlockManager = Block
    FakeCUDAModule.syncthreads = syncthreads
    FakeCUDAModule.shfl_sync = shuffle(lambda lane, other: other % WARP)
    FakeCUDAModule.shfl_down_sync = shuffle(lambda lane, distance: lane + distance)
    FakeCUDAModule.shfl_xor_sync = shuffle(lambda lane, bits: lane ^ bits)
    FakeCUDAModule.ballot_sync = ballot
