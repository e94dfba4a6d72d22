"""Train a classifier on a shuffled, bucketed stream; stop it half-way; resume to the same bits.

Nine speakers say two Japanese vowels; an LSTM tells who speaks. Run it:
python examples/05_train_resume.py (needs torch: pip install "ragmask[torch]")
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import to_packed

EPOCHS, SPEAKERS = 20, 9


def open_split(split: str) -> rm.Stream:
    return rm.stream(JAPANESE_VOWELS, ["frames", "speaker"], filter=[("split", "==", split)])


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(12, 48)
        self.head = torch.nn.Linear(48, SPEAKERS)

    def forward(self, frames: rm.Ragged) -> torch.Tensor:
        _, (h, _) = self.lstm(to_packed(frames))
        return self.head(h[-1])


class Training:
    """All that a checkpoint has to hold: weights, optimizer, and where the stream stands."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = Classifier()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        train = open_split("train").shuffle(seed=0)
        self.stream = train.batch(tokens=256, column="frames")

    def run(self, stop_after: int | None = None) -> None:
        """To the end of the last epoch, or for a number of batches."""
        done = 0
        for epoch in range(self.stream.state_dict()["epoch"], EPOCHS):
            loss = torch.zeros(())
            for batch in self.stream:
                self.optimizer.zero_grad()
                speakers = torch.tensor(batch["speaker"]).long() - FIRST_SPEAKER
                loss = torch.nn.functional.cross_entropy(self.model(batch["frames"]), speakers)
                loss.backward()
                self.optimizer.step()
                done += 1
                if done == stop_after:
                    return
            if epoch % 10 == 9:
                print(f"  epoch {epoch + 1}: loss of its last batch {loss.item():.4f}")

    def save(self, folder: Path) -> None:
        weights = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(weights, folder / "weights.pt")
        (folder / "stream.json").write_text(json.dumps(self.stream.state_dict()))

    def load(self, folder: Path) -> None:
        weights = torch.load(folder / "weights.pt", weights_only=True)
        self.model.load_state_dict(weights["model"])
        self.optimizer.load_state_dict(weights["optimizer"])
        self.stream.load_state_dict(json.loads((folder / "stream.json").read_text()))


def accuracy(model: Classifier) -> float:
    right = total = 0
    with torch.no_grad():
        for batch in open_split("test").batch(rows=128):
            guesses = model(batch["frames"]).argmax(1).numpy() + FIRST_SPEAKER
            right += int((guesses == batch["speaker"]).sum())
            total += batch.num_rows
    return right / total


every = np.concatenate([batch["speaker"] for batch in rm.stream(JAPANESE_VOWELS).batch()])
FIRST_SPEAKER = int(every.min())

print("without a stop")
whole = Training()
print(f"  {str(whole.stream).splitlines()[0]}")
whole.run()

print("stopped in the middle of an epoch, and resumed from its checkpoint")
with tempfile.TemporaryDirectory() as name:
    first = Training()
    first.run(stop_after=137)
    first.save(Path(name))
    print(f"  the stream's state: {(Path(name) / 'stream.json').stat().st_size} bytes")

    second = Training()
    second.load(Path(name))
    second.run()

pairs = zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True)
for (what, weights), others in pairs:
    assert torch.equal(weights, others), what
print("the weights are the same, bit for bit")
print(f"test accuracy {accuracy(second.model):.1%}")
