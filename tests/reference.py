"""What each operation means, in plain Python loops over plain lists.

A batch is a list of rows, a row is a list of steps, and a step is any object at all. A mask is
a list of rows of bools, True = keep.
"""


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
