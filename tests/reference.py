"""What each operation means, in plain Python loops over plain lists.

A batch is a list of rows, a row is a list of steps, and a step is any object at all. A mask is
a list of rows of bools, True = keep.
"""

import math
from itertools import accumulate

import numpy as np


def cut_rows(steps, starts, lengths):
    """Row i is `steps[starts[i] : starts[i] + lengths[i]]`."""
    rows = []
    for start, length in zip(starts, lengths, strict=True):
        row = []
        for step in range(start, start + length):
            row.append(steps[step])
        rows.append(row)
    return rows


def pick(rows, index):
    """The rows an index names: a slice, a list of row numbers, or a list of bools."""
    if isinstance(index, slice):
        return [rows[number] for number in range(*index.indices(len(rows)))]
    if index and isinstance(index[0], bool):
        return [row for row, wanted in zip(rows, index, strict=True) if wanted]
    return [rows[number] for number in index]


def truncate(rows, maxlen, side="post"):
    """At most `maxlen` steps of each row; `side` is the end that is cut off."""
    kept = []
    for row in rows:
        extra = max(len(row) - maxlen, 0)
        kept.append(row[extra:] if side == "pre" else row[: len(row) - extra])
    return kept


def compact(rows):
    """The steps of all rows end to end, and where the rows begin and end in them."""
    steps, offsets = [], [0]
    for row in rows:
        for step in row:
            steps.append(step)
        offsets.append(len(steps))
    return steps, offsets


def pack(rows):
    """The numbers of the rows, the longest first, and all their steps, one time after another."""
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    times = []
    for step in range(max([len(row) for row in rows], default=0)):
        times.append([rows[row][step] for row in order if step < len(rows[row])])
    return order, times


def pad(rows, width, padding, value):
    padded = []
    for row in rows:
        gap = [value] * (width - len(row))
        padded.append(gap + row if padding == "pre" else row + gap)
    return padded


def to_padded(
    rows,
    masks,
    maxlen=None,
    padding="post",
    truncating="post",
    value=0,
    multiple_of=None,
):
    """Rows of one width, and which of their steps are kept."""
    if maxlen is not None:
        rows, masks = truncate(rows, maxlen, truncating), truncate(masks, maxlen, truncating)
        width = maxlen
    else:
        width = max([len(row) for row in rows], default=0)
    while multiple_of is not None and width % multiple_of != 0:
        width += 1
    return pad(rows, width, padding, value), pad(masks, width, padding, False)


def from_padded_mask(padded, mask):
    """Rows from their first kept step to their last, and the mask in between."""
    rows, masks = [], []
    for row, kept in zip(padded, mask, strict=True):
        first, last = 0, len(row)
        while first < last and not kept[first]:
            first += 1
        while last > first and not kept[last - 1]:
            last -= 1
        rows.append(row[first:last])
        masks.append(kept[first:last])
    return rows, masks


def from_padded_value(padded, value):
    """Rows from their first step that is not `value` to their last."""
    kept = [[step != value for step in row] for row in padded]
    rows, _ = from_padded_mask(padded, kept)
    return rows


# -- ops ----------------------------------------------------------------------------------
# A step is a list of features here, numbers are Python's own, and every function gives back
# rows of what its op says of each step. Only `pool` and the LSTM's states have one a row.


def embedding(rows, masks, table, mask_zero=False):
    """The table's row for each id, and the mask; a masked step is zeros, whatever its id."""
    vectors, kept = [], []
    for row, keeps in zip(rows, masks, strict=True):
        vectors.append([table[step] if keep else zeros(table) for step, keep in pairs(row, keeps)])
        kept.append([keep and not (mask_zero and step == 0) for step, keep in pairs(row, keeps)])
    return vectors, kept


def masking(rows, masks, mask_value=0.0):
    """Steps all of whose features equal the value are masked, and masked steps are zeros.

    NaN equals NaN.
    """

    def same(one, other):
        return one == other or (one != one and other != other)

    values, kept = [], []
    for row, keeps in zip(rows, masks, strict=True):
        kept_row = []
        for step, keep in pairs(row, keeps):
            kept_row.append(keep and not all(same(feature, mask_value) for feature in step))
        values.append([step if keep else zeros([step]) for step, keep in pairs(row, kept_row)])
        kept.append(kept_row)
    return values, kept


def temporal_split(rows, sections, width):
    """A batch for each span of the padded width; a row has the steps it has there."""
    span = width // sections
    return [
        [row[section * span : (section + 1) * span] for row in rows] for section in range(sections)
    ]


def temporal_concat(parts):
    """Row i of each part, one behind the other."""
    return [[step for row in rows for step in row] for rows in zip(*parts, strict=True)]


def temporal_softmax(rows, masks):
    """exp(x) over its sum, over the kept steps of a row, feature by feature."""
    result = []
    for row, keeps in zip(rows, masks, strict=True):
        soft = [zeros([step]) for step in row]
        for feature in range(len(row[0]) if row else 0):
            kept = [step for step, keep in enumerate(keeps) if keep]
            numbers = softmax_of([row[step][feature] for step in kept])
            for step, number in zip(kept, numbers, strict=True):
                soft[step][feature] = number
        result.append(soft)
    return result


def softmax_of(numbers):
    if any(math.isnan(number) or number == math.inf for number in numbers):
        return [math.nan] * len(numbers)
    if all(number == -math.inf for number in numbers):
        return [0.0] * len(numbers)
    powers = [math.exp(number - max(numbers)) for number in numbers]
    return [power / math.fsum(powers) for power in powers]


def temporal_attention(
    q, k, v, q_masks, k_masks, value_size, left=math.inf, right=math.inf, scale=1.0
):
    """For each kept query the mean of the values whose keys it sees, weighed by softmax(q · k).

    Steps are lists of heads, and these of numbers. It sees kept keys from `left` steps before its
    own to `right` behind it, where rows end together. A query that is masked, or sees none, gets 0.
    """
    result = []
    for row, (q_row, k_row, v_row) in enumerate(zip(q, k, v, strict=True)):
        outputs = []
        for query, step in enumerate(q_row):
            seen = []
            if q_masks[row][query]:
                own = query + len(k_row) - len(q_row)
                seen = [at for at, keep in enumerate(k_masks[row]) if keep]
                seen = [at for at in seen if own - left <= at <= own + right]
            heads = []
            for head, numbers in enumerate(step):
                of_key = head * len(k_row[0]) // len(step) if seen else 0
                scores = [scale * product(numbers, k_row[at][of_key]) for at in seen]
                weights = softmax_of(scores)
                columns = zip(*(v_row[at][of_key] for at in seen), strict=True)
                mean = [product(weights, column) for column in columns]
                heads.append(mean if seen else [0.0] * value_size)
            outputs.append(heads)
        result.append(outputs)
    return result


def product(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def temporal_cumsum(rows, masks, features):
    """The sum of each row's kept steps up to each step."""
    sums = []
    for row, keeps in zip(rows, masks, strict=True):
        total, sums_of_row = [0] * features, []
        for step, keep in pairs(row, keeps):
            if keep:
                total = [one + other for one, other in zip(total, step, strict=True)]
            sums_of_row.append(total)
        sums.append(sums_of_row)
    return sums


def temporal_conv(rows, masks, kernel, bias, causal=True, dilation=1):
    """The bias, and each tap's weights times the kept step of the row that it meets."""
    result = []
    for row, keeps in zip(rows, masks, strict=True):
        totals = [list(bias) if keep else zeros([step]) for step, keep in pairs(row, keeps)]
        for step, tap, other in met(keeps, len(kernel), causal, dilation):
            products = [weight * x for weight, x in pairs(kernel[tap], row[other])]
            totals[step] = plus(totals[step], products)
        result.append(totals)
    return result


def met(keeps, taps, causal, dilation):
    """(step, tap, which step that tap meets): for all kept steps that meet a kept one."""
    before = (taps - 1) * dilation // (1 if causal else 2)
    for step, keep in enumerate(keeps):
        for tap in range(taps):
            other = step - before + tap * dilation
            if keep and 0 <= other < len(keeps) and keeps[other]:
                yield step, tap, other


def temporal_flip(rows, masks, zero):
    """The kept steps of each row the other way round; masked ones stay, and are zeros."""
    return moved(rows, masks, zero, lambda kept: kept[::-1])


def roll(rows, masks, zero, shifts):
    """Each row's kept steps moved on by so many, the last ones to the front."""
    rolled = []
    for row, keeps, shift in zip(rows, masks, shifts, strict=True):

        def on(kept, shift=shift):
            first = -shift % len(kept) if kept else 0
            return kept[first:] + kept[:first]

        rolled += moved([row], [keeps], zero, on)
    return rolled


def moved(rows, masks, zero, move):
    """The kept steps of each row in the order that `move` makes of them, where kept steps are."""
    result = []
    for row, keeps in zip(rows, masks, strict=True):
        places = [place for place, keep in enumerate(keeps) if keep]
        steps = [zero for _ in row]
        for place, step in zip(places, move([row[place] for place in places]), strict=True):
            steps[place] = step
        result.append(steps)
    return result


def temporal_argsort(rows, masks, descending=False):
    """Which steps come first, second and so on, feature by feature; zeros for masked ones."""
    result = []
    for row, keeps in zip(rows, masks, strict=True):
        order = [zeros([step]) for step in row]
        for feature in range(len(row[0]) if row else 0):
            places = [place for place, keep in enumerate(keeps) if keep]
            numbers = [row[place][feature] for place in places]
            for to, at in enumerate(sorted_places(numbers, descending)):
                order[to][feature] = places[at]
        result.append(order)
    return result


def sorted_places(numbers, descending):
    """A NaN is larger than any number, and equals stay in order."""

    def key(place):
        number = numbers[place]
        return (1, 0) if number != number else (0, number)

    return sorted(range(len(numbers)), key=key, reverse=descending)


def temporal_sort(rows, masks, descending=False):
    """The kept steps in order, feature by feature, and zeros behind them; and the mask of that."""
    result, kept = [], []
    orders = temporal_argsort(rows, masks, descending)
    for row, keeps, order in zip(rows, masks, orders, strict=True):
        count = sum(keeps)
        taken = [[row[at][f] for f, at in enumerate(step)] for step in order[:count]]
        result.append(taken + [zeros([step]) for step in row[count:]])
        kept.append([place < count for place in range(len(row))])
    return result, kept


def temporal_topk(rows, masks, k):
    """(values, steps) of the k largest kept steps, the largest first, feature by feature."""
    values, _ = temporal_sort(rows, masks, True)
    steps = temporal_argsort(rows, masks, True)
    counts = [min(k, sum(keeps)) for keeps in masks]
    return tuple(
        [row[:count] for row, count in zip(batch, counts, strict=True)] for batch in (values, steps)
    )


def temporal_pool(rows, masks, how, features):
    """One step out of each row's kept ones; "count" gives one number for all features."""
    pooled = []
    for row, keeps in zip(rows, masks, strict=True):
        places = [place for place, keep in enumerate(keeps) if keep]
        kept = [row[place] for place in places]
        if how == "count":
            pooled.append([len(kept)])
        elif not kept:
            pooled.append([{"argmax": -1, "logsumexp": -math.inf}.get(how, 0)] * features)
        elif how in ("first", "last"):
            pooled.append(kept[0] if how == "first" else kept[-1])
        else:
            columns = [[step[at] for step in kept] for at in range(features)]
            pooled.append([pool_of(numbers, how, places) for numbers in columns])
    return pooled


def pool_of(numbers, how, places):
    """Of numbers, at these places in their row."""
    if how == "argmax":
        return places[first_largest(numbers)]
    if how in ("max", "min") and any(number != number for number in numbers):
        return math.nan
    if how == "logsumexp":
        return logsumexp_of(numbers)
    if how == "std":
        return std_of(numbers)
    mean = sum(numbers) / len(numbers)
    return {"mean": mean, "sum": sum(numbers), "max": max(numbers), "min": min(numbers)}[how]


def temporal_repeat(values, rows, masks, zero):
    """A row's value at each of its kept steps, and zero at those that are masked."""
    return [
        [value if keep else zero for _, keep in pairs(row, keeps)]
        for value, row, keeps in zip(values, rows, masks, strict=True)
    ]


def logsumexp_of(numbers):
    if any(number != number for number in numbers):
        return math.nan
    top = max(numbers)
    if abs(top) == math.inf:
        return top
    return top + math.log(math.fsum(math.exp(number - top) for number in numbers))


def std_of(numbers):
    """√(Σ(x - mean)² / n)."""
    if any(not math.isfinite(number) for number in numbers):
        return math.nan
    if len(set(numbers)) == 1:
        return 0.0  # whatever their mean is rounded to
    mean = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))


def recur(
    step,
    states,
    rows,
    masks,
    kernel,
    recurrent_kernel,
    bias,
    initial_state=None,
    go_backwards=False,
    zero_output_for_mask=False,
):
    """(outputs, *states): rows of outputs a step, and each state after a row's last kept step.

    `step` gives the new states, the first of which is its output; there are so many `states`.
    """
    nothing = [0.0] * len(recurrent_kernel)
    outputs, last = [], [[] for _ in range(states)]
    for number, (row, keeps) in enumerate(zip(rows, masks, strict=True)):
        now = [nothing] * states
        if initial_state is not None:
            now = [state[number] for state in initial_state]
        output, output_row = nothing, [nothing for _ in row]
        for place in reversed(range(len(row))) if go_backwards else range(len(row)):
            if keeps[place]:
                now = step(row[place], *now, kernel, recurrent_kernel, bias)
                output = now[0]
            output_row[place] = nothing if zero_output_for_mask and not keeps[place] else output
        outputs.append(output_row)
        for state, one in zip(last, now, strict=True):
            state.append(one)
    return outputs, *last


def lstm(*arguments, **options):
    """(outputs, h, c)."""
    return recur(lstm_step, 2, *arguments, **options)


def gru(*arguments, **options):
    """(outputs, h)."""
    return recur(gru_step, 1, *arguments, **options)


def rnn(*arguments, **options):
    """(outputs, h)."""
    return recur(rnn_step, 1, *arguments, **options)


def lstm_step(x, h, c, kernel, recurrent_kernel, bias):
    """New h and c. The gates' columns stand in the order i, f, g, o."""
    units = len(h)
    sums = plus(times(x, kernel, bias), times(h, recurrent_kernel))
    i, f, g, o = (sums[gate * units : (gate + 1) * units] for gate in range(4))
    new_c = [
        sigmoid(f[unit]) * c[unit] + sigmoid(i[unit]) * math.tanh(g[unit]) for unit in range(units)
    ]
    return [sigmoid(o[unit]) * math.tanh(new_c[unit]) for unit in range(units)], new_c


def gru_step(x, h, kernel, recurrent_kernel, bias):
    """New h. The gates' columns stand in the order z, r, h; the reset gate multiplies a product."""
    units = len(h)
    of_input, of_output = times(x, kernel, bias[0]), times(h, recurrent_kernel, bias[1])
    new = []
    for unit in range(units):
        z, r = (sigmoid(of_input[at] + of_output[at]) for at in (unit, units + unit))
        at = 2 * units + unit
        new.append(z * h[unit] + (1 - z) * math.tanh(of_input[at] + r * of_output[at]))
    return (new,)


def rnn_step(x, h, kernel, recurrent_kernel, bias):
    """New h."""
    sums = plus(times(x, kernel, bias), times(h, recurrent_kernel))
    return ([math.tanh(total) for total in sums],)


def recur_gradient(
    step_gradient,
    step,
    states,
    rows,
    masks,
    kernel,
    recurrent_kernel,
    bias,
    of_outputs,
    of_last,
    initial_state=None,
    go_backwards=False,
):
    """Gradients (of x, kernel, recurrent kernel, bias, initial states), from those of the results.

    of_outputs are rows of steps, of_last a list of rows for each state. A masked step gets and
    gives 0. `step_gradient` takes what `step` takes and the gradients of what that gave, and gives
    those of x, of the states, and of the weights.
    """
    nothing = [0.0] * len(recurrent_kernel)
    weights = kernel, recurrent_kernel, bias
    of_weights = [nulls(array) for array in weights]
    of_x, of_initial = [], [[] for _ in range(states)]
    for number, (row, keeps) in enumerate(zip(rows, masks, strict=True)):
        now = [nothing] * states
        if initial_state is not None:
            now = [state[number] for state in initial_state]
        places = [place for place, keep in enumerate(keeps) if keep]
        before = []
        for place in reversed(places) if go_backwards else places:
            before.append((place, now))
            now = step(row[place], *now, *weights)
        of_now = [state[number] for state in of_last]
        of_row = [[0.0] * len(kernel) for _ in row]
        for place, was in reversed(before):
            of_now = [plus(of_now[0], of_outputs[number][place]), *of_now[1:]]
            of_row[place], of_now, of_arrays = step_gradient(row[place], *was, *weights, *of_now)
            of_weights = [added(one, more) for one, more in zip(of_weights, of_arrays, strict=True)]
        of_x.append(of_row)
        for state, one in zip(of_initial, of_now, strict=True):
            state.append(one)
    return of_x, *of_weights, of_initial


def lstm_step_gradient(x, h, c, kernel, recurrent_kernel, bias, of_h, of_c):
    units = len(h)
    sums = plus(times(x, kernel, bias), times(h, recurrent_kernel))
    of_sums, of_c_before = [0.0] * len(sums), []
    for unit in range(units):
        i, f, o = (sigmoid(sums[gate * units + unit]) for gate in (0, 1, 3))
        g = math.tanh(sums[2 * units + unit])
        tanh_c = math.tanh(f * c[unit] + i * g)
        of_new = of_c[unit] + of_h[unit] * o * (1 - tanh_c**2)
        of_sums[unit] = of_new * g * i * (1 - i)
        of_sums[units + unit] = of_new * c[unit] * f * (1 - f)
        of_sums[2 * units + unit] = of_new * i * (1 - g**2)
        of_sums[3 * units + unit] = of_h[unit] * tanh_c * o * (1 - o)
        of_c_before.append(of_new * f)
    of_states = times(of_sums, turned(recurrent_kernel)), of_c_before
    of_weights = outer(x, of_sums), outer(h, of_sums), of_sums
    return times(of_sums, turned(kernel)), of_states, of_weights


def gru_step_gradient(x, h, kernel, recurrent_kernel, bias, of_h):
    units = len(h)
    of_input, of_output = times(x, kernel, bias[0]), times(h, recurrent_kernel, bias[1])
    of_inputs, of_outputs = [0.0] * 3 * units, [0.0] * 3 * units  # the gradients of these two
    past = []
    for unit in range(units):
        z, r = (sigmoid(of_input[at] + of_output[at]) for at in (unit, units + unit))
        at = 2 * units + unit
        candidate = math.tanh(of_input[at] + r * of_output[at])
        of_inputs[at] = of_h[unit] * (1 - z) * (1 - candidate**2)
        of_outputs[at] = of_inputs[at] * r
        of_inputs[unit] = of_outputs[unit] = of_h[unit] * (h[unit] - candidate) * z * (1 - z)
        of_r = of_inputs[at] * of_output[at] * r * (1 - r)
        of_inputs[units + unit] = of_outputs[units + unit] = of_r
        past.append(of_h[unit] * z)
    of_state = plus(times(of_outputs, turned(recurrent_kernel)), past)
    of_weights = outer(x, of_inputs), outer(h, of_outputs), [of_inputs, of_outputs]
    return times(of_inputs, turned(kernel)), (of_state,), of_weights


def rnn_step_gradient(x, h, kernel, recurrent_kernel, bias, of_h):
    ((*new,),) = rnn_step(x, h, kernel, recurrent_kernel, bias)
    of_sums = [one * (1 - y**2) for one, y in zip(of_h, new, strict=True)]
    of_weights = outer(x, of_sums), outer(h, of_sums), of_sums
    return times(of_sums, turned(kernel)), (times(of_sums, turned(recurrent_kernel)),), of_weights


def nulls(array):
    return [nulls(one) for one in array] if isinstance(array, list) else 0.0


def added(one, other):
    """The sums of numbers in lists, or lists of lists."""
    if not isinstance(one, list):
        return one + other
    return [added(a, b) for a, b in zip(one, other, strict=True)]


def outer(one, other):
    return [[a * b for b in other] for a in one]


def turned(matrix):
    """Its transpose."""
    return [list(column) for column in zip(*matrix, strict=True)]


def times(x, matrix, bias=None):
    """x @ matrix + bias. A matrix without rows has the bias's columns."""
    total = list(bias) if bias is not None else [0.0] * len(matrix[0])
    for number, weights in zip(x, matrix, strict=True):
        total = [one + number * weight for one, weight in zip(total, weights, strict=True)]
    return total


def plus(one, other):
    return [a + b for a, b in zip(one, other, strict=True)]


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def pairs(row, keeps):
    return zip(row, keeps, strict=True)


def zeros(steps):
    """A step of zeros, as wide as these."""
    return [0] * len(steps[0])


# -- gradients ----------------------------------------------------------------------------
# From the gradient of what an op gives to that of what it was given. A masked step gets 0, and
# whatever arrives there is ignored.


def masking_gradient(gradients, masks):
    """masks are those of the output."""
    return [
        [step if keep else zeros([step]) for step, keep in pairs(row, keeps)]
        for row, keeps in zip(gradients, masks, strict=True)
    ]


def softmax_gradient(soft, masks, gradients):
    """soft · (gradient - Σ soft · gradient), feature by feature."""
    result = []
    for soft_row, keeps, gradient in zip(soft, masks, gradients, strict=True):
        row = [zeros([step]) for step in soft_row]
        kept = [step for step, keep in enumerate(keeps) if keep]
        for feature in range(len(soft_row[0]) if soft_row else 0):
            total = 0.0
            for step in kept:
                total += soft_row[step][feature] * gradient[step][feature]
            for step in kept:
                row[step][feature] = soft_row[step][feature] * (gradient[step][feature] - total)
        result.append(row)
    return result


def cumsum_gradient(masks, gradients, features):
    """Of each kept step the sum of what arrives at it and the kept ones behind it."""
    result = []
    for keeps, gradient in zip(masks, gradients, strict=True):
        total, steps = [0] * features, []
        for step, keep in reversed([*pairs(gradient, keeps)]):
            total = plus(total, step) if keep else total
            steps.append(total if keep else [0] * features)
        result.append(steps[::-1])
    return result


def pool_gradient(rows, masks, how, gradients):
    """gradients has a step a row: each kept step gets some, or the one that was taken gets all."""
    result = []
    for row, keeps, gradient in zip(rows, masks, gradients, strict=True):
        steps = [zeros([step]) for step in row]
        kept = [step for step, keep in enumerate(keeps) if keep]
        for feature in range(len(gradient)):
            numbers = [row[step][feature] for step in kept]
            shares = pool_gradient_of(numbers, how) if kept else []
            for step, share in zip(kept, shares, strict=True):
                steps[step][feature] = share * gradient[feature] if share is not None else 0.0
        result.append(steps)
    return result


def pool_gradient_of(numbers, how):
    """What each number gets of a gradient, or None."""
    if how in ("sum", "mean"):
        return [1 / len(numbers) if how == "mean" else 1] * len(numbers)
    if how == "logsumexp":
        return softmax_of(numbers)
    if how == "std":
        deviation, mean = std_of(numbers), sum(numbers) / len(numbers)
        if deviation == 0:
            return [0.0] * len(numbers)
        return [(number - mean) / (len(numbers) * deviation) for number in numbers]
    of_min = [-number for number in numbers]
    taken = {
        "first": 0,
        "last": len(numbers) - 1,
        "max": first_largest(numbers),
        "min": first_largest(of_min),
    }[how]
    return [1 if place == taken else None for place in range(len(numbers))]


def first_largest(numbers):
    """Where the maximum is; a NaN is."""
    for place, number in enumerate(numbers):
        if number != number:
            return place
    return numbers.index(max(numbers))


def conv_gradient(rows, masks, kernel, gradients, causal=True, dilation=1):
    """Those of the rows, of the kernel and of the bias."""
    of_kernel, of_bias, of_rows = nulls(kernel), nulls(kernel[0]), []
    for row, keeps, gradient in zip(rows, masks, gradients, strict=True):
        of_row = [nulls(step) for step in row]
        for step, tap, other in met(keeps, len(kernel), causal, dilation):
            given = gradient[step]
            of_row[other] = plus(of_row[other], [a * b for a, b in pairs(kernel[tap], given)])
            of_kernel[tap] = plus(of_kernel[tap], [a * b for a, b in pairs(row[other], given)])
        for given, keep in pairs(gradient, keeps):
            of_bias = plus(of_bias, given) if keep else of_bias
        of_rows.append(of_row)
    return of_rows, of_kernel, of_bias


def embedding_gradient(rows, masks, vocabulary, features, gradients):
    """The table's: masks are those of the output."""
    table = [[0.0] * features for _ in range(vocabulary)]
    for row, keeps, gradient in zip(rows, masks, gradients, strict=True):
        for number, keep, step in zip(row, keeps, gradient, strict=True):
            if keep:
                table[number] = plus(table[number], step)
    return table


def cut_rows_gradient(starts, n, features, gradients):
    """The gradient of the steps that rows were cut from."""
    steps = [[0.0] * features for _ in range(n)]
    for start, row in zip(starts, gradients, strict=True):
        for number, step in enumerate(row):
            steps[start + number] = plus(steps[start + number], step)
    return steps


def pad_gradient(gradients, lengths, padding):
    """The rows' own steps of the gradient of padded ones; to_padded's keeps its mask as well."""
    result = []
    for row, length in zip(gradients, lengths, strict=True):
        before = len(row) - length if padding == "pre" else 0
        result.append(row[before : before + length])
    return result


# -- batches ------------------------------------------------------------------------------


def shuffle(bits):
    """0 to n - 1, each put in at a random place, whose number moves to the end."""
    order = []
    for row, random in enumerate(bits):
        other = random * (row + 1) // 2**32
        order.append(row)
        order[row], order[other] = order[other], row
    return order


def begin_batches(lengths, most_steps, rows_multiple=1):
    """Rows taken in order into batches that cost at most so much padded, or hold one row; of
    those that could hold a multiple of so many rows, none holds more than the largest of them."""
    batches = []
    for length in lengths:
        cost = max(1, length)
        affordable = most_steps // max([cost, *(batches[-1] if batches else [])])
        multiples = range(rows_multiple, affordable + 1, rows_multiple)
        if batches and len(batches[-1]) + 1 <= max(multiples, default=affordable):
            batches[-1].append(cost)
        else:
            batches.append([cost])
    return [place == 0 for batch in batches for place in range(len(batch))]


def best_fit(lengths, capacity):
    """The bin of each row: the fullest with room for it, and of equals the one used last."""
    bins, chosen = [], []
    for turn, length in enumerate(lengths):
        fitting = [(room, -used, at) for at, (room, used) in enumerate(bins) if room >= length]
        room, _, at = min(fitting, default=(capacity, 0, len(bins)))
        bins[at : at + 1] = [(room - length, turn)]
        chosen.append(at)
    return chosen


def part_of(row, shares, seed, depth=0):
    """The part of a split in which a row of the data set is: a draw by splitmix64 decides."""
    draw = draw_of(row, (seed, depth))
    *ends, _ = accumulate(shares.values())
    return list(shares)[sum(draw >= end for end in ends)]


# -- rows of rows -------------------------------------------------------------------------
# A batch is a list of rows, a row is a list of inner rows, and an inner row a list of steps.


def nested_masks(rows, inner_masks, masks):
    """Which steps count: those that their inner row keeps, of the inner rows that count."""
    return [
        [[keep and kept for keep in inner] for inner, kept in zip(*pair, strict=True)]
        for pair in zip(inner_masks, masks, strict=True)
    ]


def nested_to_padded(rows, masks, widths, paddings, truncatings, value):
    """Rows of one number of inner rows of one length, and which of their steps are kept.

    widths, paddings and truncatings are pairs: of rows, and of inner rows.
    """
    outer_width, inner_width = widths
    if outer_width is not None:
        rows = truncate(rows, outer_width, truncatings[0])
        masks = truncate(masks, outer_width, truncatings[0])
    else:
        outer_width = max([len(row) for row in rows], default=0)
    if inner_width is None:
        inner_width = max([len(inner) for row in rows for inner in row], default=0)
    padded = []
    for batch, filler in ((rows, value), (masks, False)):
        cut = [truncate(row, inner_width, truncatings[1]) for row in batch]
        inner = [pad(row, inner_width, paddings[1], filler) for row in cut]
        padded.append(pad(inner, outer_width, paddings[0], [filler] * inner_width))
    return tuple(padded)


# -- mixtures -----------------------------------------------------------------------------


def draw_of(number, key):
    """A draw in [0, 1) by splitmix64, of a number and a key."""
    begin, turn = map(int, np.random.SeedSequence(key).generate_state(2, np.uint64))
    bits = 2**64 - 1
    draw = (number * 0x9E3779B97F4A7C15 + begin) & bits
    for _ in range(2):
        draw ^= turn
        draw = (draw ^ draw >> 30) * 0xBF58476D1CE4E5B9 & bits
        draw = (draw ^ draw >> 27) * 0x94D049BB133111EB & bits
        draw ^= draw >> 31
    return draw / 2**64


def mixed(sources, weights, seed, epoch, until, numbers):
    """(source, row) after (source, row), as one rank draws them that has these numbers."""
    left = {name: list(rows) for name, rows in sources.items()}
    if until == "first" and any(weights[name] and not rows for name, rows in left.items()):
        return
    for number in numbers:
        weighed = {name: weights[name] if until == "first" or left[name] else 0 for name in sources}
        total = sum(weighed.values())
        if not total:
            return
        draw = draw_of(number, (4, seed, epoch))
        ends = accumulate(weight / total for weight in weighed.values())
        name = next(name for name, end in zip(weighed, ends, strict=True) if draw < end)
        if not left[name]:
            return
        yield name, left[name].pop(0)
