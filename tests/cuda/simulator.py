"""What numba-cuda's simulator lacks: warps, and blocks whose threads take turns.

A thread of CUDA is a greenlet, which runs until it waits for others: the lanes of its warp, for
every shuffle and vote, or all threads of its block, for syncthreads. They take turns in one order
and then in the other, so that what one reads too early is not always there yet. Where none can go
on, threads have parted ways: an error here, which on a GPU would be a hang.
"""

from contextlib import ExitStack
from types import SimpleNamespace

from greenlet import getcurrent, greenlet
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.kernelapi import Dim3, FakeCUDAModule, swapped_cuda_module

WARP = 32
ALL = 0xFFFFFFFF


class DivergenceError(RuntimeError):
    """Some threads wait for others, which wait elsewhere or have ended."""


class Meeting:
    """Where so many threads wait until all of them are there."""

    def __init__(self, size):
        self.size, self.waiting = size, []

    def wait(self):
        thread = getcurrent()
        self.waiting.append(thread)
        if len(self.waiting) < self.size:
            thread.parent.switch()
        else:
            thread.block.ready += self.waiting[:-1]
            self.waiting = []


class Warp(Meeting):
    """The lanes of one warp, which show each other a value at a time.

    Two turns have two places to show: who comes late to read is not overtaken by the next turn.
    """

    def __init__(self, lanes):
        super().__init__(lanes)
        self.shown = [{}, {}]


class Thread(greenlet):
    def __init__(self, run, block, block_index, number):
        super().__init__(run)
        self.block, self.warp, self.lane = block, block.warps[number // WARP], number % WARP
        self.blockIdx, self.threadIdx, self.thread_id = block_index, Dim3(number, 0, 0), number
        self.turn = 0


class Block:
    """Takes the place of the simulator's BlockManager."""

    def __init__(self, function, grid_dim, block_dim, debug):
        self.function, self.threads = function, block_dim[0]
        assert block_dim[1:] == (1, 1)
        self.meeting = Meeting(self.threads)
        firsts = range(0, self.threads, WARP)
        self.warps = [Warp(min(WARP, self.threads - first)) for first in firsts]

    def run(self, block_index, *arguments):
        index, numbers = Dim3(*block_index), range(self.threads)
        threads = [Thread(self.function, self, index, number) for number in numbers]
        with Modules():
            try:
                self.take_turns(threads, arguments)
            finally:
                for thread in threads:
                    thread.throw()  # ends it, where it has not

    def take_turns(self, threads, arguments):
        self.ready = threads
        while self.ready:
            turns, self.ready = self.ready[::-1], []
            for thread in turns:
                thread.switch(*(() if thread else arguments))  # true once it has begun
        ended = sum(thread.dead for thread in threads)
        if ended < self.threads:
            here, *warps = [len(one.waiting) for one in (self.meeting, *self.warps)]
            raise DivergenceError(
                f"{ended} of {self.threads} threads have ended, {here} wait "
                f"for the block, {warps} for their warps"
            )


class Modules(ExitStack):
    """In those whose device functions a block calls, `cuda` is the simulator's until it ends.

    The simulator itself looks for that name twice in each call, which took most of the time.
    """

    current = None

    def __enter__(self):
        self.known, Modules.current = set(), self
        return super().__enter__()

    def add(self, function):
        if id(function.__globals__) not in self.known:
            self.known.add(id(function.__globals__))
            self.enter_context(swapped_cuda_module(function, kernel._get_kernel_context()))


LAUNCH = kernel.FakeCUDAKernel.__call__


def call(self, *arguments):
    """Launch a kernel, or within one call a device function."""
    if kernel._get_kernel_context() is None:
        return LAUNCH(self, *arguments)
    Modules.current.add(self.fn)
    return self.fn(*arguments)


def syncthreads(_):
    getcurrent().block.meeting.wait()


def show(mask, value):
    """(what every lane of the warp shows, this lane)."""
    thread = getcurrent()
    assert mask == ALL, "the kernels have all lanes take part"
    thread.turn ^= 1
    shown = thread.warp.shown[thread.turn]
    shown[thread.lane] = value
    thread.warp.wait()
    return shown, thread.lane


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
    kernel.FakeCUDAKernel.__call__ = call
    kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
    FakeCUDAModule.syncthreads = syncthreads
    FakeCUDAModule.shfl_sync = shuffle(lambda lane, other: other % WARP)
    FakeCUDAModule.shfl_down_sync = shuffle(lambda lane, distance: lane + distance)
    FakeCUDAModule.shfl_xor_sync = shuffle(lambda lane, bits: lane ^ bits)
    FakeCUDAModule.ballot_sync = ballot
