"""Streams as Hugging Face's IterableDatasets; `rm.stream` itself reads Datasets and saved folders.

>>> import ragmask as rm
>>> from ragmask.data import JAPANESE_VOWELS
>>> from ragmask.interop.datasets import to_iterable_dataset
>>> stream = rm.stream(JAPANESE_VOWELS, ["speaker", "frames"]).shuffle(seed=0)
>>> dataset = to_iterable_dataset(stream)
>>> dataset.features["frames"]
List(List(Value('float32'), length=12))
>>> len(next(iter(dataset.select_columns(["frames"])))["frames"][0])
12

Rows stay in Arrow for whoever asks for Arrow: `dataset.with_format("arrow")`. Needs the extra
`datasets`.
"""

from ragmask.errors import MissingExtraError

try:
    import datasets  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "ragmask.interop.datasets needs datasets, which is not installed: "
        'pip install "ragmask[datasets]"'
    ) from error

from ragmask.interop.datasets.iterable import to_iterable_dataset

__all__ = ["to_iterable_dataset"]
