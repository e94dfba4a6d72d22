"""Attention of each row's steps to the steps of a row, in tiles that are nowhere written down.

Online softmax: M. Milakov, N. Gimelshein (2018); in tiles, forth and back: T. Dao et al. (2022).
A block makes 64 numbers of 64 steps at a time, its *own*, of *others*, 32 at a time: of queries out
of keys, and for the gradients of keys and values out of queries. A thread has 4 × 4 of the products
of own steps and others, and 4 × 8 of the sums. Tiles of others begin at the row's first kept step,
a pair that is not seen adds nothing, and a sum has one order: neither where a row lies nor how its
tiles are shared among blocks changes a bit. Nothing is added by atomics.
"""

import math
from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.teams import ALL, THREADS, WARPS, i8, kept_span, larger, plus, u8
from ragmask.kernels.cuda.vector import ALIGNED, unrolled
from ragmask.kernels.intrinsics import load_4, store_4
from ragmask.kernels.math import exp
from ragmask.kernels.overloads import bytes_of_item, computed_in

OWN, OTHERS, BYTES = 64, 32, 256  # steps, and bytes of a step, that a block has at a time
QUERIES, KEYS, VALUES = 0, 1, 2  # whose gradient is made
_DEPTH = 16  # numbers of a step that are multiplied at a time
_FAR = 1 << 40  # more steps than there are in a row

# Shared memory. Columns are 4 longer than they need be, so that they begin in other banks.
_OWN_COLUMN, _OTHER_COLUMN = OWN + 4, OTHERS + 4
_OF_OTHERS = _DEPTH * _OWN_COLUMN  # behind columns of own steps
_WEIGHTS = _OF_OTHERS + _DEPTH * _OTHER_COLUMN
_NUMBERS = _WEIGHTS + OTHERS * _OWN_COLUMN
_KEPT = _NUMBERS + OTHERS * BYTES // 4
_SHIFTS = _KEPT + OTHERS
_COMMON = _SHIFTS + OWN
ATTENTION_MEMORY = _COMMON + OWN  # numbers

i4 = np.int32


@cuda_kernel
def attention(
    q: Any,
    q_starts: Any,
    q_lengths: Any,
    q_mask: Any,
    k: Any,
    v: Any,
    k_starts: Any,
    k_lengths: Any,
    k_mask: Any,
    sizes: Any,
    window: Any,
    scale: Any,
    out_starts: Any,
    out: Any,
    log_sum: Any,
) -> None:
    """The twin of `cpu.attention`. Blocks share rows, heads and tiles of queries.

    Float16 is computed in float32.
    """
    memory = cuda.shared.array(ATTENTION_MEMORY, computed_in(q), ALIGNED)
    heads = sizes[0]
    units, block, blocks = q_lengths.size * heads, i8(cuda.blockIdx.x), i8(cuda.gridDim.x)
    parts = max(blocks // units, 1)
    for work in range(block, units * parts, blocks):
        unit, team = work // parts, (small(work % parts), small(parts))
        row, head = u8(unit // heads), unit % heads
        queries, keys = (q_starts[row], q_lengths[row]), (k_starts[row], k_lengths[row])
        segments = (q, queries, q_mask, k, v, keys, k_mask)
        result = out_starts[row], out, log_sum
        attention_row(segments, sizes, window, scale, result, head, memory, team)


@cuda_device
def attention_row(
    segments: Any,
    sizes: Any,
    window: Any,
    scale: Any,
    result: Any,
    head: int,
    memory: Any,
    team: Any,
) -> None:
    """One head of one row by a whole block of THREADS: its tiles part, part + parts and so on.

    segments (q, (start, length), q_mask, k, v, (start, length), k_mask); sizes (heads, key heads,
    dim, value dim); window (left, right); result (out_start, out, log_sum), where log_sum may be
    None; memory shared, ALIGNED, (ATTENTION_MEMORY,) of the type that q is computed in; team
    (part, parts), which is (0, 1) where one block does it all.
    """
    q, (q_start, q_length), q_mask, k, v, (k_start, k_length), k_mask = segments
    heads, key_heads, dim, value_dim = sizes
    out_start, out, log_sum = result
    part, parts = team
    number = computed_in(q)
    scores, sums = cuda.local.array(16, number), cuda.local.array(32, number)
    tops, totals = cuda.local.array(4, number), cuda.local.array(4, number)
    across, down = place_of_thread()
    key_head = head // (heads // key_heads)
    queries = steps_of(q, q_start, heads, head, dim)
    keys = steps_of(k, k_start, key_heads, key_head, dim)
    values = steps_of(v, k_start, key_heads, key_head, value_dim)
    outs = steps_of(out, out_start, heads, head, value_dim)
    near, far = reach(window, k_length - q_length)
    first, last, _ = kept_span(k_mask, k_start, k_length)

    features = BYTES // bytes_of_item(memory)
    tiles = (max(value_dim, 1) + features - 1) // features
    for tile in range(part, (q_length + OWN - 1) // OWN * tiles, parts):
        begin, base = tile // tiles * OWN, small(tile % tiles * features)
        own = begin, small(min(OWN, q_length - begin))
        clear(sums, 32)
        clear(totals, 4)
        for i in range(4):
            tops[i] = number(-np.inf)
        start, end = span_seen(own, near, far, first, last)
        for at in range(start, end, OTHERS):
            others = at, small(min(OTHERS, end - at))
            seen = ahead_of(own, at, near, far)
            put_kept(k_mask, k_start, others, memory)
            products(queries, own, keys, others, memory, scores)
            for j in range(4):
                for i in range(4):
                    score = scores[4 * i + j] * number(scale)
                    is_one = is_pair(memory, seen, i, 4 * across + j)
                    scores[4 * i + j] = score if is_one else number(-np.inf)
            soften(scores, sums, tops, totals)
            put_weights(scores, memory)
            add_up(own, values, others, base, seen, memory, sums)

        kept = kept_of_4(q_mask, q_start, own)
        for i in range(4):
            total = sum_across(totals[i])
            factor = number(1) / total if total != number(0) else number(0)
            for feature in range(features // 8):
                sums[8 * i + feature] *= factor
            if across == 0 and base == 0 and 4 * down + i < own[1]:
                step = (out_start + begin + 4 * down + i) * heads + head
                put_log_sum(log_sum, step, tops[i], total if kept >> i & 1 else number(0))
        put(sums, outs, own, kept, base)


@cuda_device
def add_power(j: int, i: int, scores: Any, shift: Any, totals: Any) -> None:
    power = exp(scores[4 * i + j] - shift)
    scores[4 * i + j], totals[i] = power, totals[i] + power


add_powers = unrolled(4, add_power)


@cuda_device
def soften_step(i: int, scores: Any, sums: Any, tops: Any, totals: Any) -> None:
    """An own step's scores become powers, shifted by the largest so far, as what is there is."""
    number = sums.dtype.type
    top = tops[i]
    for j in range(4):
        top = larger(top, scores[4 * i + j])
    top = largest_across(top)
    # of nothing but -inf, the weights are to be 0
    shift = top if top != number(-np.inf) else number(0)
    factor = exp(tops[i] - shift)
    tops[i], totals[i] = top, totals[i] * factor
    for feature in range(BYTES // 8 // bytes_of_item(sums)):
        sums[8 * i + feature] *= factor
    add_powers(i, scores, shift, totals)


soften = unrolled(4, soften_step)


@cuda_kernel
def attention_gradient(
    q: Any,
    q_starts: Any,
    q_lengths: Any,
    q_mask: Any,
    k: Any,
    v: Any,
    k_starts: Any,
    k_lengths: Any,
    k_mask: Any,
    sizes: Any,
    window: Any,
    scale: Any,
    out: Any,
    log_sum: Any,
    gradient: Any,
    q_gradient: Any,
    k_gradient: Any,
    v_gradient: Any,
) -> None:
    """The twin of `cpu.attention_gradient`. Blocks share rows, heads, gradients and their tiles."""
    memory = cuda.shared.array(ATTENTION_MEMORY, q.dtype, ALIGNED)
    heads, key_heads = sizes[0], sizes[1]
    each = heads + 2 * key_heads  # gradients of heads that a row has
    units, block, blocks = q_lengths.size * each, i8(cuda.blockIdx.x), i8(cuda.gridDim.x)
    parts = max(blocks // units, 1)
    for work in range(block, units * parts, blocks):
        unit, team = work // parts, (small(work % parts), small(parts))
        row, head = u8(unit // each), unit % each
        queries, keys = (q_starts[row], q_lengths[row]), (k_starts[row], k_lengths[row])
        segments = (q, queries, q_mask, k, v, keys, k_mask)
        given, shared = (sizes, window, scale, out, log_sum, gradient), (memory, team)
        # three calls: in each the compiler knows whose gradient it is
        if head < heads:
            attention_gradient_row(segments, given, QUERIES, q_gradient, head, shared)
        elif head < heads + key_heads:
            attention_gradient_row(segments, given, KEYS, k_gradient, head - heads, shared)
        else:
            head -= heads + key_heads
            attention_gradient_row(segments, given, VALUES, v_gradient, head, shared)


@cuda_device
def attention_gradient_row(
    segments: Any, given: Any, of: int, target: Any, head: int, shared: Any
) -> None:
    """The gradient of one head of one row's queries, keys or values, by a whole block.

    segments, sizes, window, scale, memory and team as for `attention_row`; given (out, log_sum,
    gradient), the results and what arrives there, at q's own starts; of QUERIES, KEYS or VALUES,
    and target the array of their gradient; head theirs: one of keys sums over all the heads of
    queries that it serves, in order.
    """
    q, (q_start, q_length), q_mask, k, v, (k_start, k_length), k_mask = segments
    sizes, window, scale, out, log_sum, gradient = given
    heads, key_heads, dim, value_dim = sizes
    memory, (part, parts) = shared
    number = q.dtype.type
    scores, sums = cuda.local.array(16, number), cuda.local.array(32, number)
    across, down = place_of_thread()
    group, of_queries = heads // key_heads, of == QUERIES
    near, far = reach(window, k_length - q_length)
    length, size, first_head, end_head = q_length, dim, head // group, head // group + 1
    if of_queries:
        first, last, _ = kept_span(k_mask, k_start, k_length)
    else:
        near, far = -far, -near
        length, first_head, end_head = k_length, head * group, (head + 1) * group
        size = value_dim if of == VALUES else dim
        first, last, _ = kept_span(q_mask, q_start, q_length)

    features = BYTES // bytes_of_item(memory)
    tiles = (max(size, 1) + features - 1) // features
    for tile in range(part, (length + OWN - 1) // OWN * tiles, parts):
        begin, base = tile // tiles * OWN, small(tile % tiles * features)
        own = begin, small(min(OWN, length - begin))
        clear(sums, 32)
        start, end = span_seen(own, near, far, first, last)
        for other_head in range(first_head, end_head):
            q_head, k_head = (head, other_head) if of_queries else (other_head, head)
            queries = steps_of(q, q_start, heads, q_head, dim)
            keys = steps_of(k, k_start, key_heads, k_head, dim)
            values = steps_of(v, k_start, key_heads, k_head, value_dim)
            outs = steps_of(out, q_start, heads, q_head, value_dim)
            gradients = steps_of(gradient, q_start, heads, q_head, value_dim)
            log_sums = steps_of(log_sum, q_start, heads, q_head, 1)
            mine, theirs, my_other, their_other, added = queries, keys, gradients, values, keys
            if not of_queries:
                mine, theirs, my_other, their_other = keys, queries, values, gradients
                added = gradients if of == VALUES else queries
            for at in range(start, end, OTHERS):
                others = at, small(min(OTHERS, end - at))
                seen = ahead_of(own, at, near, far)
                if of_queries:
                    put_kept(k_mask, k_start, others, memory)
                else:
                    put_kept(q_mask, q_start, others, memory)
                if not of_queries or at == start:
                    put_common(outs, gradients, own if of_queries else others, log_sums, memory)
                products(mine, own, theirs, others, memory, scores)
                weigh(scores, number(scale), of_queries, own[1], seen, memory)
                put_weights(scores, memory)
                if of != VALUES:
                    products(my_other, own, their_other, others, memory, scores)
                    for j in range(4):
                        other = 4 * across + j
                        were = load_4(memory, _WEIGHTS + other * _OWN_COLUMN + 4 * down)
                        for i in range(4):
                            change = number(0)
                            if is_pair(memory, seen, i, other) and 4 * down + i < own[1]:
                                query = u8(4 * down + i if of_queries else other)
                                change = scores[4 * i + j] - memory[_COMMON + query]
                            scores[4 * i + j] = were[i] * change * number(scale)
                    put_weights(scores, memory)
                add_up(own, added, others, base, seen, memory, sums)

        if of_queries:
            kept = kept_of_4(q_mask, q_start, own)
            put(sums, steps_of(target, q_start, heads, head, dim), own, kept, base)
        else:
            kept = kept_of_4(k_mask, k_start, own)
            put(sums, steps_of(target, k_start, key_heads, head, size), own, kept, base)


@cuda_device
def weigh_pair(
    turn: int, scores: Any, scale: Any, of_queries: bool, count: int, seen: Any, memory: Any
) -> None:
    """A score becomes the weight that it had."""
    across, down = place_of_thread()
    i, j = turn & 3, turn >> 2
    other, weight = 4 * across + j, scores.dtype.type(0)
    if is_pair(memory, seen, i, other) and 4 * down + i < count:
        query = 4 * down + i if of_queries else other
        weight = exp(scores[4 * i + j] * scale - memory[u8(_SHIFTS + query)])
    scores[4 * i + j] = weight


weigh = unrolled(16, weigh_pair)


# -- what both are made of: steps (array, stride, size), tiles of them (begin, count) --------


@cuda_device
def steps_of(array: Any, start: int, heads: int, head: int, size: int) -> Any:
    """(array, stride, size): one head's part of a row's steps, in an array that begins there."""
    return array[u8((start * heads + head) * size) :], small(heads * size), small(size)


@cuda_device
def place_of_thread() -> Any:
    """(across, down): a thread has 4 own steps from 4 · down on, as the 7 beside it do.

    Of others it has 4, from 4 · across on, and of their numbers as many, and the 4 that are 32 on.
    """
    return small(cuda.threadIdx.x & 7), small(cuda.threadIdx.x >> 3)


@cuda_device
def reach(window: Any, shift: int) -> Any:
    """(near, far): query i sees the keys i + near to i + far. Rows of both end together."""
    left, right = window
    return shift - min(left, _FAR), shift + min(right, _FAR)


@cuda_device
def span_seen(own: Any, near: int, far: int, first: int, last: int) -> Any:
    """(start, end): where those of the others from first to last lie that a tile's steps see.

    The start is a whole number of tiles behind first.
    """
    begin, count = own
    start, end = max(begin + near, first), min(begin + count + far, last)
    return first + (start - first) // OTHERS * OTHERS, end


@cuda_device
def small(number: Any) -> Any:
    """The number, of which the compiler knows that it fits 32 bits: it needs fewer registers."""
    return i8(i4(number))


@cuda_device
def ahead_of(own: Any, at: int, near: int, far: int) -> Any:
    """(near, far) from a thread's first own step, to others that count from `at` on."""
    begin = own[0] + 4 * (cuda.threadIdx.x >> 3) - at
    return clamped(begin + near), clamped(begin + far)


@cuda_device
def clamped(ahead: int) -> Any:
    return small(min(max(ahead, -OTHERS), OTHERS))


@cuda_device
def is_seen(seen: Any, ahead: int) -> Any:
    """Whether the own step that `seen` is about sees the one so many ahead of it."""
    near, far = seen
    return near <= ahead and ahead <= far


@cuda_device
def is_pair(memory: Any, seen: Any, i: int, other: int) -> Any:
    """Whether a thread's own step i sees another, which is kept."""
    return memory[u8(_KEPT + other)] != memory.dtype.type(0) and is_seen(seen, other - i)


@cuda_device
def is_kept(mask: Any, start: int, step: int, count: int) -> Any:
    return step < count and (mask is None or mask[u8(start + step)])


@cuda_device
def kept_of_4(mask: Any, start: int, own: Any) -> int:
    """A bit for each of a thread's own steps, the lowest for the first."""
    begin, count = own
    _, down = place_of_thread()
    bits = 0
    for i in range(4):
        if is_kept(mask, start + begin, 4 * down + i, count):
            bits |= 1 << i
    return bits


@cuda_device
def put_kept(mask: Any, start: int, others: Any, memory: Any) -> None:
    """Into shared memory, for each of the others: 1 where it is kept, else 0."""
    at, count = others
    other = i8(cuda.threadIdx.x)
    if other < OTHERS:
        memory[u8(_KEPT + other)] = 1 if is_kept(mask, start + at, other, count) else 0


@cuda_device
def put_common(outs: Any, gradients: Any, tile: Any, log_sums: Any, memory: Any) -> None:
    """Into shared memory, for each query of a tile: what its weights' gradients have in common.

    That is gradient · output; and what its scores are shifted by. A warp takes every 4th query.
    """
    (out, stride, size), (gradient, _, _) = outs, gradients
    log_sum, heads, _ = log_sums
    begin, count = tile
    number = memory.dtype.type
    warp, lane = i8(cuda.threadIdx.x >> 5), i8(cuda.threadIdx.x & 31)
    for step in range(warp, count, WARPS):
        total = number(0)
        for feature in range(lane, size, 32):
            at = u8((begin + step) * stride + feature)
            total += out[at] * gradient[at]
        for distance in (16, 8, 4, 2, 1):
            total += cuda.shfl_xor_sync(ALL, total, distance)
        if lane == 0:
            memory[u8(_COMMON + step)] = total
            memory[u8(_SHIFTS + step)] = log_sum[u8((begin + step) * heads)]


@cuda_device
def put_columns(steps: Any, tile: Any, base: int, column: int, memory: Any) -> None:
    """Numbers base and on of a tile's steps into shared memory, those of a step in a column.

    Zeros where there are none. A column is so long, 4 more than there are steps.
    """
    array, stride, size = steps
    begin, count = tile
    number = computed_in(array)
    depth, step = i8(cuda.threadIdx.x & (_DEPTH - 1)), i8(cuda.threadIdx.x // _DEPTH)
    end = (count + 3) // 4 * 4
    while step < end:
        value = number(0)
        if step < count and base + depth < size:
            value = number(array[u8((begin + step) * stride + base + depth)])
        memory[u8(depth * column + step)] = value
        step += THREADS // _DEPTH


@cuda_device
def products(mine: Any, own: Any, theirs: Any, others: Any, memory: Any, sums: Any) -> None:
    """A thread's 4 × 4 products of own steps and others, summed up over all their numbers."""
    across, down = place_of_thread()
    size = mine[2]
    clear(sums, 16)
    for base in range(0, max(size, 1), _DEPTH):
        cuda.syncthreads()
        put_columns(mine, own, base, _OWN_COLUMN, memory)
        put_columns(theirs, others, base, _OTHER_COLUMN, memory[_OF_OTHERS:])
        cuda.syncthreads()
        if 4 * down < own[1] and 4 * across < others[1]:
            for depth in range(min(_DEPTH, size - base)):
                left = load_4(memory, depth * _OWN_COLUMN + 4 * down)
                right = load_4(memory, _OF_OTHERS + depth * _OTHER_COLUMN + 4 * across)
                for i in range(4):
                    for j in range(4):
                        sums[4 * i + j] += left[i] * right[j]


@cuda_device
def put_weights(weights: Any, memory: Any) -> None:
    """A thread's 4 × 4 weights into shared memory."""
    across, down = place_of_thread()
    for j in range(4):
        of_step = weights[j], weights[4 + j], weights[8 + j], weights[12 + j]
        store_4(memory, _WEIGHTS + (4 * across + j) * _OWN_COLUMN + 4 * down, of_step)


@cuda_device
def add_up(
    own: Any,
    steps: Any,
    others: Any,
    base: int,
    seen: Any,
    memory: Any,
    sums: Any,
) -> None:
    """Add to a thread's 4 × 8 sums the others' numbers, base and on, times their weights.

    What is not seen is not even multiplied: it may be NaN.
    """
    array, stride, size = steps
    at, count = others
    number = computed_in(array)
    across, down = place_of_thread()
    features = BYTES // bytes_of_item(memory)
    feature, other = i8(cuda.threadIdx.x % features), i8(cuda.threadIdx.x // features)
    while other < count:
        value = number(0)
        if memory[u8(_KEPT + other)] != number(0) and base + feature < size:
            value = number(array[u8((at + other) * stride + base + feature)])
        memory[u8(_NUMBERS + other * features + feature)] = value
        other += THREADS // features
    cuda.syncthreads()
    if 4 * down < own[1]:
        for other in range(count):
            weight = load_4(memory, _WEIGHTS + other * _OWN_COLUMN + 4 * down)
            for half in range(features // 32):
                four = load_4(memory, _NUMBERS + other * features + 32 * half + 4 * across)
                for i in range(4):
                    if is_seen(seen, other - i):
                        for feature in range(4):
                            sums[8 * i + 4 * half + feature] += weight[i] * four[feature]


@cuda_device
def put(sums: Any, steps: Any, own: Any, kept: int, base: int) -> None:
    """A thread's sums where they belong; 0 where a step is masked."""
    array, stride, size = steps
    begin, count = own
    across, down = place_of_thread()
    for i in range(4):
        step = 4 * down + i
        for feature in range(BYTES // 8 // bytes_of_item(sums)):
            at = base + (feature >> 2) * 32 + 4 * across + (feature & 3)
            if step < count and at < size:
                value = sums[8 * i + feature] if kept >> i & 1 else sums.dtype.type(0)
                array[u8((begin + step) * stride + at)] = value


@cuda_device
def put_log_sum(log_sum: Any, at: int, top: Any, total: Any) -> None:
    """The logarithm of total · exp(top); infinity where there is no sum: each weight is then 0."""
    if log_sum is not None:
        number = log_sum.dtype.type
        log_sum[u8(at)] = number(top + math.log(total)) if total != number(0) else number(np.inf)


@cuda_device
def clear(numbers: Any, count: int) -> None:
    for at in range(count):
        numbers[at] = numbers.dtype.type(0)


def combined_across(combine: Any) -> Any:
    """A device function that puts together the numbers of the 8 lanes with the same own steps."""

    @cuda_device
    def across(value: Any) -> Any:
        for distance in (4, 2, 1):
            value = combine(value, cuda.shfl_xor_sync(ALL, value, distance))
        return value

    return across


largest_across, sum_across = combined_across(larger), combined_across(plus)
