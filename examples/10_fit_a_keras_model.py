"""Fit a Keras model on a stream, validate on a part of it, save it, and apply it to a file.

Nine speakers say two Japanese vowels; a masked LSTM tells who speaks. Run it:
python examples/10_fit_a_keras_model.py (needs keras, jax and typer: pip install keras
"ragmask[jax,cli]"; on torch: KERAS_BACKEND=torch)
"""

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pyarrow.parquet as pq

import ragmask as rm
from ragmask.cli.app import app
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.keras import StreamDataset, from_keras

EPOCHS, SPEAKERS = 30, 10  # speakers are numbered from 1
COLUMNS = ["frames", "speaker"]

keras.utils.set_random_seed(0)
train = rm.stream(JAPANESE_VOWELS, COLUMNS, filter=[("split", "==", "train")]).shuffle(seed=0)
parts = train.split({"train": 0.9, "valid": 0.1}, seed=0)  # a row's number says which it is in
# rows of 7 to 29 frames: one shape of batches, so that JAX compiles one program for each use
fitted, valid = (
    StreamDataset(
        part.batch(rows=32, multiple_of=32, rows_multiple=32),
        x="frames",
        y="speaker",
        value=0.0,  # what Masking looks for
    )
    for part in parts.values()
)

frames = keras.Input((None, 12), name="frames")
steps = keras.layers.Masking(0.0)(frames)
state = keras.layers.LSTM(64)(steps)
speaker = keras.layers.Dense(SPEAKERS, "softmax", name="speaker")(keras.layers.Dropout(0.3)(state))
model = keras.Model(frames, speaker)
model.compile(
    keras.optimizers.Adam(0.005),
    # rows of padding weigh 0, and are not to count in the mean
    loss=keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
    weighted_metrics=["accuracy"],
)
began = time.perf_counter()
history = model.fit(fitted, validation_data=valid, epochs=EPOCHS, verbose=0).history
print(
    f"{EPOCHS} epochs of {len(fitted)} batches in {time.perf_counter() - began:.1f} s; accuracy "
    f"{history['accuracy'][-1]:.1%}, and {history['val_accuracy'][-1]:.1%} of the validation rows"
)

test = rm.stream(JAPANESE_VOWELS, COLUMNS, filter=[("split", "==", "test")])
by_length = test.batch(rows=64, bucket=True, column="frames", multiple_of=32)
looked_at = StreamDataset(by_length, x="frames", y="speaker")
chances = model.predict(looked_at, verbose=0)  # in the stream's order, which is one of lengths
rows = looked_at.row_ids

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    from_keras(model).save(folder / "model")
    saved, written = str(folder / "model"), str(folder / "out.parquet")
    # as in a shell: ragmask apply MODEL japanese_vowels.parquet out.parquet --keep split
    keep = ["--keep", "split"]
    app(["apply", saved, str(JAPANESE_VOWELS), written, *keep], standalone_mode=False)
    served = np.stack(pq.read_table(written)["speaker"].to_pylist())

np.testing.assert_allclose(served[rows], chances, atol=1e-5)  # without padding, the same
truth = pq.read_table(JAPANESE_VOWELS)["speaker"].to_numpy()[rows]
accuracy = (served[rows].argmax(1) == truth).mean()
print(f"test accuracy {accuracy:.1%}")
assert accuracy > 0.9, accuracy
