"""Words from Parquet to one attention-pooled vector a gloss, and back to Parquet.

117,659 glosses of WordNet 3.0 (© 2006 Princeton University, WordNet licence) are streamed, turned
into ids, embedded, run through an LSTM, scored step by step, and averaged by the softmax of the
scores. No padded array is built on the way. The weights are random: it is the plumbing that
counts here.

Run it: python examples/03_embed_lstm_softmax.py
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

import ragmask as rm

GLOSSES = Path(__file__).parent / "data" / "wordnet_glosses.parquet"
DIMENSIONS, UNITS = 32, 64

stream = rm.stream(GLOSSES).batch(rows=2048)
vocabulary = rm.Vocabulary.build(stream, column="tokens", max_size=20_000)
print(vocabulary)

rng = np.random.default_rng(0)
table = rng.normal(0, 1, (len(vocabulary), DIMENSIONS)).astype(np.float32)
weights = rm.LSTMWeights(
    rng.normal(0, 0.2, (DIMENSIONS, 4 * UNITS)).astype(np.float32),
    rng.normal(0, 0.1, (UNITS, 4 * UNITS)).astype(np.float32),
    np.zeros(4 * UNITS, np.float32),
)
direction = rng.normal(0, 1, UNITS).astype(np.float32)


def attend(batch: rm.Batch) -> dict[str, object]:
    """A vector for each gloss, and the attention that each of its words got."""
    ids = vocabulary.encode(batch["tokens"])
    states = rm.lstm(rm.embedding(ids, table), weights).outputs
    scores = states.with_values(states.values @ direction)
    attention = rm.temporal_softmax(scores)
    return {
        "tokens": batch["tokens"],
        "attention": attention,
        "vector": rm.temporal_pool(states * attention, "sum"),
    }


out = Path(tempfile.mkdtemp()) / "vectors.parquet"
writer = None
steps = 0
begin = time.perf_counter()
for batch in track(stream.map(attend), "attending", total=len(stream)):
    rows = batch.to_arrow()
    writer = writer or pq.ParquetWriter(out, rows.schema)
    writer.write_table(rows)
    steps += batch["attention"].n_steps
assert writer is not None
writer.close()
seconds = time.perf_counter() - begin
print(f"{stream.num_rows:,} glosses, {steps:,} words in {seconds:.1f} s, compiling included")

first = next(iter(rm.stream(out).batch(rows=1)))
print(f"\n{out.name}: {pa.parquet.read_schema(out).names}, {out.stat().st_size / 1e6:.0f} MB")
print("the first gloss, and where its attention went:")
for word, share in zip(first["tokens"][0].as_py(), first["attention"][0], strict=True):
    print(f"  {word:<12} {'█' * round(float(share) * 100)} {share:.3f}")
