"""Keras's masking guide, example by example, on rows without padding and on padded arrays.

The examples and their numbers are those of "Understanding masking & padding", by Scott Zhu and
François Chollet. Layers have Keras's names, and masks travel by themselves: inside the batches.

Run it: python examples/06_masking_guide.py
"""

import numpy as np

import ragmask as rm
from ragmask import layers

layers.set_random_seed(0)


def compare(layer: layers.Layer, ragged: rm.Ragged, padded: object) -> None:
    """Call a layer on both forms of the same rows."""
    from_rows, from_array = layer(ragged), layer(padded)
    same = np.array_equal(from_rows, from_array)
    print(f"  {from_rows.shape} from rows and from an array; equal bit for bit: {same}")


print("-- words to ids")
sentences = [
    ["Hello", "world", "!"],
    ["How", "are", "you", "doing", "today"],
    ["The", "weather", "will", "be", "nice", "tomorrow"],
]
vocabulary = rm.Vocabulary.build(sentences)
print(vocabulary)
print(vocabulary.encode(sentences))

print("\n-- padding, where an array is needed")
raw_inputs = [
    [711, 632, 71],
    [73, 8, 3215, 55, 927],
    [83, 91, 1, 645, 1253, 927],
]
ragged_inputs = rm.Ragged.from_rows(raw_inputs)
padded_inputs = rm.pad_sequences(raw_inputs, padding="post")
print(padded_inputs)

print("\n-- layers that make masks: Embedding")
embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
print(embedding(padded_inputs).mask)
print("of rows, which are as long as they are, end to end:")
print(embedding(ragged_inputs).mask)

print("\n-- layers that make masks: Masking, on ids repeated as 10 features")
masking_layer = layers.Masking()
unmasked_embedding = np.tile(padded_inputs[..., None], (1, 1, 10)).astype(np.float32)
masked_embedding = masking_layer(unmasked_embedding)
print(masked_embedding.mask)
features = np.tile(ragged_inputs.values[:, None], (1, 10)).astype(np.float32)
print("of rows:")
print(masking_layer(ragged_inputs.with_values(features)).mask)

print("\n-- masks reach the LSTM by themselves: Sequential")
model: layers.Model = layers.Sequential(
    [layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True), layers.LSTM(32)]
)
compare(model, ragged_inputs, padded_inputs)
model.summary()

print("\n-- the same as a graph")
inputs = layers.Input(shape=(None,), dtype="int32")
x = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)(inputs)
outputs = layers.LSTM(32)(x)
model = layers.Model(inputs, outputs)
compare(model, ragged_inputs, padded_inputs)

print("\n-- a mask passed by hand, in a layer made of layers")


class MyLayer(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
        self.lstm = layers.LSTM(32)

    def call(self, inputs):
        x = self.embedding(inputs)
        mask = self.embedding.compute_mask(inputs)  # or any bools of x's rows and steps
        return self.lstm(x, mask=mask)


layer = MyLayer()
random_ids = (np.random.default_rng(0).random((32, 10)) * 100).astype("int32")
compare(layer, rm.Ragged.from_padded(random_ids), random_ids)
names = [name for name, _ in layer.named_weights()]
print(f"  {layer.count_params():,} numbers in {len(names)} weights, {names[0]} to {names[-1]}")

print("\n-- a layer that changes the mask")


class TemporalSplit(layers.Layer):
    """Cuts time into two halves: of the width of an array, or of the longest row."""

    def call(self, inputs):
        return rm.temporal_split(inputs, 2)

    def compute_mask(self, inputs, mask=None):
        if mask is None:
            return None
        return rm.temporal_split(mask, 2)  # of bools (rows, width): np.split(mask, 2, axis=1)


first_half, second_half = TemporalSplit()(masked_embedding)
print(first_half.mask)
print(second_half.mask)
print("of rows, where nothing is there to be masked:")
for half in TemporalSplit()(embedding(ragged_inputs)):
    print(f"  lengths {half.lengths}, {len(half.compact().mask)} steps kept")

print("\n-- a layer that makes a mask")


class CustomEmbedding(layers.Layer):
    def __init__(self, input_dim, output_dim, mask_zero=False, **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.mask_zero = mask_zero

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.input_dim, self.output_dim), initializer="random_normal", dtype="float32"
        )

    def call(self, inputs):
        return rm.embedding(inputs, self.embeddings)

    def compute_mask(self, inputs, mask=None):
        if not self.mask_zero:
            return None
        return inputs != 0


layer = CustomEmbedding(10, 32, mask_zero=True)
few_ids = np.array(
    [
        [3, 8, 0, 1, 0, 0, 5, 2, 7, 4],
        [6, 1, 4, 0, 8, 0, 2, 2, 5, 3],
        [1, 7, 2, 6, 3, 8, 0, 5, 4, 1],
    ]
)
print(layer.compute_mask(few_ids))
few_rows = rm.Ragged.from_padded(few_ids, lengths=[10, 4, 0])
print("of rows, the second cut to 4 ids and the third to none:")
print(layer.compute_mask(few_rows))
print("it travels on, inside the output:", layer(few_rows).mask)

print("\n-- a layer that passes masks on")


class MyActivation(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True  # without it, the mask ends here, and a MaskWarning says so

    def call(self, inputs):
        return layers.relu(inputs)


inputs = layers.Input(shape=(None,), dtype="int32")
x = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)(inputs)
x = MyActivation()(x)
print(x)
outputs = layers.LSTM(32)(x)
model = layers.Model(inputs, outputs)
compare(model, ragged_inputs, padded_inputs)
model.summary()

print("\n-- a layer that uses the mask")


class TemporalSoftmax(layers.Layer):
    """Shares of a row's kept steps. The guide sums over features, which gives 1s; we over time."""

    supports_masking = True

    def call(self, inputs, mask=None):
        if isinstance(inputs, rm.Ragged):  # no axis is time: the op knows the rows
            return rm.temporal_softmax(inputs, mask=mask)
        kept = mask.astype("float32")[..., None]
        powers = np.exp(inputs.values) * kept
        sums = powers.sum(axis=1, keepdims=True)
        return powers / np.where(sums == 0, 1, sums)


inputs = layers.Input(shape=(None,), dtype="int32")
x = layers.Embedding(input_dim=10, output_dim=32, mask_zero=True)(inputs)
x = layers.Dense(1)(x)
outputs = TemporalSoftmax()(x)
model = layers.Model(inputs, outputs)
many_ids = np.random.default_rng(2).integers(0, 10, (32, 100))
shares = model(many_ids)
rows = model(rm.Ragged.from_padded(many_ids))
print(f"each row's shares add up to 1: {np.allclose(rm.temporal_pool(rows, 'sum'), 1)}")
print(f"a masked step's share is 0: {bool((shares.values[many_ids == 0] == 0).all())}")
difference = np.abs(shares.values.reshape(-1, 1) - rows.values).max()
print(f"by hand on an array, and by the op on rows, they differ by {difference:.0e} at most")

print("\n-- in short")
print("made by    Embedding(mask_zero=True), Masking, and a compute_mask of your own")
print("used by    LSTM and every layer whose call() names a mask")
print("passed on  where supports_masking = True; changed where compute_mask says so")
print("by hand    layer(x, mask=...)")
