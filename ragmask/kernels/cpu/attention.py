"""Attention: each step's mean of the steps of another batch's row, weighed by a softmax.

A task is a row and one head of its keys. The row's kept keys are gathered once, so that those a
query sees lie between two places. Then follow, block by block, the *lines*: one for each kept query
and each of the heads that share these keys. Scores are never there for more than one block.

A. Vaswani et al. (2017). The gradient makes the scores again, as that of T. Dao et al. (2022).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ragmask.kernels.compile import njit
from ragmask.kernels.constants import TILE_ROWS
from ragmask.kernels.cpu.product import Factor, group_of, multiply_columns, multiply_depths
from ragmask.kernels.cpu.softmax import LANES, exp_of_numbers
from ragmask.kernels.cpu.tile import lanes_of
from ragmask.kernels.math import exp

LINES = 48  # in a block: whole tiles, and whole spans of sums over lines
SCORES = (
    24_576  # of a block, which has fewer lines where keys are many: the second cache holds them
)
CHUNK = 256  # keys that a block's gradient looks at together


class Part(NamedTuple):
    """Some heads of a step's numbers: `group` heads from `head` on, of `size` numbers each."""

    head: int
    group: int
    heads: int  # of the step
    size: int


class Task(NamedTuple):
    """What of a row's steps is computed together."""

    of_q: Part
    of_k: Part
    of_v: Part
    of_out: Part
    query_at: Any  # the kept queries' places in the row
    key_at: Any
    low: Any  # a line sees the kept keys [low, high)
    high: Any


class Scratch(NamedTuple):
    """Memory that all tasks use: `turned` are columns of a product, `of_x` gradients."""

    k: Any
    k_turned: Any
    v: Any
    v_turned: Any
    q: Any
    out: Any
    gradient: Any
    scores: Any
    slopes: Any
    of_q: Any
    of_k: Any
    of_v: Any
    totals: Any  # these three have a number for each line of a block
    means: Any
    logs: Any
    lanes: Any
    ranges: Any  # for each line of a block the keys of a chunk that it sees; for each key the lines


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
    (n,) or None; sizes (heads, key heads, dim, value dim), of which the second divides the first. A
    score is scale · q · k. A query sees the kept keys from `window[0]` steps before its own to
    `window[1]` behind it, where both rows end together.

    out (steps · heads · value dim,): 0 for queries that are masked or see no key. log_sum (steps ·
    heads,) or None: log Σ exp(score), and inf where that sum is 0.
    """
    heads, key_heads, dim, value_dim = sizes
    places, most_keys = places_of(first_task, last_task, sizes, q_lengths, k_lengths)
    scratch = scratch_of(q, sizes, most_keys, False)
    no_logs = np.empty(places[0].size * heads if log_sum is None else 0, q.dtype)
    for number in range(first_task, last_task):
        row, head = number // key_heads, number % key_heads
        at, length, key_at = q_starts[row], q_lengths[row], k_starts[row]
        queries = kept_steps(q_mask, at, length, places[0])
        keys = kept_steps(k_mask, key_at, k_lengths[row], places[1])
        task = task_of(head, sizes, queries, keys, k_lengths[row] - length, window, places)
        row_out = out[out_starts[row] * heads * value_dim :]
        logs = no_logs if log_sum is None else log_sum[out_starts[row] * heads :]
        if queries < length:
            fill(row_out, length, task.of_out, 0)
            fill(logs, length, one_number(task.of_q), np.inf)
        row_k, row_v = k[key_at * key_heads * dim :], v[key_at * key_heads * value_dim :]
        attend(q[at * heads * dim :], row_k, row_v, task, scale, scratch, row_out, logs)


@njit
def attend(
    q: Any, k: Any, v: Any, task: Any, scale: float, scratch: Any, out: Any, logs: Any
) -> None:
    """One task of `attention`; the arrays begin with its row."""
    keys, size, width = task.key_at.size, task.of_q.size, whole(task.of_v.size, lanes_of(q))
    turn(k, task.key_at, task.of_k, scratch.k_turned)
    gather(v, task.key_at, task.of_v, 0, keys, 1, scratch.v, width)
    is_apart = sees_less(task) and not all_finite(scratch.v[: keys * width])
    stride = stride_of(q, keys)
    block = lines_of(stride)
    for first in range(0, task.low.size, block):
        low, high = task.low[first : first + block], task.high[first : first + block]
        count = low.size
        gather(q, task.query_at, task.of_q, first, count, scale, scratch.q, size)
        queries = Factor(scratch.q, size, 1)
        multiply_columns(queries, size, scratch.k_turned, scratch.scores, stride, low, high)
        for line in range(count):
            tile = line // TILE_ROWS * TILE_ROWS
            end = whole(high[min(tile + TILE_ROWS, count) - 1], LANES)
            scores = scratch.scores[line * stride : line * stride + end]
            total = scratch.totals[line : line + 1]
            log = soften(scores, low[tile], low[line], high[line], scratch.lanes, total)
            logs[place_of(task.query_at, one_number(task.of_q), first + line)] = log
        weights = Factor(scratch.scores, stride, 1)
        multiply_depths(weights, scratch.v, width, scratch.out, low, high, is_apart, False)
        for line in range(count):
            numbers = scratch.out[line * width : (line + 1) * width]
            place = place_of(task.query_at, task.of_out, first + line)
            for i in range(task.of_out.size):
                out[place + i] = numbers[i] * scratch.totals[line]


@njit
def soften(scores: Any, first: int, low: int, high: int, lanes: Any, total: Any) -> float:
    """exp(score - maximum) in place of the scores [low, high), and 0 of others from `first` on.

    Gives the logarithm of the sum of exp(score), and 1 / the sum of what is there in `total[0]`.
    scores ends with whole lanes, and they say in which order is summed up.
    """
    begin, end = low // LANES * LANES, whole(high, LANES)
    log = np.inf
    total[0] = 0
    if low < high:
        scores[begin:low] = -np.inf
        scores[high:end] = -np.inf
        shift = exp_of_numbers(scores[begin:end], end - begin, lanes, total)
        if total[0] != 0:
            log = shift - math.log(total[0])
    else:
        end = begin
    scores[first // LANES * LANES : begin] = 0
    scores[end:] = 0
    return log


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
    scratch = scratch_of(q, sizes, most_keys, True)
    for number in range(first_task, last_task):
        row, head = number // key_heads, number % key_heads
        at, length, key_at, key_length = (
            q_starts[row],
            q_lengths[row],
            k_starts[row],
            k_lengths[row],
        )
        queries = kept_steps(q_mask, at, length, places[0])
        keys = kept_steps(k_mask, key_at, key_length, places[1])
        task = task_of(head, sizes, queries, keys, key_length - length, window, places)
        of_q = q_gradient[at * heads * dim :]
        of_k = k_gradient[key_at * key_heads * dim :]
        of_v = v_gradient[key_at * key_heads * value_dim :]
        if queries < length:
            fill(of_q, length, task.of_q, 0)
        if keys < key_length:
            fill(of_k, key_length, task.of_k, 0)
            fill(of_v, key_length, task.of_v, 0)
        row_k, row_v = k[key_at * key_heads * dim :], v[key_at * key_heads * value_dim :]
        given = (
            out[at * heads * value_dim :],
            log_sum[at * heads :],
            gradient[at * heads * value_dim :],
        )
        go_back(q[at * heads * dim :], row_k, row_v, task, scale, given, scratch, of_q, of_k, of_v)


@njit
def go_back(
    q: Any,
    k: Any,
    v: Any,
    task: Any,
    scale: float,
    given: Any,
    scratch: Any,
    of_q: Any,
    of_k: Any,
    of_v: Any,
) -> None:
    """One task of `attention_gradient`; the arrays begin with its row.

    Sums over lines are made block by block, in their order.
    """
    out, logs, gradient = given
    keys, size, value_size = task.key_at.size, task.of_k.size, task.of_v.size
    width, value_width = whole(size, lanes_of(q)), whole(value_size, lanes_of(q))
    gather(k, task.key_at, task.of_k, 0, keys, 1, scratch.k, width)
    turn(k, task.key_at, task.of_k, scratch.k_turned)
    turn(v, task.key_at, task.of_v, scratch.v_turned)
    scratch.of_k[: keys * width] = 0
    scratch.of_v[: keys * value_width] = 0
    is_limited = sees_less(task)
    k_apart = is_limited and not all_finite(scratch.k[: keys * width])
    for first in range(0, task.low.size, LINES):
        low, high = task.low[first : first + LINES], task.high[first : first + LINES]
        count = low.size
        gather(q, task.query_at, task.of_q, first, count, scale, scratch.q, width)
        gather(out, task.query_at, task.of_out, first, count, 1, scratch.out, value_width)
        gather(gradient, task.query_at, task.of_out, first, count, 1, scratch.gradient, value_width)
        for line in range(count):
            own = slice(line * value_width, (line + 1) * value_width)
            mean = dot(scratch.out[own], scratch.gradient[own], scratch.lanes)
            place = place_of(task.query_at, one_number(task.of_q), first + line)
            scratch.means[line], scratch.logs[line] = mean, logs[place]
        q_apart = is_limited and not all_finite(scratch.q[: count * width])
        gradient_apart = is_limited and not all_finite(scratch.gradient[: count * value_width])
        scratch.of_q[: count * width] = 0
        for begin in range(low[0] // CHUNK * CHUNK, high[count - 1], CHUNK):
            ranges = see_chunk(low, high, begin, min(CHUNK, keys - begin), scratch.ranges)
            slopes_of_chunk(ranges, begin, size, width, value_size, value_width, scratch)
            by_line, by_key = ranges[:2], ranges[2:]
            weights, slopes = Factor(scratch.scores, 1, CHUNK), Factor(scratch.slopes, 1, CHUNK)
            multiply_depths(
                slopes, scratch.q, width, scratch.of_k[begin * width :], *by_key, q_apart, True
            )
            of_v_chunk = scratch.of_v[begin * value_width :]
            multiply_depths(
                weights, scratch.gradient, value_width, of_v_chunk, *by_key, gradient_apart, True
            )
            slopes = Factor(scratch.slopes, CHUNK, 1)
            multiply_depths(
                slopes, scratch.k[begin * width :], width, scratch.of_q, *by_line, k_apart, True
            )
        scatter(scratch.of_q, width, scale, task.query_at, task.of_q, first, count, of_q)
    scatter(scratch.of_k, width, 1, task.key_at, task.of_k, 0, keys, of_k)
    scatter(scratch.of_v, value_width, 1, task.key_at, task.of_v, 0, keys, of_v)


@njit
def slopes_of_chunk(
    ranges: Any, begin: int, size: int, width: int, value_size: int, value_width: int, scratch: Any
) -> None:
    """The weights of a block's lines for a chunk of keys, and the gradients of their scores."""
    low, high, of_keys, _ = ranges
    q, gradient = Factor(scratch.q, width, 1), Factor(scratch.gradient, value_width, 1)
    k, v = scratch.k_turned[begin * size :], scratch.v_turned[begin * value_size :]
    multiply_columns(q, size, k, scratch.scores, CHUNK, low, high)
    multiply_columns(gradient, value_size, v, scratch.slopes, CHUNK, low, high)
    for line in range(low.size):
        own = slice(line * CHUNK, line * CHUNK + whole(of_keys.size, LANES))
        scores, slopes = scratch.scores[own], scratch.slopes[own]
        log, mean = scratch.logs[line], scratch.means[line]
        for first in range(low[line] // LANES * LANES, high[line], LANES):
            for at in range(first, first + LANES):
                scores[at] = exp(scores[at] - log)
                slopes[at] = scores[at] * (slopes[at] - mean)
        scores[: low[line]] = 0
        scores[high[line] :] = 0
        slopes[: low[line]] = 0
        slopes[high[line] :] = 0


@njit
def see_chunk(low: Any, high: Any, begin: int, chunk: int, ranges: Any) -> Any:
    """Which of a chunk's keys each line sees, [low, high); and which lines see each of them."""
    low_key, high_key = ranges[0][: low.size], ranges[1][: low.size]
    low_line, high_line = ranges[2][:chunk], ranges[3][:chunk]
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
    return low_key, high_key, low_line, high_line


# -- which steps, and what they see


@njit
def kept_steps(mask: Any, start: int, length: int, at: Any) -> int:
    """Writes the places of a row's kept steps to `at`, and gives their number."""
    count = 0
    for step in range(length):
        at[count] = step
        count += mask is None or mask[start + step]
    return count


@njit
def task_of(
    head: int, sizes: Any, queries: int, keys: int, ahead: int, window: Any, places: Any
) -> Any:
    """Query i's own key is i + ahead; places (queries, keys, low, high) has room for any row's."""
    heads, key_heads, dim, value_dim = sizes
    group, (left, right) = heads // key_heads, window
    query_at, key_at = places[0][:queries], places[1][:keys]
    low, high = places[2][: queries * group], places[3][: queries * group]
    first = end = 0
    for query in range(queries):
        own = query_at[query] + ahead
        while first < keys and key_at[first] < own - left:
            first += 1
        while end < keys and key_at[end] <= own + right:
            end += 1
        low[query * group : (query + 1) * group] = first
        high[query * group : (query + 1) * group] = end
    return Task(
        Part(head * group, group, heads, dim),
        Part(head, 1, key_heads, dim),
        Part(head, 1, key_heads, value_dim),
        Part(head * group, group, heads, value_dim),
        query_at,
        key_at,
        low,
        high,
    )


@njit
def sees_less(task: Any) -> bool:
    """Whether a line does not see all kept keys."""
    low, high, keys = task.low, task.high, task.key_at.size
    return bool(low.size > 0 and (low[low.size - 1] > 0 or high[0] < keys))


# -- between rows and scratch


@njit
def one_number(part: Any) -> Any:
    """The same heads of steps that have one number a head."""
    return Part(part.head, part.group, part.heads, 1)


@njit
def place_of(at: Any, part: Any, line: int) -> int:
    """Where a line's numbers begin: line = step · group + head."""
    step, head = line // part.group, line % part.group
    place: int = (at[step] * part.heads + part.head + head) * part.size
    return place


@njit
def gather(
    source: Any, at: Any, part: Any, first: int, count: int, scale: float, out: Any, stride: int
) -> None:
    """Copies `count` lines' numbers, times scale, to places `stride` numbers apart."""
    factor = source.dtype.type(scale)
    for line in range(count):
        place = place_of(at, part, first + line)
        for i in range(part.size):
            out[line * stride + i] = source[place + i] * factor


@njit
def scatter(
    source: Any, stride: int, scale: float, at: Any, part: Any, first: int, count: int, out: Any
) -> None:
    """The way back."""
    factor = source.dtype.type(scale)
    for line in range(count):
        place = place_of(at, part, first + line)
        for i in range(part.size):
            out[place + i] = source[line * stride + i] * factor


@njit
def turn(source: Any, at: Any, part: Any, out: Any) -> None:
    """Copies keys as columns of a product: (groups of them, numbers, keys of a group)."""
    group = group_of(source)
    for key in range(at.size):
        place = place_of(at, part, key)
        column = key // group * group * part.size + key % group
        for i in range(part.size):
            out[column + i * group] = source[place + i]


@njit
def fill(out: Any, steps: int, part: Any, value: float) -> None:
    """Puts a value into these heads of a row's steps."""
    for step in range(steps):
        begin = (step * part.heads + part.head) * part.size
        out[begin : begin + part.group * part.size] = value


@njit
def all_finite(numbers: Any) -> bool:
    others = 0
    for i in range(numbers.size):
        others |= numbers[i] - numbers[i] != 0
    return others == 0


@njit
def dot(one: Any, other: Any, lanes: Any) -> Any:
    """The sum of products of whole panels."""
    lanes[:] = 0
    for begin in range(0, one.size, lanes_of(one)):
        for lane in range(lanes_of(one)):
            lanes[lane] += one[begin + lane] * other[begin + lane]
    total = lanes[0]
    for lane in range(1, lanes_of(one)):
        total += lanes[lane]
    return total


# -- memory


@njit
def whole(count: int, of: int) -> int:
    """The next multiple of a number."""
    return (count + of - 1) // of * of


@njit
def stride_of(array: Any, keys: int) -> int:
    """How many scores a line has room for."""
    return whole(max(keys, 1), max(LANES, group_of(array)))


@njit
def lines_of(stride: int) -> int:
    """How many lines a block has: whole tiles."""
    return min(max(SCORES // stride // TILE_ROWS, 1) * TILE_ROWS, LINES)


@njit
def places_of(first_task: int, last_task: int, sizes: Any, q_lengths: Any, k_lengths: Any) -> Any:
    """Room for the steps of the longest row, and what its lines see; and how many keys it has."""
    heads, key_heads, _, _ = sizes
    queries = keys = 0
    for row in range(first_task // key_heads, (last_task + key_heads - 1) // key_heads):
        queries, keys = max(queries, q_lengths[row]), max(keys, k_lengths[row])
    # one more: where the next step's place is written before it is known to be kept
    query_at, key_at = np.empty(queries + 1, np.int64), np.empty(keys + 1, np.int64)
    lines = queries * (heads // key_heads)
    return (query_at, key_at, np.empty(lines, np.int64), np.empty(lines, np.int64)), keys


@njit
def scratch_of(like: Any, sizes: Any, keys: int, has_gradient: bool) -> Any:
    """For rows of up to so many keys. Numbers that fill up a panel are 0, and stay so."""
    _, _, dim, value_dim = sizes
    dtype, lanes, room = like.dtype, lanes_of(like), stride_of(like, keys)
    width, value_width = whole(dim, lanes), whole(value_dim, lanes)
    scores = LINES * CHUNK if has_gradient else min(LINES * room, max(SCORES, TILE_ROWS * room))
    once = 1 if has_gradient else 0  # memory that the gradient alone needs
    return Scratch(
        np.zeros(once * keys * width, dtype),
        np.zeros(room * dim, dtype),
        np.zeros((1 - once) * keys * value_width, dtype),
        np.zeros(once * room * value_dim, dtype),
        np.zeros(LINES * width, dtype),
        np.zeros(LINES * value_width, dtype),
        np.zeros(once * LINES * value_width, dtype),
        np.zeros(scores, dtype),
        np.zeros(once * scores, dtype),
        np.zeros(once * LINES * width, dtype),
        np.zeros(once * keys * width, dtype),
        np.zeros(once * keys * value_width, dtype),
        np.zeros(LINES, dtype),
        np.zeros(LINES, dtype),
        np.zeros(LINES, dtype),
        np.zeros(LANES, dtype),
        (
            np.zeros(once * LINES, np.int64),
            np.zeros(once * LINES, np.int64),
            np.zeros(once * CHUNK, np.int64),
            np.zeros(once * CHUNK, np.int64),
        ),
    )
