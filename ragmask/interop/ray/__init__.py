"""Ragged data sets on a Ray cluster: read, batched for torch, and put through a model.

>>> import ray
>>> import ragmask as rm
>>> from ragmask.data import JAPANESE_VOWELS
>>> from ragmask.interop.ray import Apply, Collate, iter_batches, read
>>> _ = ray.init("local", num_cpus=2, log_to_driver=False, logging_level=40)
>>> ray.data.DataContext.get_current().enable_progress_bars = False
>>> dataset = read(JAPANESE_VOWELS, ["frames", "speaker"])
>>> dataset.count(), dataset.schema().names
(640, ['frames', 'speaker'])
>>> frames = rm.layers.Input((None, 12), name="frames")
>>> model = rm.layers.Model(frames, rm.layers.TemporalPool(name="mean")(frames))
>>> means = dataset.map_batches(Apply(model, keep=["speaker"]), batch_format="pyarrow")
>>> means.take_batch(2, batch_format="pyarrow").column_names
['speaker', 'mean']
>>> for batch in dataset.iter_torch_batches(batch_size=256, collate_fn=Collate(to="padded")):
...     print(batch["frames"].shape, batch["frames_mask"].sum().item())
torch.Size([256, 26, 12]) 4091
torch.Size([256, 29, 12]) 3964
torch.Size([128, 25, 12]) 1906
>>> ray.shutdown()

Columns stay Arrow from the file to the model: lists are never made objects, or tensors. A task of
one CPU runs one thread (see `ragmask.get_num_threads`). `ragmask apply MODEL IN OUT --engine ray`
is `apply_stream`. Needs the extra `ray`.
"""

from ragmask.errors import MissingExtraError

try:
    import ray.data  # noqa: F401
    from ray.data.collate_fn import ArrowBatchCollateFn  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.ray needs ray, which is not installed: pip install "ragmask[ray]"'
    ) from error

from ragmask.interop.ray.blocks import Apply, apply
from ragmask.interop.ray.collate import Collate, iter_batches
from ragmask.interop.ray.engine import apply_stream
from ragmask.interop.ray.source import read

__all__ = ["Apply", "Collate", "apply", "apply_stream", "iter_batches", "read"]
