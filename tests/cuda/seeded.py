"""Faults to be put into the CUDA kernels, one at a time: run_ptx.py has to find each."""

from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    file: str  # of ragmask/kernels/cuda
    old: str
    new: str
    test: str  # of tests/cuda, that has to fail
    says: str  # a pattern of what it has to say


LONG_ROWS = "test_reductions.py::test_a_block_takes_the_long_rows[40]"
LONG_MOVES = "test_moves.py::test_long_rows_end_to_end_are_the_reference[uint8]"

FAULTS = [
    Fault(
        "no barrier between what warps found and its reading",
        "teams.py",
        "memory[u8(32 * warp + lane)] = value\n            cuda.syncthreads()",
        "memory[u8(32 * warp + lane)] = value",
        LONG_ROWS,
        "shared race|uninitialised shared read",
    ),
    Fault(
        "pooling reads the next step",
        "pool.py",
        "value = number(x[u8(start + step), u8(feature)])",
        "value = number(x[u8(start + step + 1), u8(feature)])",
        "test_reductions.py::test_a_sum_of_minus_zero_is_minus_zero",
        "global read out of bounds",
    ),
    Fault(
        "no barrier before memory is written again",
        "teams.py",
        "memory[u8(32 * other_warp + lane)])\n            cuda.syncthreads()",
        "memory[u8(32 * other_warp + lane)])",
        LONG_ROWS,
        "shared race",
    ),
    Fault(
        "softmax keeps numbers where others' are",
        "softmax.py",
        "        top, step, slot = number(-np.inf), begin, thread",
        "        top, step, slot = number(-np.inf), begin, thread >> 1",
        LONG_ROWS,
        "shared race",
    ),
    Fault(
        "a warp that stays away from a barrier",
        "pool.py",
        "total = team_sum(total, across, down, memory, warp, warps)",
        "if warp != 3:\n                    "
        "total = team_sum(total, across, down, memory, warp, warps)",
        LONG_ROWS,
        "divergent barrier",
    ),
    Fault(
        "16 bytes at once where addresses are not multiples of it",
        "move.py",
        "if (address(source, begin) - address(out, to)) & 15 == 0:",
        "if True:",
        LONG_MOVES,
        "misaligned",
    ),
    Fault(
        "16 bytes too many are copied",
        "move.py",
        "while chunk < wide:\n        word =",
        "while chunk < wide + 1:\n        word =",
        LONG_MOVES,
        "out of bounds|global race",
    ),
    Fault(
        "the lanes of other steps vote on a step",
        "masking.py",
        ">> first_lane",
        ">> u8(0)",
        "test_moves.py::test_masked_values_are_the_reference",
        "AssertionError",
    ),
]
IN_THE_SAMPLE = [fault.name for fault in FAULTS[:2]]
