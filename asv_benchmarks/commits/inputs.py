"""The batches that both commits compute on: every layout, of every dtype and shape of a step."""

import numpy as np

import ragmask as rm

DTYPES = (
    *("float16", "float32", "float64", ">f4", "complex64"),
    *("int8", "int32", "int64", "uint16", "uint64", ">i4", "bool"),
    *("datetime64[s]", "timedelta64[ms]"),
)
ITEM_SHAPES = ((), (3,), (2, 2))
VOCABULARY = 50


def values_of(shape, dtype, seed=0):
    """Normal floats with zeros among them; integers that are ids of the vocabulary."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, VOCABULARY, shape)
    if np.dtype(dtype).kind not in "fc":
        return numbers.astype("int64").astype(dtype)
    return np.where(numbers < 8, 0, rng.standard_normal(shape)).astype(dtype)


def layouts(dtype, item_shape, rows=37, longest=23):
    """{name: batch}, Ragged, Padded and dense. Small ones, whose rows have 0 to `longest` steps."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, longest + 1, rows)
    lengths[[0, rows // 2, -1]] = 0, longest, 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = values_of((offsets[-1], *item_shape), dtype)
    keep = rng.random(len(values)) < 0.7
    order = rng.permutation(rows)
    anywhere = rng.integers(0, len(values) - longest, rows)

    compact = rm.Ragged.from_offsets(values, offsets)
    masked = rm.Ragged.from_offsets(values, offsets, keep)
    gaps = rm.Ragged(values, offsets[:-1], lengths // 2)
    overlaps = rm.Ragged(values, anywhere, lengths)
    ragged = {
        "compact": compact,
        "gaps": gaps,
        "overlaps": overlaps,
        "permuted": compact[order],
        "a slice": compact[5:20],
        "backwards": compact[::-2],
        "truncated": compact.truncate(5, side="pre"),
        "masked": masked,
        "masked, permuted": masked[order],
        "masked, overlaps": rm.Ragged(values, anywhere, lengths, keep),
        "masked, nothing kept": rm.Ragged.from_offsets(values, offsets, np.zeros_like(keep)),
        "masked, all kept": rm.Ragged.from_offsets(values, offsets, np.ones_like(keep)),
        "empty rows": rm.Ragged(values, offsets[:5], np.zeros(5, int)),
        "zero rows": compact[:0],
        "one row": compact[[rows // 2]],
    }
    dense = values_of((rows, longest, *item_shape), dtype, seed=2)
    kept = rng.random(dense.shape[:2]) < 0.6
    ends = np.arange(longest) < lengths[:, None]
    return ragged | {
        "padded": rm.Padded(dense, ends),
        "padded, masked inside": rm.Padded(dense, kept),
        "padded, no mask": rm.Padded(dense),
        "padded, wide": compact.to_padded(maxlen=300, padding="pre"),
        "padded, part of a width": rm.Padded(dense[:, 3:17], kept[:, 3:17]),
        "padded, zero width": rm.Padded(dense[:, :0]),
        "padded, zero rows": rm.Padded(dense[:0], ends[:0]),
        "dense": dense,
        "dense, part of a width": dense[:, 3:17],
    }


def large_layouts(dtype, item_shape):
    """Batches that are shared out among threads, one row of which is far longer than the others."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 60, 2_500)
    lengths[3] = 400
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = values_of((offsets[-1], *item_shape), dtype, seed=4)
    batch = rm.Ragged.from_offsets(values, offsets, rng.random(len(values)) < 0.9)
    plain = rm.Ragged.from_offsets(values, offsets)
    return {
        "large": plain,
        "large, masked, permuted": batch[rng.permutation(len(batch))],
        "large, padded": plain.truncate(64).to_padded(),
    }
