"""What a batch knows of its rows: checked, cut, picked and laid end to end, on the device.

A thread takes a row, or an item. Only a few numbers go back to the host, whatever the
batch's size.
"""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.teams import THREADS, WARPS, i8, kept_span, u8

BUCKETS = 512  # of rows of about the same length
# what check_rows finds: the first row that does not lie inside the values, the sum and the
# maximum of the lengths, how many rows do not begin where the one before ended, the first start
FIRST_BAD, STEPS, LONGEST, BREAKS, FIRST_START = range(5)


@cuda_device
def thread_number() -> Any:
    return i8(cuda.blockIdx.x) * THREADS + cuda.threadIdx.x


@cuda_kernel
def check_rows(n: int, starts: Any, lengths: Any, facts: Any) -> None:
    """Look at rows of `n` steps: facts int64 (5,) comes as NOWHERE, 0, 0, 0, 0."""
    row = thread_number()
    if row < lengths.size:
        start, length = starts[u8(row)], lengths[u8(row)]
        if row == 0:
            facts[u8(FIRST_START)] = start
        # n - start cannot overflow where start >= 0, and start + length could
        if start < 0 or length < 0 or length > n - start:
            cuda.atomic.min(facts, FIRST_BAD, row)
        else:
            cuda.atomic.add(facts, STEPS, length)
            cuda.atomic.max(facts, LONGEST, length)
            if row > 0 and start != starts[u8(row - 1)] + lengths[u8(row - 1)]:
                cuda.atomic.add(facts, BREAKS, i8(1))


@cuda_kernel
def first_outside(ids: Any, mask: Any, least: int, limit: int, first: Any) -> None:
    """Where the first of the kept ids int64 (n,) is not in [least, limit); first (1,) = NOWHERE."""
    at = thread_number()
    if at < ids.size and not least <= ids[u8(at)] < limit and (mask is None or mask[u8(at)]):
        cuda.atomic.min(first, 0, at)


@cuda_kernel
def first_difference(one: Any, other: Any, first: Any) -> None:
    """Where two arrays (n,) differ first; first int64 (1,) comes as NOWHERE."""
    at = thread_number()
    if at < one.size and one[u8(at)] != other[u8(at)]:
        cuda.atomic.min(first, 0, at)


@cuda_kernel
def cut(
    starts: Any,
    lengths: Any,
    begin: int,
    most: int,
    from_end: bool,
    out_starts: Any,
    out_lengths: Any,
) -> None:
    """Of each row, the steps [begin, begin + most), counted from its end where `from_end`."""
    row = thread_number()
    if row < lengths.size:
        skipped = min(lengths[u8(row)], begin)
        left = lengths[u8(row)] - skipped
        kept = min(left, most)
        out_starts[u8(row)] = starts[u8(row)] + (left - kept if from_end else skipped)
        out_lengths[u8(row)] = kept


@cuda_kernel
def take(numbers: Any, rows: Any, out: Any) -> None:
    """`out[i] = numbers[rows[i]]`; a negative row counts from the end."""
    at = thread_number()
    if at < rows.size:
        row = rows[u8(at)]
        out[u8(at)] = numbers[u8(row + numbers.size if row < 0 else row)]


@cuda_kernel
def progression(first: int, step: int, out: Any) -> None:
    """`out[i] = first + i · step`."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = first + at * step


@cuda_kernel
def differences(numbers: Any, out: Any) -> None:
    """`out[i] = numbers[i + 1] - numbers[i]`."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = i8(numbers[u8(at + 1)]) - i8(numbers[u8(at)])


@cuda_kernel
def add(one: Any, other: Any, out: Any) -> None:
    """`out = one + other`, each (n,)."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = one[u8(at)] + other[u8(at)]


@cuda_kernel
def convert(source: Any, out: Any) -> None:
    """`out = source`, (n,) each, in out's dtype."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = out.dtype.type(source[u8(at)])


@cuda_kernel
def both(mask: Any, other: Any, out: Any) -> None:
    """`out = mask & (other != 0)`, each (n,); mask bool, or None for True."""
    at = thread_number()
    if at < out.size:
        keep = mask is None or mask[u8(at)]
        out[u8(at)] = keep and other[u8(at)] != 0


@cuda_kernel
def fill(value: Any, out: Any) -> None:
    """`out = value`, (n,)."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = value


@cuda_kernel
def by_length(lengths: Any, longest: int, out: Any) -> None:
    """Row numbers into out int64 (rows,), the longest rows first. For one block.

    Rows are told apart by BUCKETS lengths; in which order those of one bucket come is not settled.
    """
    counts = cuda.shared.array(BUCKETS, i8)
    for bucket in range(cuda.threadIdx.x, BUCKETS, THREADS):
        counts[u8(bucket)] = 0
    cuda.syncthreads()
    for row in range(cuda.threadIdx.x, lengths.size, THREADS):
        cuda.atomic.add(counts, bucket_of(lengths[u8(row)], longest), i8(1))
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        total = i8(0)
        for bucket in range(BUCKETS):
            count = counts[u8(bucket)]
            counts[u8(bucket)] = total
            total += count
    cuda.syncthreads()
    for row in range(cuda.threadIdx.x, lengths.size, THREADS):
        position = cuda.atomic.add(counts, bucket_of(lengths[u8(row)], longest), i8(1))
        out[u8(position)] = row


@cuda_device
def bucket_of(length: Any, longest: Any) -> Any:
    return u8((longest - length) * (BUCKETS - 1)) // u8(longest if longest > 0 else i8(1))


@cuda_kernel
def where(mask: Any, numbers: Any, out: Any) -> None:
    """`out = numbers if mask else 0`, each (n,)."""
    at = thread_number()
    if at < out.size:
        out[u8(at)] = numbers[u8(at)] if mask[u8(at)] else out.dtype.type(0)


@cuda_kernel
def unpack_bits(bits: Any, first: int, out: Any) -> None:
    """Bits of uint8 bits, from number `first` on, the lowest of a byte first, to bool (n,)."""
    at = thread_number()
    if at < out.size:
        bit = first + at
        out[u8(at)] = (bits[u8(bit >> 3)] >> (bit & 7)) & 1 != 0


@cuda_kernel
def offsets(lengths: Any, out: Any) -> None:
    """Where rows begin and end once they lie end to end: out int64 (rows + 1,). For one block."""
    sums = cuda.shared.array(THREADS, i8)
    thread, rows = i8(cuda.threadIdx.x), lengths.size
    share = (rows + THREADS - 1) // THREADS
    first, last = min(thread * share, rows), min((thread + 1) * share, rows)
    total = i8(0)
    for row in range(first, last):
        total += lengths[u8(row)]
    sums[u8(thread)] = total
    cuda.syncthreads()
    total = i8(0)
    for other in range(thread):
        total += sums[u8(other)]
    if thread == 0:
        out[u8(0)] = 0
    for row in range(first, last):
        total += lengths[u8(row)]
        out[u8(row + 1)] = total


@cuda_kernel
def spans(
    mask: Any, starts: Any, lengths: Any, out_starts: Any, out_lengths: Any, holes: Any
) -> None:
    """Each row from its first kept step to its last; holes int64 (1,) counts masked ones between.

    A warp takes a row. mask bool (n,); the other arrays int64 (rows,).
    """
    row = i8(cuda.blockIdx.x) * WARPS + (cuda.threadIdx.x >> 5)
    if row < lengths.size:
        first, last, kept = kept_span(mask, starts[u8(row)], lengths[u8(row)])
        if cuda.threadIdx.x & 31 == 0:
            out_starts[u8(row)], out_lengths[u8(row)] = starts[u8(row)] + first, last - first
            if kept < last - first:
                cuda.atomic.add(holes, 0, last - first - kept)
