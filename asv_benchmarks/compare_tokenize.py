"""The tables of compare.py on texts that a stream tokenizes, beside the tokenizer alone.

Both run on the threads that Hugging Face's tokenizers starts, as many as there are cores. Calls are
interleaved and the least time of several rounds counts. `pip install "ragmask[text]"` brings them.
"""

import tempfile
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tables import against, installed

import ragmask as rm

GLOSSES = Path(__file__).parents[1] / "examples" / "data" / "wordnet_glosses.parquet"
ROWS = 98_304


def tokenize(rows=ROWS):
    """WordNet's glosses as a stream's ids by a byte-level BPE of 16,000 tokens, packed or not.

    The peer is one call of `encode_batch_fast` on all texts, which are a Python list already.
    """
    tokenizers = installed("tokenizers")
    if not tokenizers:
        return
    words = pq.read_table(GLOSSES, columns=["tokens"])["tokens"][:rows]
    text = pc.binary_join(words, " ").combine_chunks()
    texts = text.to_pylist()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=16_000, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.parquet"
        pq.write_table(pa.table({"text": text}), path, row_group_size=8192)
        stream = rm.stream(path).tokenize("text", tokenizer)
        mixed = stream.shuffle(0, window_rows=16_384)
        ways = {
            "batches of 256 rows": stream.batch(rows=256),
            "packed to 2,048 steps": stream.pack(2048, "ids").batch(rows=8),
            "shuffled, packed to 2,048 steps": mixed.pack(2048, "ids").batch(rows=8),
            "shuffled, by 16,384 padded steps": mixed.batch(tokens=16_384, column="ids"),
        }
        steps = sum(len(one.ids) for one in tokenizer.encode_batch_fast(texts))
        for what, way in ways.items():
            assert count_steps(way) == steps
            alone = partial(tokenizer.encode_batch_fast, texts)
            yield against(
                what, partial(count_steps, way), "`encode_batch_fast` alone", alone, target=0.9
            )


def count_steps(stream):
    return sum(batch["ids"].n_steps for batch in stream)


TABLES = (tokenize,)
