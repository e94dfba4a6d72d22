"""Train a small transformer on rows of unequal length, without padding.

Nine speakers say two Japanese vowels; the model tells who speaks. A depthwise convolution over time
takes the place of position vectors, as in the Conformer (A. Gulati et al., 2020); then each step
looks at the steps of its own row. Run it: python examples/16_attention.py (needs torch:
pip install "ragmask[torch]")
"""

import time

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.data import JAPANESE_VOWELS

FEATURES, SIZE, HEADS, WIDTH, SPEAKERS = 12, 64, 4, 5, 9
EPOCHS = 15

table = pq.read_table(JAPANESE_VOWELS, columns=["frames", "speaker", "split"])
is_test = np.array([split == "test" for split in table["split"].to_pylist()])
TRAIN, TEST = table.filter(~is_test), table.filter(is_test)
frames = np.stack(TRAIN["frames"].combine_chunks().flatten().to_pylist())
MEAN, SCALE = (torch.tensor(function(frames, 0)).float() for function in (np.mean, np.std))


class Block(nn.Module):
    """x + convolution, x + attention, x + two products of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(WIDTH, SIZE) / WIDTH)
        self.queries_keys_values = nn.Linear(SIZE, 3 * SIZE)
        self.out = nn.Linear(SIZE, SIZE)
        self.each_step = nn.Sequential(
            nn.LayerNorm(SIZE), nn.Linear(SIZE, 2 * SIZE), nn.GELU(), nn.Linear(2 * SIZE, SIZE)
        )
        self.norm = nn.LayerNorm(SIZE)

    def forward(self, x: rt.RaggedTensor) -> rt.RaggedTensor:
        x = x.with_values(x.values + rt.temporal_conv(x, self.kernel, causal=False).values)
        mixed = self.attend(x.with_values(self.norm(x.values)))
        values = x.values + self.out(mixed.values.flatten(1))
        return x.with_values(values + self.each_step(values))

    def attend(self, x: rt.RaggedTensor) -> rt.RaggedTensor:
        thirds = self.queries_keys_values(x.values).view(-1, 3, HEADS, SIZE // HEADS)
        q, k, v = (x.with_values(one) for one in thirds.unbind(1))
        return rt.temporal_attention(q, k, v)


class PaddedBlock(Block):
    """The same attention by torch, on a padded batch with a mask."""

    def attend(self, x: rt.RaggedTensor) -> rt.RaggedTensor:
        thirds = self.queries_keys_values(x.values).view(-1, 3, HEADS, SIZE // HEADS)
        padded, mask = x.with_values(thirds).to_padded()
        q, k, v = padded.permute(2, 0, 3, 1, 4)  # each (rows, heads, width, size of a head)
        seen = mask[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return x.with_values(mixed.transpose(1, 2)[mask])


class Classifier(nn.Module):
    def __init__(self, block: type[Block]) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, SIZE)
        self.blocks = nn.Sequential(block(), block())
        self.last = nn.Sequential(nn.LayerNorm(SIZE), nn.Dropout(0.3), nn.Linear(SIZE, SPEAKERS))

    def forward(self, frames: rt.RaggedTensor) -> torch.Tensor:
        values = (frames.values - MEAN) / SCALE
        if self.training:
            values = values + 0.3 * torch.randn_like(values)
        x = self.blocks(frames.with_values(self.first(values.float())))
        return self.last(rt.temporal_pool(x, "mean"))


def train(block: type[Block]) -> tuple[Classifier, float]:
    torch.manual_seed(0)
    model = Classifier(block)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.05)
    stream = rm.stream(TRAIN, ["frames", "speaker"]).shuffle(seed=0)
    stream = stream.batch(tokens=1024, column="frames", bucket=True)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for batch in stream:
            logits = model(rt.RaggedTensor.from_ragged(batch["frames"]))
            speakers = torch.tensor(batch["speaker"]).long() - 1
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, speakers).backward()
            optimizer.step()
    return model, time.perf_counter() - started


@torch.no_grad()
def accuracy(model: Classifier) -> float:
    model.eval()
    (batch,) = rm.stream(TEST, ["frames", "speaker"]).batch(rows=len(TEST))
    logits = model(rt.RaggedTensor.from_ragged(batch["frames"]))
    return (logits.argmax(1) + 1 == torch.tensor(batch["speaker"])).double().mean().item()


if __name__ == "__main__":
    print(f"{len(TRAIN)} rows to train on, {len(TEST)} to test")
    for name, block in (("ragged rows", Block), ("padded attention", PaddedBlock)):
        model, seconds = train(block)
        print(f"{name}: {EPOCHS} epochs in {seconds:.1f} s, test accuracy {accuracy(model):.1%}")
