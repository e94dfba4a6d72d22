"""What a call takes of memory."""

import tracemalloc

import pyarrow as pa

_POOLS = []  # Arrow does not keep a pool as long as its memory


def traced_peak(call):
    """The result, and the bytes that numpy and Arrow allocated at most. torch's are not counted."""
    call()  # compile, and load what is loaded once
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
