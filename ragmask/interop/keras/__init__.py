"""Streams for Keras 3's `fit`; and its models as ragmask's own, with the same names and weights.

>>> import keras
>>> import ragmask as rm
>>> from ragmask.interop.keras import from_keras
>>> layers = [keras.layers.Embedding(5000, 16, mask_zero=True), keras.layers.LSTM(32)]
>>> model = from_keras(keras.Sequential([keras.Input((None,), dtype="int32"), *layers]))
>>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8]])).shape
(2, 32)

Keras may run on any of its backends. Needs `keras`, version 3.
"""

from ragmask.errors import MissingExtraError

try:
    import keras  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"ragmask.interop.keras needs keras and a backend for it ({error}): pip install keras, and "
        "let KERAS_BACKEND name the backend that is installed"
    ) from error

from ragmask.interop.keras.dataset import StreamDataset
from ragmask.interop.keras.model import from_keras

__all__ = ["StreamDataset", "from_keras"]
