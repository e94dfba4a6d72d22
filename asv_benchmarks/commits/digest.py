"""A fingerprint of a result: of its kind, dtypes, shapes, masks and every bit of its numbers."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

import ragmask as rm


def digest(result):
    hashed = hashlib.sha256()
    for part in _parts(result):
        hashed.update(part if isinstance(part, bytes) else f"{part}\0".encode())
    return hashed.hexdigest()[:16]


def _parts(result):
    yield type(result).__name__
    if isinstance(result, rm.Ragged):
        for array in (result.starts, result.lengths, result.values, result.mask):
            yield from _parts(array)
    elif isinstance(result, rm.Padded):
        yield from _parts(result.values)
        yield from _parts(result.mask)
    elif isinstance(result, np.ma.MaskedArray):
        yield from _parts(result.data)
        yield from _parts(result.mask)
    elif isinstance(result, np.ndarray | np.generic):
        array = np.asarray(result)
        yield array.dtype.str, array.shape, array.flags.writeable
        yield repr(array.tolist()) if array.dtype.hasobject else array.tobytes()
    elif isinstance(result, rm.Batch):
        yield from _parts({name: result[name] for name in result})
        yield from _parts([result.row_ids, result.state, result.repeated])
    elif isinstance(result, pa.Array | pa.ChunkedArray):
        yield result.type, repr(result.to_pylist())
    elif isinstance(result, Mapping):
        for key, value in result.items():
            yield key
            yield from _parts(value)
    elif isinstance(result, list | tuple):
        yield len(result)
        for part in result:
            yield from _parts(part)
    else:
        yield repr(result)
