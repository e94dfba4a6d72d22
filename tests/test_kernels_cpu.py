"""The package of CPU kernels: its names come from the registry."""

import numba
import numpy as np

from ragmask.kernels import cpu
from ragmask.kernels.registry import KERNELS, SOFTMAX
from tests.interpreters import run_python


def test_every_kernel_of_the_registry_has_its_name():
    for kernel in KERNELS:
        assert getattr(cpu, kernel.name) is kernel.cpu
        assert kernel.name in dir(cpu)
        assert kernel.name in cpu.__all__
    assert all(hasattr(cpu, name) for name in ("lstm", "shuffle", "best_fit", "begin_batches"))


def test_a_module_that_is_imported_hides_no_kernel():
    code = "import ragmask.kernels.cpu.softmax; from ragmask.kernels import cpu; print(cpu.softmax)"
    assert run_python(code).startswith("CPUDispatcher")


def test_a_kernel_inside_a_users_own():
    @numba.njit
    def halves(x, starts, lengths, out):
        cpu.softmax(0, lengths.size, x, 1, starts, lengths, None, starts, out)
        out *= 0.5

    x, starts, lengths = np.zeros(4), np.array([0, 1]), np.array([1, 3])
    out, expected = np.zeros(4), np.zeros(4)
    halves(x, starts, lengths, out)
    SOFTMAX.cpu(0, 2, x, 1, starts, lengths, None, starts, expected)
    np.testing.assert_array_equal(out, expected / 2)
