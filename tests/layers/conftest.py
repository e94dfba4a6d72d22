"""Batches that layers are called on."""

import numpy as np
import pytest

import ragmask as rm
from tests.layers.examples import MASK


@pytest.fixture
def ids():
    """Rows of 3, 0 and 2 ids, of which the second is 0."""
    return rm.Ragged.from_rows([[4, 0, 2], [], [3, 1]], dtype="int64")


@pytest.fixture
def frames():
    """Rows of 3, 0 and 2 steps of 4 features, of which the second is masked."""
    values = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    return rm.Ragged.from_offsets(values, [0, 3, 3, 5], MASK)
