"""Small layers and models, and what batches hold."""

import ragmask as rm
from ragmask import layers

MASK = [True, False, True, True, True]  # of the fixture `frames`
BY_HAND = [False, True, True, False, True]


class Drops(layers.Layer):
    """Does not say what becomes of masks."""

    def call(self, inputs):
        return layers.relu(inputs)


class Passes(Drops):
    supports_masking = True


class Sees(layers.Layer):
    """Notes the mask it is called with."""

    def call(self, inputs, mask=None):
        self.seen = mask
        return inputs


class Builds(layers.Layer):
    """Notes what it is built for."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shapes = []

    def build(self, input_shape):
        self.shapes.append(input_shape)
        self.scale = self.add_weight((2,), "ones", name="scale")

    def call(self, inputs):
        return inputs


def masks_of(batch):
    return None if batch.mask is None else batch.mask.tolist()


def kept(batch):
    """The kept steps, row after row."""
    if isinstance(batch, rm.Padded):
        return batch.values[slice(None) if batch.mask is None else batch.mask]
    if isinstance(batch, rm.Ragged):
        rows = batch.compact()
        return rows.values if rows.mask is None else rows.values[rows.mask]
    return batch


def words(**options):
    return layers.Input((None,), dtype="int32", **options)


def two_inputs():
    a, b = words(name="a"), words(name="b")
    embedding = layers.Embedding(5, 4, mask_zero=True, name="shared")
    joined = layers.Add(name="join")([embedding(a), embedding(b)])
    states = layers.LSTM(3, return_sequences=True, name="read")(joined)
    last = layers.TemporalPool("last", name="end")(states)
    return layers.Model([a, b], {"states": states, "last": last}, name="two")
