"""Attention: each step's mean of the steps of another batch's row, weighed by a softmax.

A task is a row and one head of its keys. The row's kept keys are gathered once, so that those a
query sees lie between two places. Then follow, block by block, the *lines*: one for each kept query
and each of the heads that share these keys. Scores are never there for more than one block.

A. Vaswani et al. (2017). The gradient makes the scores again, as that of T. Dao et al. (2022).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ragmask.kernels.compile import njit, part
from ragmask.kernels.constants import TILE_ROWS
from ragmask.kernels.cpu.lanes import (
    LANES,
    borrowed,
    largest_of_lanes,
    spaced,
    sum_of_lanes,
    whole,
)
from ragmask.kernels.cpu.product import Factor, group_of, multiply_columns, multiply_depths
from ragmask.kernels.math import decay

LINES = 48  # in a block: whole tiles, and whole spans of sums over lines
SCORES = (
    24_576  # of a block, which has fewer lines where keys are many: the second cache holds them
)
CHUNK = 256  # keys that a block's gradient looks at together
APART = 272  # their lines, as `spaced` says


class Task(NamedTuple):
    """The lines and the keys of a task.

    queries and keys say which head of their row each of them is, over all its steps; a line sees
    the keys [low, high).
    """

    queries: Any
    keys: Any
    low: Any
    high: Any


@njit
def attention(
    first_task: int,
    last_task: int,
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
    scale: float,
    out_starts: Any,
    out: Any,
    log_sum: Any,
) -> None:
    """Each query's mean of the values whose keys it sees, weighed by the softmax of its scores.

    A task is row · key heads + head. q (n · heads · dim,), k (n · key heads · dim,) and v (n · key
    heads · value dim,), all float32 or all float64; starts and lengths int64 (rows,); masks bool
    (n,), and None or empty where there is none; sizes (heads, key heads, dim, value dim), of which
    the second divides the first. A score is scale · q · k. A query sees the kept keys from
    `window[0]` steps before its own to `window[1]` behind it, where both rows end together.

    out (steps · heads · value dim,): 0 for queries that are masked or see no key. log_sum (steps ·
    heads,) or None: log Σ exp(score), and inf where that sum is 0.
    """
    heads, key_heads, dim, value_dim = sizes
    places, most_keys = places_of(first_task, last_task, sizes, q_lengths, k_lengths)
    room, width = stride_of(q, most_keys), spaced(value_dim)
    most_scores = min(LINES * room, max(SCORES, TILE_ROWS * room))
    scratch = (
        np.zeros(room * dim, q.dtype),
        np.zeros(most_keys * width, q.dtype),  # what fills up a panel is 0, and stays so
        np.zeros(LINES * dim, q.dtype),
        np.zeros(most_scores, q.dtype),
        np.zeros(LINES * width, q.dtype),
        np.zeros(LINES, q.dtype),
        np.zeros(LINES, q.dtype),
    )
    no_logs = np.zeros(0, q.dtype)
    for number in range(first_task, last_task):
        row, head = number // key_heads, number % key_heads
        at, length, to = q_starts[row], q_lengths[row], out_starts[row]
        key_at, key_length = k_starts[row], k_lengths[row]
        task = task_of(head, sizes, q_mask, at, length, k_mask, key_at, key_length, window, places)
        row_out = row_of(out, to, length, heads * value_dim)
        logs = no_logs if log_sum is None else row_of(log_sum, to, length, heads)
        group = heads // key_heads
        if task.queries.size < length * group:
            fill(row_out, head * group, group, heads, value_dim, 0)
            fill(logs, head * group, group, heads, 1, np.inf)
        attend(
            row_of(q, at, length, heads * dim),
            row_of(k, key_at, key_length, key_heads * dim),
            row_of(v, key_at, key_length, key_heads * value_dim),
            task,
            dim,
            value_dim,
            scale,
            scratch,
            row_out,
            logs,
        )


@part
def attend(
    q: Any,
    k: Any,
    v: Any,
    task: Any,
    dim: int,
    value_dim: int,
    scale: float,
    scratch: Any,
    out: Any,
    logs: Any,
) -> None:
    """One task of `attention`, on the numbers of its row."""
    q, k, v, out, logs = borrowed((q, k, v, out, logs))
    k_turned, values, queries, scores, sums, totals, log_sums = borrowed(scratch)
    lines, keys, lows, highs = borrowed((task.queries, task.keys, task.low, task.high))
    width = spaced(value_dim)
    turn(k, keys, dim, k_turned)
    gather(v, keys, value_dim, 1, values, width)
    is_apart = sees_less(task) and not all_finite(values[: keys.size * width])
    stride = stride_of(q, keys.size)
    block = min(max(SCORES // stride // TILE_ROWS, 1) * TILE_ROWS, LINES)
    for first in range(0, lines.size, block):
        own, low, high = lines[first:][:block], lows[first:][:block], highs[first:][:block]
        gather(q, own, dim, scale, queries, dim)
        factor = Factor(queries, dim, 1)
        multiply_columns(factor, dim, k_turned, scores, stride, low, high)
        soften(scores, stride, low, high, totals, log_sums)
        if logs.size:
            for line in range(own.size):
                logs[own[line]] = log_sums[line]
        factor = Factor(scores, stride, 1)
        multiply_depths(factor, values, value_dim, sums, low, high, is_apart, False)
        for line in range(own.size):
            target, total = out[own[line] * value_dim :][:value_dim], totals[line]
            line_sums = sums[line * width :]
            for i in range(value_dim):
                target[i] = line_sums[i] * total


@part
def soften(scores: Any, stride: int, low: Any, high: Any, totals: Any, log_sums: Any) -> None:
    """exp(score - maximum) in place of a line's scores [low, high), and 0 of what its tile reads.

    totals get 1 / their sum, or 0 where there is none, and log_sums the logarithm of the sum of
    exp(score), or inf. A key's place alone says in which order is summed up.
    """
    for line in range(low.size):
        tile = line // TILE_ROWS * TILE_ROWS
        tile_begin = low[tile] // LANES * LANES
        tile_end = whole(high[min(tile + TILE_ROWS, low.size) - 1], LANES)
        begin, end = low[line] // LANES * LANES, whole(high[line], LANES)
        own = scores[line * stride : (line + 1) * stride]
        totals[line] = 0
        log_sums[line] = np.inf
        if low[line] < high[line]:
            if begin < low[line]:
                own[begin : low[line]] = -np.inf
            if high[line] < end:
                own[high[line] : end] = -np.inf
            seen = own[begin:end]
            largest = largest_of_lanes(seen)
            shift = largest if largest > -np.inf else scores.dtype.type(0)
            for at in range(seen.size):
                seen[at] = decay(seen[at] - shift)
            total = sum_of_lanes(seen)
            if total != 0:
                totals[line] = 1 / total
                log_sums[line] = shift + math.log(total)
        else:
            begin = end = tile_begin
        if tile_begin < begin:
            own[tile_begin:begin] = 0
        if end < tile_end:
            own[end:tile_end] = 0


@njit
def attention_gradient(
    first_task: int,
    last_task: int,
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
    scale: float,
    out: Any,
    log_sum: Any,
    gradient: Any,
    q_gradient: Any,
    k_gradient: Any,
    v_gradient: Any,
) -> None:
    """From the gradient of what `attention` gave to those of q, k and v; 0 at masked steps.

    All as `attention` takes and gives it, with rows end to end; gradient as out, and of each of q,
    k and v a gradient of its shape.
    """
    heads, key_heads, dim, value_dim = sizes
    places, most_keys = places_of(first_task, last_task, sizes, q_lengths, k_lengths)
    room = stride_of(q, most_keys)
    width, value_width = spaced(dim), spaced(value_dim)
    scratch = (
        np.zeros(most_keys * width, q.dtype),  # what fills up a panel is 0, and stays so
        np.zeros(room * dim, q.dtype),
        np.zeros(room * value_dim, q.dtype),
        np.zeros(LINES * width, q.dtype),
        np.zeros(LINES * value_width, q.dtype),
        np.zeros(LINES * value_width, q.dtype),
        np.zeros(LINES * APART, q.dtype),
        np.zeros(LINES * APART, q.dtype),
        np.zeros(LINES * width, q.dtype),
        np.zeros(most_keys * width, q.dtype),
        np.zeros(most_keys * value_width, q.dtype),
        np.zeros(LINES, q.dtype),
        np.zeros(LINES, q.dtype),
        np.zeros(2 * (LINES + CHUNK), np.int64),
    )
    for number in range(first_task, last_task):
        row, head = number // key_heads, number % key_heads
        at, length, key_at, key_length = (
            q_starts[row],
            q_lengths[row],
            k_starts[row],
            k_lengths[row],
        )
        task = task_of(head, sizes, q_mask, at, length, k_mask, key_at, key_length, window, places)
        of_q = row_of(q_gradient, at, length, heads * dim)
        of_k = row_of(k_gradient, key_at, key_length, key_heads * dim)
        of_v = row_of(v_gradient, key_at, key_length, key_heads * value_dim)
        group = heads // key_heads
        if task.queries.size < length * group:
            fill(of_q, head * group, group, heads, dim, 0)
        if task.keys.size < key_length:
            fill(of_k, head, 1, key_heads, dim, 0)
            fill(of_v, head, 1, key_heads, value_dim, 0)
        go_back(
            row_of(q, at, length, heads * dim),
            row_of(k, key_at, key_length, key_heads * dim),
            row_of(v, key_at, key_length, key_heads * value_dim),
            task,
            dim,
            value_dim,
            scale,
            row_of(out, at, length, heads * value_dim),
            row_of(log_sum, at, length, heads),
            row_of(gradient, at, length, heads * value_dim),
            scratch,
            of_q,
            of_k,
            of_v,
        )


@part
def go_back(
    q: Any,
    k: Any,
    v: Any,
    task: Any,
    dim: int,
    value_dim: int,
    scale: float,
    out: Any,
    log_sum: Any,
    gradient: Any,
    scratch: Any,
    of_q: Any,
    of_k: Any,
    of_v: Any,
) -> None:
    """One task of `attention_gradient`, on the numbers of its row.

    Sums over lines are made block by block, in their order.
    """
    q, k, v, out, log_sum, gradient = borrowed((q, k, v, out, log_sum, gradient))
    of_q, of_k, of_v = borrowed((of_q, of_k, of_v))
    keys, k_turned, v_turned, queries, gradients, outs, weights, slopes = borrowed(scratch[:8])
    of_queries, of_keys, of_values, means, logs, ranges = borrowed(scratch[8:])
    width, value_width = spaced(dim), spaced(value_dim)
    count = task.keys.size
    gather(k, task.keys, dim, 1, keys, width)
    turn(k, task.keys, dim, k_turned)
    turn(v, task.keys, value_dim, v_turned)
    of_keys[: count * width] = 0
    of_values[: count * value_width] = 0
    is_limited = sees_less(task)
    keys_apart = is_limited and not all_finite(keys[: count * width])
    for first in range(0, task.queries.size, LINES):
        own = task.queries[first:][:LINES]
        low, high = task.low[first:][:LINES], task.high[first:][:LINES]
        gather(q, own, dim, scale, queries, width)
        gather(out, own, value_dim, 1, outs, value_width)
        gather(gradient, own, value_dim, 1, gradients, value_width)
        for line in range(own.size):
            one = outs[line * value_width :][:value_width]
            other = gradients[line * value_width :][:value_width]
            for at in range(value_width):
                one[at] *= other[at]
            means[line] = sum_of_lanes(one)
            logs[line] = log_sum[own[line]]
        of_queries[: own.size * width] = 0
        queries_apart = is_limited and not all_finite(queries[: own.size * width])
        gradients_apart = is_limited and not all_finite(gradients[: own.size * value_width])
        for begin in range(low[0] // CHUNK * CHUNK, high[own.size - 1], CHUNK):
            by_line, by_key = see_chunk(low, high, begin, min(CHUNK, count - begin), ranges)
            factor = Factor(queries, width, 1)
            multiply_columns(factor, dim, k_turned[begin * dim :], weights, APART, *by_line)
            factor, turned = Factor(gradients, value_width, 1), v_turned[begin * value_dim :]
            multiply_columns(factor, value_dim, turned, slopes, APART, *by_line)
            go_back_softly(weights, slopes, *by_line, by_key[0].size, logs, means)
            factor, target = Factor(slopes, APART, 1), of_queries
            multiply_depths(
                factor, keys[begin * width :], width, target, *by_line, keys_apart, True
            )
            factor, target = Factor(slopes, 1, APART), of_keys[begin * width :]
            multiply_depths(factor, queries, dim, target, *by_key, queries_apart, True)
            factor, target = Factor(weights, 1, APART), of_values[begin * value_width :]
            multiply_depths(factor, gradients, value_dim, target, *by_key, gradients_apart, True)
        scatter(of_queries, width, scale, own, dim, of_q)
    scatter(of_keys, width, 1, task.keys, dim, of_k)
    scatter(of_values, value_width, 1, task.keys, value_dim, of_v)


@part
def go_back_softly(
    scores: Any, slopes: Any, low: Any, high: Any, keys: int, logs: Any, means: Any
) -> None:
    """Weights in place of scores, and the scores' gradients in place of the weights'.

    Of each line those of the keys [low, high), and 0 of all others of a chunk. logs are the
    logarithms of sums of exp(score), means those of the weights' gradients, weighed by these.
    """
    for line in range(low.size):
        begin, end = low[line] // LANES * LANES, whole(high[line], LANES)
        own, theirs = scores[line * APART :][:CHUNK], slopes[line * APART :][:CHUNK]
        seen, slopes_seen = own[begin:end], theirs[begin:end]
        log, mean = logs[line], means[line]
        for at in range(seen.size):
            seen[at] = decay(seen[at] - log)
        for at in range(seen.size):
            slopes_seen[at] = seen[at] * (slopes_seen[at] - mean)
        if low[line] > 0:
            own[: low[line]] = 0
            theirs[: low[line]] = 0
        if high[line] < whole(keys, LANES):
            own[high[line] : whole(keys, LANES)] = 0
            theirs[high[line] : whole(keys, LANES)] = 0


@part
def see_chunk(low: Any, high: Any, begin: int, chunk: int, ranges: Any) -> Any:
    """Which of a chunk's keys each line sees, (low, high), and which of the lines see each key."""
    low_key, high_key = ranges[:LINES][: low.size], ranges[LINES:][: low.size]
    low_line, high_line = ranges[2 * LINES :][:chunk], ranges[2 * LINES + CHUNK :][:chunk]
    for line in range(low.size):
        low_key[line] = min(max(low[line] - begin, 0), chunk)
        high_key[line] = min(max(high[line] - begin, 0), chunk)
    first = end = 0
    for key in range(chunk):
        while first < low.size and high_key[first] <= key:
            first += 1
        while end < low.size and low_key[end] <= key:
            end += 1
        low_line[key], high_line[key] = first, end
    return (low_key, high_key), (low_line, high_line)


# -- which lines there are, and what they see


@part
def places_of(first_task: int, last_task: int, sizes: Any, q_lengths: Any, k_lengths: Any) -> Any:
    """Room for any row's lines and keys, and how many keys the longest has."""
    heads, key_heads, _, _ = sizes
    queries = keys = 0
    for row in range(first_task // key_heads, (last_task + key_heads - 1) // key_heads):
        queries, keys = max(queries, q_lengths[row]), max(keys, k_lengths[row])
    lines = queries * (heads // key_heads)
    room = np.empty((3, lines), np.int64), np.empty(keys, np.int64)
    return Task(room[0][0], room[1], room[0][1], room[0][2]), keys


@part
def task_of(
    head: int,
    sizes: Any,
    q_mask: Any,
    q_start: int,
    q_length: int,
    k_mask: Any,
    k_start: int,
    k_length: int,
    window: Any,
    places: Any,
) -> Any:
    """The kept lines and keys of a row and head; places is where they are written to."""
    heads, key_heads, _, _ = sizes
    group, (left, right) = heads // key_heads, window
    queries, keys, low, high = places
    count = 0
    for key in range(k_length):
        if is_kept(k_mask, k_start + key):
            keys[count] = key
            count += 1
    keys = keys[:count]
    line = first = end = 0
    for query in range(q_length):
        if is_kept(q_mask, q_start + query):
            own = query + k_length - q_length
            while first < count and keys[first] < own - left:
                first += 1
            while end < count and keys[end] <= own + right:
                end += 1
            for one in range(group):
                queries[line] = query * heads + head * group + one
                low[line], high[line] = first, end
                line += 1
    for key in range(count):
        keys[key] = keys[key] * key_heads + head
    return Task(queries[:line], keys, low[:line], high[:line])


@part
def is_kept(mask: Any, step: int) -> bool:
    return mask is None or mask.size == 0 or mask[step]


@part
def sees_less(task: Any) -> bool:
    """Whether a line does not see all kept keys."""
    low, high = task.low, task.high
    return bool(low.size > 0 and (low[low.size - 1] > 0 or high[0] < task.keys.size))


# -- between rows and scratch


@part
def row_of(array: Any, start: int, length: int, size: int) -> Any:
    """A row's numbers, of so many a step."""
    return array[start * size : (start + length) * size]


@part
def gather(source: Any, heads: Any, size: int, scale: float, out: Any, stride: int) -> None:
    """Copies some heads' numbers, times scale, to places `stride` numbers apart."""
    factor = source.dtype.type(scale)
    for line in range(heads.size):
        numbers, target = source[heads[line] * size :][:size], out[line * stride :][:size]
        for i in range(size):
            target[i] = numbers[i] * factor


@part
def scatter(source: Any, stride: int, scale: float, heads: Any, size: int, out: Any) -> None:
    """The way back."""
    factor = source.dtype.type(scale)
    for line in range(heads.size):
        numbers, target = source[line * stride :][:size], out[heads[line] * size :][:size]
        for i in range(size):
            target[i] = numbers[i] * factor


@part
def turn(source: Any, heads: Any, size: int, out: Any) -> None:
    """Copies keys as columns of a product: (groups of them, numbers, keys of a group)."""
    group = group_of(source)
    for key in range(heads.size):
        numbers = source[heads[key] * size :][:size]
        target = out[key // group * group * size + key % group :]
        for i in range(size):
            target[i * group] = numbers[i]


@part
def fill(out: Any, head: int, group: int, heads: int, size: int, value: float) -> None:
    """Puts a value into some heads of each of a row's steps."""
    for step in range(out.size // max(heads * size, 1)):
        begin = (step * heads + head) * size
        out[begin : begin + group * size] = value


@part
def all_finite(numbers: Any) -> bool:
    others = 0
    for i in range(numbers.size):
        others |= numbers[i] - numbers[i] != 0
    return others == 0


@part
def stride_of(array: Any, keys: int) -> Any:
    """How many scores a line has room for."""
    return whole(max(keys, 1), max(LANES, group_of(array)))
