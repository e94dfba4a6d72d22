"""Models of an Embedding and a recurrent layer that run as one step."""

from unittest.mock import patch

import numpy as np

import ragmask as rm
from ragmask.layers import fusion
from ragmask.layers.fusion import Fused

TOLERANCE = 2e-6
VOCABULARY = 100


def sequential(*layers):
    """A model whose layers are fused, whether it pays or not."""
    with patch.object(fusion, "pays", return_value=True):
        return rm.layers.Sequential([rm.layers.Input((None,), "int64"), *layers])


def model_of(
    units=17, features=5, vocabulary=VOCABULARY, mask_zero=True, kind=rm.layers.LSTM, **options
):
    """A model of an Embedding and a recurrent layer, with weights that are all of a size."""
    embedding = rm.layers.Embedding(vocabulary, features, mask_zero=mask_zero)
    model = sequential(embedding, kind(units, **options))
    assert [type(step) for step in model._steps[1:]] == [Fused]
    model.set_weights(random_weights(model, seed=0))
    return model


def random_weights(model, seed):
    """Not so large that a state grows what is rounded from step to step."""
    random, arrays = np.random.default_rng(seed), model.get_weights()
    return [random.normal(0, min(0.5, len(one) ** -0.5), one.shape) for one in arrays]


def one_by_one(model, ids):
    embedding, lstm = model.layers
    return lstm(embedding(ids))


def batches_of(result):
    return result if isinstance(result, list) else [result]


def values_of(batch):
    return batch if isinstance(batch, np.ndarray) else batch.values


def assert_alike(result, expected):
    """The same kinds, dtypes, rows and masks, and numbers that are equal but for rounding."""
    assert type(result) is type(expected)
    for ours, wanted in zip(batches_of(result), batches_of(expected), strict=True):
        assert type(ours) is type(wanted)
        assert ours.dtype == wanted.dtype
        assert values_of(ours).shape == values_of(wanted).shape
        if isinstance(ours, rm.Ragged):
            assert ours.lengths.tolist() == wanted.lengths.tolist()
        if not isinstance(ours, np.ndarray):
            assert (ours.mask is None) == (wanted.mask is None)
            assert ours.mask is None or ours.mask.tolist() == wanted.mask.tolist()
        np.testing.assert_allclose(values_of(ours), values_of(wanted), TOLERANCE, TOLERANCE)


def bytes_of(result):
    return [values_of(batch).tobytes() for batch in batches_of(result)]


def table_of(model):
    (fused,) = (step for step in model._steps if isinstance(step, Fused))
    return fused._made and fused._made[1][1]


def fused_in(model):
    return [step.node.layer.name for step in model._steps if isinstance(step, Fused)]
