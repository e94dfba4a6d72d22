"""Stream recordings of unequal length from Parquet into padded batches.

Run it: python examples/02_stream_parquet.py
"""

import numpy as np

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS

stream = rm.stream(JAPANESE_VOWELS, columns=["frames", "speaker"]).batch(rows=128)
print(stream)
print(f"{stream.num_rows} rows in {len(stream)} batches\n")

# Batches differ in width, and fresh memory costs more than padding: pad into the same buffers.
values = np.empty(128 * 32 * 12, np.float32)
mask = np.empty(128 * 32, bool)

real = padded_steps = 0
for batch in stream:
    frames = batch["frames"]
    padded = frames.to_padded(multiple_of=8, out=(values, mask))
    assert padded.mask is not None

    # What a model would see: the mean of each coefficient over the real frames only.
    kept = padded.mask[:, :, None]
    means = (padded.values * kept).sum(axis=1) / kept.sum(axis=1)
    loudest = int(means[:, 0].argmax())

    print(
        f"{batch.num_rows} recordings of {frames.lengths.min()} to {frames.max_length} frames"
        f" → {padded.shape}; speaker {batch['speaker'][loudest]} has the highest first coefficient"
    )
    real += frames.n_steps
    padded_steps += padded.mask.size

print(f"\n{1 - real / padded_steps:.0%} of the padded arrays was padding")


# Batches by a budget of padded steps instead, from rows of similar lengths, in random order.
stream = rm.stream(JAPANESE_VOWELS, columns=["frames"]).shuffle(seed=0)
stream = stream.batch(tokens=128 * 16, column="frames")
print(stream.measure_padding())
for batch in stream:
    padded = batch["frames"].to_padded(out=(values, mask))
    print(f"{batch.num_rows} recordings → {padded.shape}")
