"""Train an LSTM on rows of unequal length, without padding; kill it; resume to the same bits.

Nine speakers say two Japanese vowels; the model tells who speaks. Its paper's own methods are right
in 94.1 % to 96.2 % of the test's cases (M. Kudo, J. Toyama, M. Shimbo, 1999). Run it:
python examples/08_train_on_ragged_rows.py (needs torch and rich: pip install "ragmask[torch,cli]")
"""

import copy
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.data import JAPANESE_VOWELS

FEATURES, UNITS, SPEAKERS = 12, 96, 9
EPOCHS, PATIENCE, KILLED_AFTER = 60, 15, 100
NOISE = 0.5  # added to standardised frames while training

table = pq.read_table(JAPANESE_VOWELS, columns=["frames", "speaker", "split"])
is_test = np.array([split == "test" for split in table["split"].to_pylist()])
number = np.arange(len(table))
TRAIN = table.filter(~is_test & (number % 7 > 0))
VALID = table.filter(~is_test & (number % 7 == 0))
TEST = table.filter(is_test)
VALID_BATCH, TEST_BATCH = (
    next(iter(rm.stream(rows, ["frames", "speaker"]).batch(rows=len(rows))))
    for rows in (VALID, TEST)
)
MEAN, SCALE = (
    torch.tensor(
        function(np.stack(TRAIN["frames"].combine_chunks().flatten().to_pylist()), 0)
    ).float()
    for function in (np.mean, np.std)
)


class Classifier(torch.nn.Module):
    """Outputs of both directions, their mean over a row's steps, and a speaker."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = rt.nn.LSTM(FEATURES, UNITS, bidirectional=True)
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2 * UNITS, SPEAKERS))

    def forward(self, frames: rt.RaggedTensor) -> torch.Tensor:
        values = (frames.values - MEAN) / SCALE
        if self.training:
            values = values + NOISE * torch.randn_like(values)
        return self.head(self.summed_up(frames.with_values(values.float())))

    def summed_up(self, frames: rt.RaggedTensor) -> torch.Tensor:
        outputs, _ = self.lstm(frames)
        return rt.temporal_pool(outputs, "mean")


class PackedClassifier(Classifier):
    """The same by torch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(FEATURES, UNITS, bidirectional=True)

    def summed_up(self, frames: rt.RaggedTensor) -> torch.Tensor:
        lengths = frames.lengths
        rows = frames.values.split(lengths.tolist())
        packed = torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)
        outputs, _ = self.lstm(packed)
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        return padded.sum(1) / lengths[:, None]  # what is padded is 0


class Training:
    """A run, and all that a checkpoint has to hold for another process to go on with it."""

    def __init__(self, model_class: type[Classifier] = Classifier) -> None:
        torch.manual_seed(0)
        self.model = model_class()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.002, fused=True)
        stream = rm.stream(TRAIN, ["frames", "speaker"]).shuffle(seed=0)
        self.stream = stream.batch(tokens=512, column="frames", bucket=True)
        self.batches = 0
        self.best = (math.inf, 0, copy.deepcopy(self.model.state_dict()))  # loss, epoch, weights

    @property
    def epoch(self) -> int:
        return self.stream.state_dict()["epoch"]

    @property
    def is_over(self) -> bool:
        return self.epoch >= EPOCHS or self.epoch > self.best[1] + PATIENCE

    def run_epoch(self, checkpoint: Path | None = None, killed_after: int | None = None) -> None:
        """The batches that are left of this epoch, and a look at the validation rows."""
        self.model.train()
        for batch in self.stream:
            self.optimizer.zero_grad()
            self.loss_of(batch).backward()
            self.optimizer.step()
            self.batches += 1
            if checkpoint is not None and self.batches % 30 == 0:
                self.save(checkpoint, batch.state)
            if self.batches == killed_after:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        loss, _ = self.look_at(VALID_BATCH)
        if loss < self.best[0]:
            self.best = (loss, self.epoch, copy.deepcopy(self.model.state_dict()))

    def loss_of(self, batch: rm.Batch) -> torch.Tensor:
        frames = rt.RaggedTensor.from_ragged(batch["frames"])
        speakers = torch.tensor(batch["speaker"]).long() - 1
        return torch.nn.functional.cross_entropy(self.model(frames), speakers)

    @torch.no_grad()
    def look_at(self, batch: rm.Batch) -> tuple[float, float]:
        """(loss, accuracy)."""
        self.model.eval()
        logits = self.model(rt.RaggedTensor.from_ragged(batch["frames"]))
        speakers = torch.tensor(batch["speaker"]).long() - 1
        accuracy = (logits.argmax(1) == speakers).double().mean().item()
        return torch.nn.functional.cross_entropy(logits, speakers).item(), accuracy

    def save(self, path: Path, state: dict) -> None:
        whole = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stream": state,
            "batches": self.batches,
            "best": self.best,
            "random": torch.get_rng_state(),
        }
        beside = path.with_suffix(".part")
        torch.save(whole, beside)
        beside.replace(path)  # whole, or not at all

    def load(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.stream.load_state_dict(saved["stream"])
        self.batches, self.best = saved["batches"], saved["best"]
        torch.set_rng_state(saved["random"])


def train(checkpoint: Path | None = None, killed_after: int | None = None) -> Training:
    """To the end, from the checkpoint if there is one."""
    training = Training()
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    console = Console(stderr=True)
    for _ in track(range(training.epoch, EPOCHS), "  epochs", console=console, transient=True):
        if training.is_over:
            break
        training.run_epoch(checkpoint, killed_after)
    return training


def seconds_of_epochs(training: Training, epochs: int) -> float:
    started = time.perf_counter()
    for _ in range(epochs):
        training.run_epoch()
    return time.perf_counter() - started


if __name__ == "__main__":
    if len(sys.argv) > 1:  # the process that is killed
        train(Path(sys.argv[1]), KILLED_AFTER)

    print(f"{len(TRAIN)} rows to train on, {len(VALID)} to validate, {len(TEST)} to test")
    whole = train()
    loss, epoch, weights = whole.best
    print(f"stopped after epoch {whole.epoch}; the least validation loss, {loss:.4f}, at {epoch}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        killed = subprocess.run([sys.executable, __file__, str(path)], check=False)
        print(
            f"another process, killed after {KILLED_AFTER} batches, ended with {killed.returncode}"
        )
        resumed = train(path)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    print("resumed from its last checkpoint, it came to the same weights, bit for bit")

    resumed.model.load_state_dict(weights)
    print(f"test accuracy {resumed.look_at(TEST_BATCH)[1]:.1%}")

    some = 5
    contenders = {"ragged rows": Training(), "torch, with packing": Training(PackedClassifier)}
    for name, training in contenders.items():
        seconds_of_epochs(training, 1)
        best = min(seconds_of_epochs(training, some) for _ in range(3))
        print(f"{some} epochs of {name}: {best:.2f} s")
