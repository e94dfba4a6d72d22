"""ragmask's kernels inside your own compiled loop.

A kernel is a serial loop over rows on bare arrays, so it can be called from any @njit function:
here one compiled function scores every frame of a recording, turns the scores into attention with
the softmax kernel, weighs the frames, and sums them with the pooling kernel, for a whole batch in
one call that holds no GIL.

Kernels check nothing. A Ragged's starts and lengths have been checked, which is what makes
handing them over safe.

Run it: python examples/04_kernels_in_your_own_njit.py
"""

import numpy as np
from numba import njit

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.kernels import cpu
from ragmask.kernels.constants import SUM


@njit(nogil=True)
def attend(values, starts, lengths, query, pooled):
    """pooled[row] = Σ softmax over the row's frames of (frame · query) × frame."""
    n, features = values.shape
    scores = np.zeros(n, values.dtype)
    for row in range(lengths.size):
        for step in range(starts[row], starts[row] + lengths[row]):
            for feature in range(features):
                scores[step] += values[step, feature] * query[feature]

    attention = np.empty_like(scores)
    cpu.softmax(0, lengths.size, scores, 1, starts, lengths, None, starts, attention)
    weighted = values * attention.reshape(n, 1)
    cpu.pool(0, lengths.size, weighted, starts, lengths, None, SUM, pooled)


query = np.random.default_rng(0).normal(0, 2, 12).astype(np.float32)
stream = rm.stream(JAPANESE_VOWELS, columns=["frames", "speaker"]).batch(rows=128)
centroids = np.zeros((10, 12))
counts = np.zeros(10)
for batch in stream:
    frames = batch["frames"].compact()
    pooled = np.empty((len(frames), 12), np.float32)
    attend(frames.values, frames.starts, frames.lengths, query, pooled)
    np.add.at(centroids, batch["speaker"], pooled)
    np.add.at(counts, batch["speaker"], 1)

    # the same through the public ops
    scores = frames.with_values(frames.values @ query)
    expected = rm.temporal_pool(frames * rm.temporal_softmax(scores), "sum")
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)

print("first three coefficients of each speaker's attended mean:")
for speaker in np.flatnonzero(counts):
    print(f"  speaker {speaker}: {np.round(centroids[speaker, :3] / counts[speaker], 3)}")
print("equal to temporal_softmax and temporal_pool")
