"""Documents of phrases of words: batches whose items are rows.

A gloss of WordNet is a definition and, behind semicolons, others and examples. The words become
vectors, a phrase is the sum of its words, and a gloss the mean of its phrases: pooled from the
inside out, without padding at either level. Run it: python examples/17_documents.py
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import ragmask as rm

GLOSSES = Path(__file__).parent / "data" / "wordnet_glosses.parquet"


def phrases_of(tokens: pa.ListArray) -> pa.ListArray:
    """Lists of words cut at their semicolons: lists of lists of words."""
    words, ends = tokens.flatten(), tokens.value_lengths().to_numpy().cumsum()
    last = np.zeros(len(words) + 1, np.bool_)  # whether a phrase ends before this word
    last[1:] = pc.equal(words, ";").to_numpy(zero_copy_only=False)
    last[ends] = True
    phrase_ends = np.flatnonzero(last)
    phrases = pa.ListArray.from_arrays(pa.array([0, *phrase_ends], pa.int32()), words)
    gloss_ends = np.searchsorted(phrase_ends, ends) + 1
    return pa.ListArray.from_arrays(pa.array([0, *gloss_ends], pa.int32()), phrases)


stream = rm.stream(GLOSSES, ["tokens"]).batch(rows=4096)
vocabulary = rm.Vocabulary.build(stream, column="tokens", max_size=20_000)
table = np.random.default_rng(0).normal(size=(len(vocabulary), 32)).astype(np.float32)

batch = next(iter(stream))
documents = vocabulary.encode(phrases_of(batch["tokens"]))
print(documents[:3])

longest = documents.outer.max_length, documents.inner.max_length
print(f"{len(documents)} glosses of up to {longest[0]} phrases of up to {longest[1]} words")
steps, dense = documents.inner.n_steps, len(documents) * longest[0] * longest[1]
print(f"padded at both levels, {steps / dense:.1%} of {dense:,} steps would be real")

words = rm.embedding(documents, table)
phrases = rm.temporal_pool(words, "sum")  # a Ragged: a vector for each phrase
glosses = rm.temporal_pool(phrases, "mean")  # an array: a vector for each gloss
print(f"words {words.inner.values.shape}, phrases {phrases.values.shape}, glosses {glosses.shape}")

first = documents[0]  # a Ragged: the phrases of one gloss
assert np.allclose(glosses[0], np.mean([table[phrase].sum(0) for phrase in first], axis=0))

back = pa.array(documents.truncate(2))  # the first two phrases of each, as Arrow's lists of lists
print(back.type, back[0].as_py())
