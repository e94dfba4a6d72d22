"""What is measured on: the kind of machine, and whether others use it at the same time."""

import os
import time
from pathlib import Path

from numba.core.registry import cpu_target

from ragmask.kernels.cpu.tile import family_of
from ragmask.share import num_threads

STAT = Path("/proc/stat")


def processor():
    """The family of a processor, as tiles of matrix products know it."""
    return family_of(*cpu_target.target_context.codegen().magic_tuple())


def family():
    """The name of machines whose results may stand side by side: "amd-zen3-avx2-2cores"."""
    return family_name(*cpu_target.target_context.codegen().magic_tuple(), num_threads())


def family_name(triple, cpu, features, cores):
    """From LLVM's words for a processor, and how many cores are used: nothing of one machine."""
    vectors = family_of(triple, cpu, features).name.split()[0].replace("-", "").lower()
    parts = [cpu.replace("znver", "amd-zen")]
    if vectors not in parts[0]:
        parts.append(vectors)
    return "-".join([*parts, f"{cores}core{'s' if cores > 1 else ''}"])


def busy(seconds=0.5):
    """A sentence for those who are about to measure while others compute, else ""."""
    wanted, idle = num_threads(), idle_cores(seconds)
    if idle > 0.9 * wanted:
        return ""
    return (
        f"The machine is busy: of {wanted} cores to measure on, others leave {idle:.1f}. "
        "Times are too long, and ratios of two threads to one are off."
    )


def idle_cores(seconds):
    """How many of all the machine's cores had nothing to do while this process slept."""
    cores = os.cpu_count() or 1
    if not STAT.exists():
        return max(0.0, cores - os.getloadavg()[0])
    before = cpu_ticks()
    time.sleep(seconds)
    idle, everything = (now - then for now, then in zip(cpu_ticks(), before, strict=True))
    return cores * idle / max(everything, 1)


def cpu_ticks():
    """Since the machine began: those of idle cores, and all."""
    ticks = [int(word) for word in STAT.read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)  # idle, and idle while a disk is waited for
