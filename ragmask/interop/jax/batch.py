"""A batch as jax sees it: checked as a call is traced, and read as rows on the host."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ragmask.arrays.coerce import index_array
from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import Array
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

_COMPUTED = {
    **{name: np.dtype(np.float32) for name in ("float16", "bfloat16", "float32")},
    "float64": np.dtype(np.float64),
}


class Batch(NamedTuple):
    """values, in the dtype that is computed in, offsets and mask: a tree of jax's arrays."""

    values: Any
    offsets: Any
    mask: Any

    @classmethod
    def of(cls, values: Any, offsets: Any, mask: Any) -> tuple["Batch", np.dtype[Any]]:
        """The batch, with all checked that is known yet, and the dtype that results are of."""
        values = jnp.asarray(values)
        if values.ndim == 0:
            raise InvalidInputError("values are a single value; they must have a step axis")
        if values.dtype.name not in _COMPUTED:
            raise UnsupportedTypeError(
                f"values must be float16, bfloat16, float32 or float64; got {values.dtype}: "
                "convert them first, with values.astype('float32')"
            )
        n = len(values)
        if not isinstance(offsets, jax.core.Tracer):
            Layout.between(HOST, n, index_array(np.asarray(offsets), "offsets"))
        offsets = jnp.asarray(offsets)
        if offsets.ndim != 1 or len(offsets) == 0:
            raise InvalidInputError(
                f"offsets must have one dimension, of rows + 1; got shape {offsets.shape}"
            )
        if offsets.dtype.kind not in "iu":
            raise UnsupportedTypeError(f"offsets must be integers; got {offsets.dtype}")
        if mask is not None:
            mask = jnp.asarray(mask)
            if mask.dtype != np.bool_:
                raise UnsupportedTypeError(f"mask must be bool; got {mask.dtype}")
            if mask.shape != (n,):
                raise InvalidInputError(f"mask has shape {mask.shape}; ({n},) goes with the values")
        dtype = values.dtype
        return cls(values.astype(_COMPUTED[dtype.name]), offsets, mask), dtype

    @property
    def n_rows(self) -> int:
        return len(self.offsets) - 1

    # -- on the host, where all three are numpy's

    def ragged(self) -> Ragged:
        """The rows end to end, checked."""
        return Ragged.from_offsets(*self).compact()

    def rows(self) -> Rows:
        return self.ragged()._rows

    def steps_of(self, array: Array) -> Array:
        """Of an array along the values, the steps that lie in rows."""
        return array[self.offsets[0] : self.offsets[-1]]

    def spread(self, steps: Any) -> Array:
        """The rows' steps in their places along the values, and 0 at those in no row."""
        n = len(self.values)
        if len(steps) == n:
            return steps
        out = HOST.full(0, (n, *steps.shape[1:]), steps.dtype)
        self.steps_of(out)[...] = steps
        return out
