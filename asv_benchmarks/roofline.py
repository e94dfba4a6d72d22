"""What bounds each CUDA kernel on an H100, as Markdown tables. It needs no GPU: it counts.

    python asv_benchmarks/roofline.py [--write]

A limit is what no kernel could beat that reads its input once and writes its output once. A
prediction adds what is known of this one: how many loads it has under way, how many instructions
it issues, and which row is the last to be done. Nothing here was measured. `--write` puts the
tables into ragmask/kernels/cuda/README.md.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from benchmarks.common import log_normal_lengths
from tables import show_seconds

from ragmask.kernels.cuda.attention import OTHERS, OWN
from ragmask.kernels.cuda.move import LONG_BYTES
from ragmask.kernels.cuda.teams import STEPS, WARPS
from ragmask.kernels.registry import KERNELS as REGISTERED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ragmask" / "kernels" / "cuda" / "README.md"
GLOSSES = ROOT / "examples" / "data" / "wordnet_glosses.parquet"
MARKED = re.compile("(?<=<!-- roofline -->\n).*?(?=<!-- /roofline -->)", re.DOTALL)

RECORDS = {record.name: record for record in REGISTERED}
FEATURES = 128  # float32
STEP_BYTES = 4 * FEATURES


# -- the machine --------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """NVIDIA H100 Tensor Core GPU data sheet; multiprocessors and clock: H100 white paper."""

    name: str
    bytes_per_second: float
    flops_per_second: float  # float32, without tensor cores
    multiprocessors: int
    clock: float


SXM = Machine("H100 SXM", 3.35e12, 67e12, 132, 1.98e9)
PCIE = Machine("H100 PCIe", 2.0e12, 51e12, 114, 1.755e9)

# Assumptions of the predictions, which a first run on a GPU should replace.
REACHED = 0.9  # of the bandwidth, by a plain copy of much memory
TRIP = 0.3e-6  # seconds from a load to its use, where the memory has time for it
TRIP_L2 = 0.15e-6  # the same from the level 2 cache
TRIP_L1 = 0.02e-6  # and from level 1
L2_BYTES = 50e6
LAUNCH = 3e-6  # seconds from one kernel's end to the next one's, its first loads among them
RESIDENT = 8  # blocks of a multiprocessor, by the registers of the largest kernels
ISSUED = 4  # instructions that a multiprocessor issues in a cycle, each of another warp
PRODUCT_REACHED = 0.6  # of the flops, by a product of matrices that is not cuBLAS's
ATTENTION_REACHED = 0.3  # of the flops, by products of tiles that wait for shared memory
L2_RATE = 5.5e12  # bytes a second out of the level 2 cache, by all multiprocessors
L2_RATE_OF_ONE = 64  # bytes a cycle, by one of them
MORE = 4  # loads under way, in the last column
APART = 4  # cycles between two instructions of a warp, each of which needs the one before


# -- the batches --------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Rows of 128 features, and as many ids where ids are looked up."""

    name: str
    lengths: np.ndarray
    distinct: int  # ids

    def names(self, units: int) -> dict[str, int]:
        """What the formulas are about."""
        width = int(self.lengths.max())
        return {
            "S": int(self.lengths.sum()),
            "R": len(self.lengths),
            "P": len(self.lengths) * width,
            "Q": int((self.lengths**2).sum()),
            "D": self.distinct,
            "F": FEATURES,
            "U": units,
        }


def log_normal_batch(rows: int = 1_024) -> Batch:
    rng = np.random.default_rng(0)
    lengths = log_normal_lengths(rows, rng)
    distinct = len(np.unique(rng.integers(0, 50_000, lengths.sum())))
    return Batch(f"{rows:,} log-normal rows", lengths, distinct)


def large_batch() -> Batch:
    return log_normal_batch(16_384)


def wordnet_batch() -> Batch:
    tokens = next(pq.ParquetFile(GLOSSES).iter_batches(256, columns=["tokens"]))["tokens"]
    lengths = tokens.value_lengths().to_numpy().astype(np.int64)
    return Batch("256 glosses of WordNet", lengths, len(tokens.flatten().unique()))


BATCHES = (log_normal_batch, wordnet_batch, large_batch)


# -- the kernels --------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """What a kernel reads, writes and computes, in the names of `Batch.names`."""

    name: str
    read: str
    written: str
    flops: str = "0"
    units: int = 0

    def bytes(self, batch: Batch) -> int:
        return self._of(self.read, batch) + self._of(self.written, batch)

    def operations(self, batch: Batch) -> int:
        return self._of(self.flops, batch)

    def _of(self, formula: str, batch: Batch) -> int:
        amount: int = eval(formula, {"__builtins__": {}}, batch.names(self.units))
        return amount

    def limits(self, batch: Batch, machine: Machine) -> dict[str, float]:
        """The least seconds for its bytes and for its flops."""
        return {
            "bytes": self.bytes(batch) / machine.bytes_per_second,
            "flops": self.operations(batch) / machine.flops_per_second,
        }

    def limit(self, batch: Batch, machine: Machine) -> float:
        return max(self.limits(batch, machine).values())

    def predictions(self, batch: Batch, machine: Machine) -> dict[str, float]:
        """Seconds that each thing takes by itself; the kernel takes as long as the longest."""
        raise NotImplementedError


@dataclass(frozen=True)
class RowKernel(Kernel):
    """One that goes through rows with warps or blocks.

    A lane loads `lane_bytes` at a time, and has `under_way` such loads before it uses the first;
    those left over come one by one, or, `padded`, as one more such lot. A warp issues
    `instructions` for each, counted in the machine code of sm_90.
    """

    step_bytes: int = STEP_BYTES
    lane_bytes: int = 16
    under_way: int = 1
    padded: bool = False
    instructions: int = 15
    is_long: Callable[[np.ndarray], np.ndarray] = lambda lengths: lengths * STEP_BYTES > LONG_BYTES
    trips_again: Callable[[np.ndarray], np.ndarray] | None = None

    def parts_of(self, lengths: np.ndarray) -> int:
        """`launch.parts_of`: how many blocks share the same rows."""
        shares = RECORDS[self.name].shares
        if shares == "features":
            return FEATURES // 32
        blocks = -(-len(lengths) // WARPS)
        moved = int(lengths.sum()) * STEP_BYTES if shares == "bytes" else 0
        return max(moved // (blocks * LONG_BYTES), 1)

    def predictions(self, batch: Batch, machine: Machine) -> dict[str, float]:
        in_cache = self.bytes(batch) < L2_BYTES
        long, parts = self.is_long(batch.lengths), self.parts_of(batch.lengths)
        loads = -(-batch.lengths * self.step_bytes // (32 * self.lane_bytes))
        of_a_lane = -(-loads // (np.where(long, WARPS, 1) * parts))
        trips, left = divmod(of_a_lane, self.under_way)
        trips += np.minimum(left, 1) if self.padded else left
        seconds = trips * (TRIP_L2 if in_cache else TRIP)
        seconds += of_a_lane * self.instructions * APART / machine.clock
        if self.trips_again:
            seconds += self.trips_again(of_a_lane) * TRIP_L1
        blocks = np.repeat(seconds_of_blocks(seconds, long), parts)
        seats = machine.multiprocessors * RESIDENT
        issued = machine.multiprocessors * ISSUED * machine.clock
        return {
            "bytes": self.limits(batch, machine)["bytes"] / REACHED,
            "instructions": int(loads.sum()) * self.instructions / issued,
            "waiting for loads": max(blocks.max(), blocks.sum() / seats),
        }


@dataclass(frozen=True)
class Product(Kernel):
    """A product of matrices, in tiles."""

    def predictions(self, batch: Batch, machine: Machine) -> dict[str, float]:
        limits = self.limits(batch, machine)
        return {
            "bytes": limits["bytes"] / REACHED,
            "flops": limits["flops"] / PRODUCT_REACHED,
        }


@dataclass(frozen=True)
class Attention(Kernel):
    """Products of steps with steps of their row, of heads of 64 features, in whole tiles.

    There are `products` of them, those counted that are made again. Of a tile of 64 × 32 the sums
    take 4 loads of 16 bytes from shared memory where 48 multiply-adds are, which the loads hold up.
    """

    products: int = 2

    def predictions(self, batch: Batch, machine: Machine) -> dict[str, float]:
        queries, keys = (-(-batch.lengths // tile) * tile for tile in (OWN, OTHERS))
        flops = 2 * self.products * FEATURES * int((queries * keys).sum())
        return {
            "bytes": self.limits(batch, machine)["bytes"] / REACHED,
            "flops of whole tiles": flops / machine.flops_per_second / ATTENTION_REACHED,
        }


@dataclass(frozen=True)
class Recurrence(Kernel):
    """Blocks with a row in each of their slots, which take their steps together.

    A warp issues `instructions` for a step of all slots, filled or not, counted in the machine
    code of sm_90. `streamed` are the bytes of weights that a block reads for it from level 2.
    """

    threads: int = 256
    slots: int = 4
    resident: int = 1  # blocks of a multiprocessor
    instructions: int = 0
    streamed: int = 0

    def predictions(self, batch: Batch, machine: Machine) -> dict[str, float]:
        issued = self.instructions * (self.threads // 32) / ISSUED
        step = max(issued, self.streamed / L2_RATE_OF_ONE) / machine.clock
        rows, blocks = len(batch.lengths), machine.multiprocessors * self.resident
        filled = min(self.slots, -(-rows // blocks))
        steps = int(batch.lengths.sum()) / filled
        return {
            "bytes": self.limits(batch, machine)["bytes"] / REACHED,
            "steps of all rows": max(
                steps * step / machine.multiprocessors, steps * self.streamed / L2_RATE
            ),
            "steps of the longest row": int(batch.lengths.max()) * step,
        }


def seconds_of_blocks(seconds: np.ndarray, long: np.ndarray) -> np.ndarray:
    """A block has its short rows done at once, by a warp each, and its long ones one by one."""
    blank = -len(seconds) % WARPS
    rows = np.pad(seconds, (0, blank)).reshape(-1, WARPS)
    is_long = np.pad(long, (0, blank)).reshape(-1, WARPS)
    return np.where(is_long, 0, rows).max(axis=1) + np.where(is_long, rows, 0).sum(axis=1)


def more_steps_than_a_warp(lengths: np.ndarray) -> np.ndarray:
    """`teams.is_short` for 128 features, where the lanes of a warp lie over one step."""
    return lengths > STEPS


def not_staged(loads: np.ndarray) -> np.ndarray:
    """softmax reads again, twice, the steps that shared memory has no room for."""
    return 2 * np.maximum(loads - STEPS, 0)


def all_again(loads: np.ndarray) -> np.ndarray:
    """masking reads a step to look at it, and again to copy it."""
    return loads


def all_or_none(lengths: np.ndarray) -> np.ndarray:
    """pad looks at the padded width: every row is for a block, or none is."""
    return np.full(len(lengths), lengths.max() * STEP_BYTES > LONG_BYTES)


def never(lengths: np.ndarray) -> np.ndarray:
    return np.zeros(len(lengths), bool)


NUMBER_BY_NUMBER = {
    "is_long": more_steps_than_a_warp,
    "lane_bytes": 4,
    "under_way": 4,
    "padded": True,
}
ROW_KERNELS = (
    RowKernel(
        "pad",
        "4*F*S + 16*R",
        "(4*F + 1)*P",
        under_way=4,
        instructions=13,
        is_long=all_or_none,
    ),
    RowKernel("compact", "4*F*S + 24*R", "4*F*S", under_way=4, instructions=9),
    RowKernel("pack", "4*F*S + 16*R", "4*F*S", lane_bytes=8, instructions=24),
    RowKernel("embedding", "8*S + 4*F*D + 24*R", "4*F*S", instructions=48),
    RowKernel(
        "masking",
        "4*F*S + 24*R",
        "(4*F + 1)*S",
        "F*S",
        instructions=62,
        trips_again=all_again,
        **NUMBER_BY_NUMBER,
    ),
    RowKernel("count_kept", "S + 16*R", "8*R", step_bytes=1, lane_bytes=1, is_long=never),
    RowKernel(
        "softmax",
        "4*F*S + 24*R",
        "4*F*S",
        "26*F*S",
        instructions=105,
        trips_again=not_staged,
        **NUMBER_BY_NUMBER,
    ),
    RowKernel("pool", "4*F*S + 16*R", "4*F*R", "F*S", instructions=22, **NUMBER_BY_NUMBER),
)


def lstm(units: int, **options: int) -> tuple[Product, Recurrence]:
    product = "4*F*S + 16*F*U", "16*U*S", "8*F*U*S"
    recurrence = "16*U*S + 16*U*U + 24*R", "4*U*S", "(8*U*U + 128*U)*S"
    return (
        Product("lstm, projection", *product, units),
        Recurrence("lstm, recurrence", *recurrence, units, **options),
    )


# The third goes through the units twice: 64 times 4 of them with 377 instructions, and 2,000 more.
LSTM = (
    *lstm(64, threads=256, resident=2, instructions=690),
    *lstm(128, threads=512, instructions=1_070),
    *lstm(256, threads=256, slots=32, instructions=52_000, streamed=16 * 256 * 256),
)
ATTENTION = (
    Attention("attention", "12*F*S + 40*R", "4*F*S", "4*F*Q", products=2),
    Attention("attention_gradient", "20*F*S + 32*R", "12*F*S", "10*F*Q", products=8),
)
KERNELS = ROW_KERNELS + ATTENTION + LSTM


# -- the tables ---------------------------------------------------------------------------


def formulas() -> str:
    """Bytes and flops of each kernel."""
    lines = ["| kernel | bytes read | bytes written | flops |", "|---|---|---|---|"]
    for name, kernel in {kernel.name: kernel for kernel in KERNELS}.items():
        cells = (as_written(text) for text in (kernel.read, kernel.written, kernel.flops))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_written(formula: str) -> str:
    return "–" if formula == "0" else formula.replace("*", "·")


def table(batch: Batch) -> str:
    steps = f"{batch.lengths.sum():,} steps, the longest row {batch.lengths.max()}"
    lines = [
        f"**{batch.name}**: {steps}, {batch.distinct:,} different ids.",
        "",
        f"| kernel | MB | Mflop | limit, {SXM.name} | limit, {PCIE.name} | bound by "
        f"| predicted, {SXM.name} | held up by | with {MORE} loads under way |",
        "|---|---:|---:|---:|---:|---|---:|---|---:|",
    ]
    for kernel in KERNELS:
        name = f"{kernel.name}, {kernel.units} units" if kernel.units else kernel.name
        limits = kernel.limits(batch, SXM)
        cells = (
            name,
            number(kernel.bytes(batch) / 1e6),
            number(kernel.operations(batch) / 1e6) if kernel.operations(batch) else "–",
            show_seconds(kernel.limit(batch, SXM)),
            show_seconds(kernel.limit(batch, PCIE)),
            max(limits, key=limits.__getitem__),
            *prediction(kernel, batch),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:.3g}"


def prediction(kernel: Kernel, batch: Batch) -> tuple[str, str, str]:
    """The predicted time with a launch, what most of it goes to, and what it could be."""
    parts = kernel.predictions(batch, SXM)
    slowest = max(parts, key=parts.__getitem__)
    cause = slowest if parts[slowest] > LAUNCH else "the launch"
    predicted = show_seconds(LAUNCH + parts[slowest])
    if not isinstance(kernel, RowKernel) or kernel.under_way >= MORE:
        return predicted, cause, "–"
    better = replace(kernel, under_way=MORE).predictions(batch, SXM)
    return predicted, cause, show_seconds(LAUNCH + max(better.values()))


def page() -> str:
    """All tables, as they stand in the README."""
    return "\n\n".join([formulas(), *(table(make()) for make in BATCHES)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    text = page()
    if parser.parse_args().write:
        before = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(MARKED.sub(lambda _: text, before), encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
