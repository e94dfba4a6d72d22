"""The CUDA kernels, in numba-cuda's simulator: in a process of its own, which that takes."""

import pytest

from tests.interpreters import run_python

NOTHING_FOR_NONE = """
import numba
from numba.cuda import dispatcher
from ragmask.kernels import cuda

(extension,) = cuda.softmax.targetoptions["extensions"]
arguments = []
kernel = object.__new__(dispatcher._Kernel)
kernel.extensions = [extension]
kernel._prepare_args(numba.typeof(None), None, 0, [], arguments)
kernel._prepare_args(numba.int64, 7, 0, [], arguments)
rows = cuda.RowArrays(1, 2, 3, None, 4)
kernel._prepare_args(numba.typeof(rows), rows, 0, [], arguments)
print(*(getattr(argument, "value", argument) for argument in arguments))
"""


@pytest.mark.slow
def test_the_cuda_kernels_in_the_simulator(simulation):
    process, said = simulation
    assert process.wait() == 0, said.read_text()


def test_a_kernel_may_be_launched_without_a_mask():
    """On the GPU, None becomes a null pointer, within a named tuple too.

    The simulator takes it as it is.
    """
    assert run_python(NOTHING_FOR_NONE) == "0 7 1 2 3 0 4"


def test_importing_the_kernels_needs_no_driver():
    code = "from ragmask.kernels import cuda; cuda.launch(cuda.pad, 0); print(*cuda.__all__)"
    assert "softmax_row" in run_python(code).split()


def test_without_numba_cuda_the_kernels_name_the_extras():
    """Numba's own target of old, which warns that it is deprecated, is not imported for it."""
    code = """
import sys
import ragmask as rm

sys.modules["numba_cuda"] = None
try:
    import ragmask.kernels.cuda
except rm.MissingExtraError as error:
    print(error)
print(*sys.modules)
"""
    message, loaded = run_python(code).split("\n")
    assert 'pip install "ragmask[cuda]", or "ragmask[cuda12]"' in message
    assert not [name for name in loaded.split() if name.startswith("numba.cuda")]
