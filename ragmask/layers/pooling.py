"""Keras's global pooling: one vector out of each row's steps."""

from typing import Any

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one
from ragmask.layers.temporal import TemporalPool
from ragmask.ops.pool import How, temporal_pool


class _GlobalPool(TemporalPool):
    """A pool of an array whose features may also come first."""

    _how: How

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        super().__init__(self._how, keepdims, **options)
        if data_format not in (None, "channels_last", "channels_first"):
            raise InvalidInputError(
                f'data_format must be "channels_last" or "channels_first"; got {data_format!r}'
            )
        self.data_format = data_format or "channels_last"

    def __call__(self, *args: Any, mask: Any = None, **options: Any) -> Any:
        if len(args) > 1:
            args, mask = args[:1], args[1]
        if isinstance(mask, np.ndarray) and mask.dtype.kind in "iuf":
            mask = mask != 0
        inputs = args[0] if args else options.get("inputs")
        if self.data_format == "channels_last" or not isinstance(inputs, np.ndarray):
            return super().__call__(*args, mask=mask, **options)
        with self._noted():
            self._check_axes(inputs.ndim)
            pooled = temporal_pool(inputs.swapaxes(1, 2), self.how, mask=mask)
            pooled = pooled.astype(self._dtype_of(inputs.dtype, pooled.dtype), copy=False)
            return pooled[..., None] if self.keepdims else pooled

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if self.data_format == "channels_first":  # arrays do not come here
            self._refuse(type(inputs).__name__)
        pooled = super().call(inputs, mask)
        if not isinstance(pooled, np.ndarray):  # on a device
            return pooled
        return pooled.astype(self._dtype_of(inputs.dtype, pooled.dtype), copy=False)

    def compute_output(self, inputs: Spec) -> Spec:
        if self.data_format == "channels_last":
            pooled = super().compute_output(inputs)
        else:
            check_one(inputs)
            if inputs.kind != "dense":
                self._refuse(inputs.class_name)
            self._check_axes(len(inputs.shape))
            rows, features, time = inputs.shape
            pooled = super().compute_output(inputs.of((rows, time, features)))
            if self.keepdims:
                pooled = pooled.of((rows, features, 1))
        return pooled.of(pooled.shape, self._dtype_of(inputs.dtype, pooled.dtype))

    @staticmethod
    def _dtype_of(given: np.dtype[Any], pooled: np.dtype[Any]) -> np.dtype[Any]:
        """Means of integers are float32, as Keras's."""
        return np.dtype(np.float32) if given.kind != "f" and pooled.kind == "f" else pooled

    def _check_axes(self, ndim: int) -> None:
        if ndim != 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes arrays (rows, features, time); got {ndim} axes"
            )

    def _refuse(self, kind: str) -> None:
        raise UnsupportedTypeError(
            f'layer {self.name!r} has data_format="channels_first", which is for arrays (rows, '
            f"features, time); the steps of a {kind} come before their features"
        )


@register
class GlobalAveragePooling1D(_GlobalPool):
    """The mean of each row's kept steps, (rows, features); 0 for a row that has none.

    >>> import ragmask as rm
    >>> rm.layers.GlobalAveragePooling1D()(rm.Ragged.from_rows([[[1.0], [3.0]], [[2.0]]]))
    array([[2.],
           [2.]])

    data_format : "channels_first" takes arrays (rows, features, time).
    keepdims : give (rows, 1, features).

    Keras gives NaN for a row without kept steps.
    """

    _how = "mean"


@register
class GlobalMaxPooling1D(_GlobalPool):
    """The largest of each row's kept steps, (rows, features); 0 for a row that has none.

    >>> import ragmask as rm
    >>> rm.layers.GlobalMaxPooling1D()(rm.Ragged.from_rows([[[1.0], [3.0]], [[2.0]]]))
    array([[3.],
           [2.]])

    data_format, keepdims : as GlobalAveragePooling1D's.

    Masked steps are left out; Keras's layer takes them too.
    """

    _how = "max"
    supports_masking = False


GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D
