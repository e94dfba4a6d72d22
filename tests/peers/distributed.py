"""One of several processes that train together: python -m tests.peers.distributed RANK PORT OUT."""

import sys

import torch

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.data import JAPANESE_VOWELS

WORLD, STEPS = 2, 6


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = rt.nn.LSTM(12, 8, bidirectional=True)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, frames):
        outputs, _ = self.lstm(frames)
        return self.head(rt.temporal_pool(outputs, "mean"))


def made():
    torch.manual_seed(0)
    model = Classifier().double()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def batches(rank):
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).shuffle(seed=0)
    stream = stream.shard(rank, WORLD, even=True).batch(tokens=700, column="frames", bucket=True)
    for _, batch in zip(range(STEPS), stream, strict=False):
        yield batch


def loss_of(model, batch):
    frames = rt.RaggedTensor.from_ragged(batch["frames"]).to(torch.float64)
    speakers = torch.tensor(batch["speaker"]).long()
    return torch.nn.functional.cross_entropy(model(frames), speakers)


def train(rank, port, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD
    )
    model, optimizer = made()
    together = torch.nn.parallel.DistributedDataParallel(model)
    for batch in batches(rank):
        optimizer.zero_grad()
        loss_of(together, batch).backward()
        optimizer.step()
    torch.save(model.state_dict(), out)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
