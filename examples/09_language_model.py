"""A small GRU language model on WordNet's glosses: packed sequences, and no padding.

Glosses are packed into sequences of 512 words, so that every batch costs the same; each gloss is
still a row of its own, and the model's state never runs from one into the next. Run it:
python examples/09_language_model.py (needs torch: pip install "ragmask[torch]")

117,659 glosses of WordNet 3.0 (© 2006 Princeton University, WordNet licence).
"""

import math
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import torch

import ragmask as rm
import ragmask.interop.torch as rt

GLOSSES = Path(__file__).parent / "data" / "wordnet_glosses.parquet"
WORDS, DIMENSIONS, UNITS = 4_000, 96, 128
BATCHES, LOOK_EVERY, VALID_ROWS = 160, 40, 1_000
NO_WORD = -100  # a target that does not count

table = pq.read_table(GLOSSES, columns=["tokens"])
valid = rm.stream(table.slice(0, VALID_ROWS))
train = rm.stream(table.slice(VALID_ROWS)).shuffle(seed=0).pack(512, "tokens").batch(rows=8)
vocabulary = rm.Vocabulary.build(rm.stream(table).batch(), column="tokens", max_size=WORDS)


class LanguageModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = rt.nn.Embedding(len(vocabulary), DIMENSIONS)
        self.gru = rt.nn.GRU(DIMENSIONS, UNITS)
        self.next_word = torch.nn.Linear(UNITS, len(vocabulary))

    def forward(self, ids: rt.RaggedTensor) -> rt.RaggedTensor:
        outputs, _ = self.gru(self.words(ids))
        return outputs.with_values(self.next_word(outputs.values))


def loss_of(model: LanguageModel, ids: rt.RaggedTensor) -> torch.Tensor:
    """The mean surprise at the word after each, in nats; after the last there is none."""
    targets = ids.values.roll(-1)
    targets[ids.offsets[1:][ids.lengths > 0] - 1] = NO_WORD
    return rt.cross_entropy(model(ids), targets, ignore_index=NO_WORD)


def glosses_of(batch: rm.Batch) -> rt.RaggedTensor:
    """The glosses of packed sequences, each a row again: `cu_seqlens` says where they lie."""
    ids = vocabulary.encode(batch["tokens"])
    lengths = [torch.tensor(row).diff() for row in batch["cu_seqlens"].to_rows()]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(lengths).cumsum(0)])
    return rt.RaggedTensor(torch.tensor(ids.compact().values).long(), offsets)


torch.manual_seed(0)
model = LanguageModel()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, fused=True)
(batch,) = valid.batch(rows=VALID_ROWS)
held_out = rt.RaggedTensor.from_ragged(vocabulary.encode(batch["tokens"]))
print(f"{len(vocabulary):,} words; {sum(one.numel() for one in model.parameters()):,} parameters")

perplexities, steps, started = [], 0, time.perf_counter()
for number, batch in enumerate(train):
    if number % LOOK_EVERY == 0:
        with torch.no_grad():
            perplexities.append(math.exp(loss_of(model, held_out).item()))
        seconds = time.perf_counter() - started
        print(f"{steps:>9,} words, {seconds:>3.0f} s: perplexity {perplexities[-1]:>6.1f}")
    if number == BATCHES:
        break
    ids = glosses_of(batch)
    optimizer.zero_grad()
    loss_of(model, ids).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    steps += ids.n_steps

assert all(one > other for one, other in pairwise(perplexities))
print(f"from {perplexities[0]:,.0f} to {perplexities[-1]:.0f}: it learns")
