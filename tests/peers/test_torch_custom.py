"""What torch asks of custom ops, by its own checks: schemas, shapes where traced, and gradients."""

import pytest
import torch

from ragmask.interop.torch import custom
from ragmask.kernels.cells import CELLS

OFFSETS = torch.tensor([0, 3, 3, 4, 9])
MASK = torch.tensor([True, False, True, True, True, False, False, True, True])
PLACES = torch.tensor([2, 0, 9]), torch.tensor([3, 4, 0])


def normal(*shape):
    draw = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()


def recurrent(cell):
    columns = cell.gates * 3
    bias = (cell.biases, columns) if cell.apart else (columns,)
    shapes = (2, columns), (3, columns), bias, (cell.states, 4, 3)
    return normal(9, 2), OFFSETS, MASK, *(normal(*shape) for shape in shapes), True, True


CALLS = {
    "temporal_softmax": (custom.temporal_softmax, (normal(9, 2), OFFSETS, MASK)),
    "temporal_pool": (custom.temporal_pool, (normal(9, 2), OFFSETS, MASK, "max")),
    "temporal_conv": (
        custom.temporal_conv,
        (normal(9, 2), OFFSETS, MASK, normal(3, 2), normal(2), True, 1),
    ),
    "temporal_flip": (custom.temporal_flip, (normal(9, 2), OFFSETS, MASK)),
    "temporal_cumsum": (custom.temporal_cumsum, (normal(9, 2), OFFSETS, MASK)),
    "temporal_argsort": (custom.temporal_argsort, (normal(9, 2).detach(), OFFSETS, MASK, True)),
    "embedding": (
        custom.embedding,
        (torch.arange(9) % 5, OFFSETS, MASK, normal(5, 2), True),
    ),
    "masking": (custom.masking, (normal(9, 2), OFFSETS, MASK, 0.0)),
    "take_rows": (custom.take_rows, (normal(9, 2), *PLACES)),
    "add_rows": (torch.ops.ragmask.add_rows.default, (normal(7, 2), *PLACES, 9)),
    "to_padded": (custom.to_padded, (normal(9, 2), OFFSETS, 6, -1.0)),
    "to_padded_gradient": (
        torch.ops.ragmask.to_padded_gradient.default,
        (normal(4, 6, 2), OFFSETS, 9),
    ),
    **{cell.name: (custom.RECURRENT[cell.name], recurrent(cell)) for cell in CELLS},
}


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name):
    """Gradients are traced too, and results compared whole: no memory is left as it was found."""
    torch.library.opcheck(*CALLS[name])
