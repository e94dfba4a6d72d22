"""Ragged data on a Ray cluster: read, put through a model, and batched for torch.

117,659 glosses of WordNet 3.0 (© 2006 Princeton University, WordNet licence). The weights are
random: it is the plumbing that counts here. Run it: python examples/12_ray_data.py
(needs ray, torch and safetensors: pip install "ragmask[ray,torch,models]")
"""

import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import ray
import ray.data

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.ray import Collate, apply, apply_stream, iter_batches, read
from ragmask.layers import LSTM, Embedding, Input, Model
from ragmask.tables import TableModel

GLOSSES = Path(__file__).parent / "data" / "wordnet_glosses.parquet"
warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")  # of its own names
ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
ray.data.DataContext.get_current().enable_progress_bars = False
logging.getLogger("ray.data").setLevel(logging.ERROR)

vocabulary = rm.Vocabulary.build(rm.stream(GLOSSES).batch(), column="tokens", max_size=20_000)
tokens = Input((None,), dtype="int32", name="tokens")
model = Model(tokens, {"state": LSTM(32)(Embedding(len(vocabulary), 16, mask_zero=True)(tokens))})

with tempfile.TemporaryDirectory() as folder:
    saved, out = Path(folder) / "model", Path(folder) / "out"
    model.save(saved, vocabulary=vocabulary)  # words become ids where the model runs

    # A task for each window of whole row groups, planned from the footer; only verbs are kept.
    verbs = read(GLOSSES, ["tokens", "pos"], filter=[("pos", "==", "verb")])
    print(verbs.schema())

    # A model over the blocks, in the tasks that read them; what does not fit it is told here.
    states = apply(verbs, saved, keep=["tokens", "pos"])

    # Batches of what Ray has computed: `state` is a tensor, `tokens` still words.
    for batch in states.iter_torch_batches(batch_size=4096, collate_fn=Collate(to="torch")):
        words = vocabulary.encode(batch["tokens"])
        print(f"  {len(words):,} rows of {words.max_length} words or fewer, {batch['state'].shape}")

    # The same data set and model, in order, as a folder: `ragmask apply MODEL IN OUT --engine ray`.
    started = time.perf_counter()
    stream = rm.stream(GLOSSES, ["tokens", "pos"]).batch(rows=1024)
    rows = apply_stream(TableModel(saved, keep=["pos"]), stream, out, workers=2)
    parts = sorted(part.name for part in out.iterdir())
    print(f"{rows:,} rows in {len(parts)} parts, in {time.perf_counter() - started:.1f} s")
    first = next(iter(rm.stream(out).batch(rows=1024)))["state"]
    here = model(vocabulary.encode(next(iter(stream))["tokens"]))["state"]
    np.testing.assert_allclose(first, here, atol=1e-6)
    print("they begin with what this process computes")

# Batches by a budget of padded steps, of rows of similar lengths, in random order.
recordings = read(JAPANESE_VOWELS, ["frames", "speaker"])
real = padded = 0
for batch in iter_batches(recordings, 1024, "frames", collate=Collate(to="padded"), seed=0):
    real += int(batch["frames_mask"].sum())
    padded += batch["frames_mask"].numel()
print(f"{1 - real / padded:.1%} of the padded tensors is padding")
ray.shutdown()
