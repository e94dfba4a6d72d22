"""What the registry says of each kernel is so."""

import inspect

import pytest

from ragmask.kernels import cuda
from ragmask.kernels.registry import KERNELS

per_kernel = pytest.mark.parametrize("record", KERNELS, ids=lambda record: record.name)


@per_kernel
def test_the_twins_take_the_records_arguments(record):
    names = [name for name, _ in record.parameters]
    first, last, *others = inspect.signature(record.cpu).parameters
    assert (first, last, others) in [
        ("first_row", "last_row", names),
        ("first_task", "last_task", names),
    ]
    assert list(inspect.signature(record.cuda).parameters) == names


@per_kernel
def test_the_package_has_the_kernel_and_its_row_function(record):
    assert getattr(cuda, record.name) is record.cuda
    assert {record.name, f"{record.name}_row"} <= {*cuda.__all__} & {*dir(cuda)}
