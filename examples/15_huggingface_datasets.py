"""Hugging Face's datasets: a Dataset on the disk as a stream, and a stream as an IterableDataset.

    python examples/15_huggingface_datasets.py

A Dataset is streamed over the files it maps, in the order that shuffle, filter and select gave it.
Batches by tokens cost little padding, and go back as an IterableDataset for who trains with one.
Needs the extra `datasets`.
"""

import itertools
import json
import tempfile
from pathlib import Path

import datasets

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.datasets import to_iterable_dataset

SPEAKERS = ["nobody", *(f"speaker {number}" for number in range(1, 10))]


def saved(folder):
    """The Japanese vowels as a Dataset, saved in two pieces."""
    table = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).to_arrow()
    dataset = datasets.Dataset(table)
    dataset = dataset.cast_column("speaker", datasets.ClassLabel(names=SPEAKERS))
    dataset.save_to_disk(folder, num_shards=2)
    return datasets.load_from_disk(folder)


def padding_of(batches):
    """The share of padded steps that are padding."""
    steps = sum(batch["frames"].n_steps for batch in batches)
    padded = sum(batch.num_rows * batch["frames"].max_length for batch in batches)
    return 1 - steps / padded


def main():
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        dataset = saved(Path(folder) / "vowels")

        # a view of some rows in another order: streamed as it is, and nothing is flattened
        long = dataset.filter(lambda frames: len(frames) > 12, input_columns="frames")
        long = long.shuffle(seed=0)
        first = next(iter(rm.stream(long).batch(rows=32)))
        assert first["frames"][0].tolist() == long[0]["frames"]
        print(f"{len(long)} of {len(dataset)} rows are long; their first batch:\n{first}\n")

        # the saved folder, without the library: batches of similar lengths, shuffled each epoch
        stream = rm.stream(Path(folder) / "vowels").shuffle(seed=0)
        by_tokens = stream.batch(tokens=1024, column="frames")
        by_rows = list(stream.batch(rows=64))
        print(f"padding in batches of 64 rows:       {padding_of(by_rows):.1%}")
        print(f"padding in batches of 1,024 steps:   {padding_of(list(by_tokens)):.1%}\n")

        # back: rows for whoever maps and filters on, Arrow for whoever asks for it
        rows = to_iterable_dataset(stream)
        print(rows.features["speaker"].int2str(next(iter(rows))["speaker"]), "speaks first")
        rows.set_epoch(1)
        print(rows.features["speaker"].int2str(next(iter(rows))["speaker"]), "in the next epoch")

        # and batches, each an example: for DataLoader(…, batch_size=None), or a Trainer
        batches = to_iterable_dataset(stream.batch(tokens=1024, column="frames"), batches=True)
        seen = [len(batch["speaker"]) for batch in itertools.islice(batches, 3)]
        state = json.dumps(batches.state_dict())  # goes on at the fourth batch, in any process
        again = to_iterable_dataset(stream.batch(tokens=1024, column="frames"), batches=True)
        again.load_state_dict(json.loads(state))
        left = [len(batch["speaker"]) for batch in again]
        print(f"{len(seen)} batches, {sum(seen)} rows; resumed: {len(left)}, {sum(left)} rows")
        assert sum(seen) + sum(left) == len(dataset)


if __name__ == "__main__":
    main()
