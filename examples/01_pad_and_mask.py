"""Rows of unequal length become a padded batch and a mask, and come back.

Run it: python examples/01_pad_and_mask.py
"""

import numpy as np

import ragmask as rm

# Three sentences as word ids, 3, 5 and 6 words long (the example of Keras's masking guide).
ids = rm.Ragged.from_rows(
    [
        [711, 632, 71],
        [73, 8, 3215, 55, 927],
        [83, 91, 1, 645, 1253, 927],
    ]
)
print("The values lie end to end; starts and lengths say where the rows are:")
print("  values ", ids.values)
print("  starts ", ids.starts)
print("  lengths", ids.lengths)

padded = ids.to_padded()
print("\nPadded after each row, with the mask of what is real:")
print(padded.values)
print(padded.mask)

print("\nPadded before, cut to the last 4 words, filled with -1:")
print(ids.to_padded(maxlen=4, padding="pre", truncating="pre", value=-1).values)

print("\nViews touch no value. The rows by length, longest first, their first two words:")
print(ids[np.argsort(-ids.lengths)].truncate(2))

print("\nOperators work on each step and keep the rows:")
print(ids > 100)

print("\nA mask inside a row travels along, and back out of the padded array:")
seen = rm.Ragged(ids.values, ids.starts, ids.lengths, mask=ids.values != 1)
print(seen)
print("round trip equal:", rm.Ragged.from_padded(seen.to_padded()).to_arrow() == seen.to_arrow())

print("\nKeras's pad_sequences, the same defaults:")
print(rm.pad_sequences([[1], [2, 3], [4, 5, 6]]))
