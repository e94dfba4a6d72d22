"""ragmask's rows inside a CUDA kernel of your own.

Each CUDA kernel of ragmask has its work on one row as a device function, `<name>_row`. Here one
kernel does what `04_kernels_in_your_own_njit.py` does on the CPU, a block a row: it scores every
frame of a recording, turns the scores into attention with `softmax_row`, weighs the frames, and
sums them with `pool_row`. What lies between these steps stays in the cache, and there is one
launch instead of four.

With a GPU it takes all recordings of Japanese vowels. Without one it takes eight of them through
numba-cuda's simulator, with the warps that ragmask's tests add to it: that shows that the results
are right, and nothing of the speed.

Run it: python examples/07_cuda_rows_in_your_own_kernel.py
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("numba_cuda") is None:
    print('This example needs numba-cuda: pip install "ragmask[cuda]" (no GPU is needed to try it)')
    sys.exit()

from numba import cuda

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    sys.path.append(str(Path(__file__).parents[1]))
    from tests.cuda import simulator

    simulator.complete()
elif not cuda.is_available():  # Numba has read the variable by now: another process will
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    sys.exit(subprocess.call([sys.executable, *sys.orig_argv[1:]], env=environment))

import numpy as np

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.kernels.constants import SUM
from ragmask.kernels.cuda import SOFTMAX_MEMORY, THREADS, WARPS, kept_span, pool_row, softmax_row

SIMULATED = "tests.cuda.simulator" in sys.modules


@cuda.jit
def attend(values, starts, lengths, query, scores, attention, weighted, pooled):
    """pooled[row] = Σ softmax over the row's frames of (frame · query) × frame.

    scores and attention (n,) and weighted (n, features) are where the block keeps its work.
    """
    memory = cuda.shared.array(SOFTMAX_MEMORY, np.float32)
    row, thread = cuda.blockIdx.x, cuda.threadIdx.x
    start, length, features = starts[row], lengths[row], values.shape[1]
    team = thread >> 5, WARPS  # this thread's warp, of all the warps of the block

    for step in range(start + thread, start + length, THREADS):
        score = np.float32(0)
        for feature in range(features):
            score += values[step, feature] * query[feature]
        scores[step] = score
    cuda.syncthreads()

    first, last, kept = kept_span(None, start, length)
    segment = start, length, start
    softmax_row(scores, 1, segment, (first, last), None, attention, memory, team)
    cuda.syncthreads()

    for number in range(thread, length * features, THREADS):
        step, feature = start + number // features, number % features
        weighted[step, feature] = values[step, feature] * attention[step]
    cuda.syncthreads()

    pool_row(weighted, start, (first, last, kept), None, SUM, pooled, row, memory, team)


query = np.random.default_rng(0).normal(0, 2, 12).astype(np.float32)
stream = rm.stream(JAPANESE_VOWELS, columns=["frames"])
batch = next(iter(stream.batch(rows=8 if SIMULATED else stream.num_rows)))
frames = batch["frames"].compact()

n, features = frames.values.shape
inputs = (cuda.to_device(array) for array in (frames.values, frames.starts, frames.lengths, query))
work = (cuda.device_array(shape, np.float32) for shape in (n, n, (n, features)))
pooled = cuda.device_array((len(frames), features), np.float32)
attend[len(frames), THREADS](*inputs, *work, pooled)
found = pooled.copy_to_host()

# the same through the public ops, on the CPU
scores = frames.with_values(frames.values @ query)
expected = rm.temporal_pool(frames * rm.temporal_softmax(scores), "sum")
np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

where = "in the simulator: there is no GPU" if SIMULATED else f"on {cuda.get_current_device().name}"
print(f"{len(frames)} recordings, {n:,} frames, {where}")
print("first three coefficients of each attended mean:")
for row in range(4):
    print(f"  recording {row}: {np.round(found[row, :3], 3)}")
print("equal to temporal_softmax and temporal_pool on the CPU")
