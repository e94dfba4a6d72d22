"""ragmask.layers against Keras's layers: outputs, masks, weights both ways."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    RECURRENT,
    WIDTH,
    array,
    assert_all,
    assert_close,
    assert_steps,
    assert_twice,
    both_ways,
    few,
    frames,
    mask_on,
    mirrored,
    pairs,
    raggeds,
    tensor,
    twins,
)
from tests.strategies import over

pytestmark = QUIET


# -- layers that look at one step ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[
            ("Activation", {"activation": name})
            for name in ("relu", "tanh", "sigmoid", "softmax", "gelu", "linear")
        ],
        ("Dense", {"units": 4}),
        ("Dense", {"units": 1, "use_bias": False, "activation": "gelu"}),
        ("Dense", {"units": 5, "activation": "softmax"}),
        ("Dropout", {"rate": 0.5}),
    ],
)
@few
@given(ragged=frames())
def test_layers_that_pass_masks_on(name, options, ragged):
    padded = both_ways(ragged)
    theirs, ours = twins(name, ragged, **options)
    x = tensor(padded)
    expected = theirs(x)
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    assert_all(ours(padded), array(expected), mask_on(expected))
    assert_all(ours(padded.values), array(theirs(tensor(padded, masked=False))), None)
    computed = theirs.compute_mask(x, padded.mask)
    np.testing.assert_array_equal(ours.compute_mask(padded, padded.mask), array(computed))
    assert ours.compute_mask(padded.values) is None
    assert theirs.compute_mask(x, None) is None


def test_softmax_is_over_features_alone():
    """Keras takes numbers of a step after another for features, and padding with them."""
    layer = rm.layers.Activation("softmax", name="shares")
    numbers = rm.Ragged.from_rows([[1.0, 2.0], [100.0]])
    for batch in (numbers, numbers.to_padded()):
        with pytest.raises(rm.InvalidInputError, match=r"(?s)softmax is .*'shares'"):
            layer(batch)
    rows = np.array([[1, 2], [3, 1]], "int32")
    assert_close(layer(rows), array(keras.ops.softmax(rows.astype("float32"))))


@pytest.mark.parametrize("mask_zero", [False, True])
@few
@given(ragged=raggeds(masked=[False]))
def test_embedding(mask_zero, ragged):
    """Of ids without a mask: Keras forgets one that they have."""
    ids = both_ways(ragged).values
    theirs, ours = twins("Embedding", ragged, input_dim=5, output_dim=2, mask_zero=mask_zero)
    expected = theirs(ids)
    assert_all(ours(ids), array(expected), mask_on(expected))
    computed = array(theirs.compute_mask(ids))
    np.testing.assert_array_equal(ours.compute_mask(ids), computed)
    exists = both_ways(ragged).mask
    assert_steps(ours(ragged), array(expected), exists if computed is None else exists & computed)


@pytest.mark.parametrize("mask_value", [0.0, 2.0])
@few
@given(ragged=frames(masked=[False]), seed=st.integers(0, 9))
def test_masking(mask_value, ragged, seed):
    """Keras's Masking forgets the mask that it is given; here both count."""
    random = np.random.default_rng(seed)
    values = random.choice([0.0, 2.0], ragged.values.shape).astype("float32")
    ragged = over(ragged, values)
    pre, post = (
        ragged.to_padded(WIDTH, padding=side, value=mask_value) for side in ("pre", "post")
    )
    dense = np.concatenate([pre.values, post.values])
    theirs, ours = keras.layers.Masking(mask_value), rm.layers.Masking(mask_value)
    expected = theirs(dense)
    np.testing.assert_array_equal(ours.compute_mask(dense), mask_on(expected))
    assert_all(ours(dense), array(expected), mask_on(expected))
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    mask = random.random(dense.shape[:2]) < 0.5
    np.testing.assert_array_equal(ours(rm.Padded(dense, mask)).mask, mask & mask_on(expected))
    np.testing.assert_array_equal(
        ours.compute_mask(dense, mask), mask & array(theirs.compute_mask(dense, mask))
    )


# -- recurrent layers --------------------------------------------------------------------


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@few
@given(ragged=frames(), use_bias=st.booleans())
def test_recurrent(name, return_sequences, return_state, go_backwards, ragged, use_bias):
    padded = both_ways(ragged)
    theirs, ours = twins(
        name,
        ragged,
        units=5,
        use_bias=use_bias,
        return_sequences=return_sequences,
        return_state=return_state,
        go_backwards=go_backwards,
    )
    expected = theirs(tensor(padded))
    first, *states = expected if return_state else [expected]
    of_ragged, of_padded = ours(ragged), ours(padded)
    if return_state:
        for layer_outputs in (of_ragged, of_padded):
            assert isinstance(layer_outputs, list)
            assert len(layer_outputs) == 1 + RECURRENT[name]
        for state, twice, whole in zip(states, of_ragged[1:], of_padded[1:], strict=True):
            assert_twice(twice, array(state))
            assert_close(whole, array(state))
        of_ragged, of_padded = of_ragged[0], of_padded[0]
    mask = mirrored(mask_on(first), go_backwards)
    if return_sequences:
        assert_steps(of_ragged, array(first), mask)
    else:
        assert_twice(of_ragged, array(first))
    assert_all(of_padded, array(first), mask)
    computed = theirs.compute_mask(None, padded.mask)
    ours_computed = ours.compute_mask(padded, padded.mask)
    if return_state:
        assert [one is None for one in ours_computed] == [one is None for one in computed]
        computed, ours_computed = computed[0], ours_computed[0]
    np.testing.assert_equal(ours_computed, mirrored(computed, go_backwards))


@pytest.mark.parametrize("go_backwards", [False, True])
@settings(max_examples=4)
@given(ragged=frames())
def test_zero_output_for_mask(go_backwards, ragged):
    """Keras heeds it where it is not unrolled. Without return_sequences it then gives 0 for a row
    whose last step is masked, as padding is; ragmask gives h, and these are not compared."""
    padded = both_ways(ragged)
    options = {"units": 5, "return_sequences": True, "zero_output_for_mask": True}
    theirs, ours = twins("LSTM", ragged, unroll=False, go_backwards=go_backwards, **options)
    expected = array(theirs(tensor(padded)))
    mask = mirrored(padded.mask, go_backwards)
    assert not expected[~mask].any()
    assert_all(ours(padded), expected, mask)
    whole = both_ways(ours(ragged))
    assert not whole.values[~whole.mask].any()


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("go_backwards", [False, True])
@few
@given(ragged=frames(), seed=st.integers(0, 9))
def test_initial_state(name, go_backwards, ragged, seed):
    """Keras is told the mask: with an initial_state it does not look for one on x.

    Before a row's first kept step Keras gives the initial h, and ragmask 0.
    """
    padded = both_ways(ragged)
    theirs, ours = twins(
        name,
        ragged,
        units=5,
        return_sequences=True,
        return_state=True,
        go_backwards=go_backwards,
    )
    random = np.random.default_rng(seed)
    shape = RECURRENT[name], len(ragged), 5
    state = list(random.standard_normal(shape).astype("float32"))
    twice = [np.concatenate([one, one]) for one in state]
    mask = mirrored(padded.mask, go_backwards)
    expected = [array(one) for one in theirs(padded.values, mask=padded.mask, initial_state=twice)]
    outputs, *states = ours(ragged, initial_state=state)
    assert_steps(outputs, expected[0], mask)
    for one, other in zip(states, expected[1:], strict=True):
        assert_twice(one, other)
    whole = ours(padded, initial_state=twice)
    is_read = np.logical_or.accumulate(mask, axis=1)
    assert_close(whole[0].values[is_read], expected[0][is_read])
    assert not whole[0].values[~is_read].any()
    np.testing.assert_array_equal(whole[0].mask, mask)
    by_hand = ours(padded.values, mask=padded.mask, initial_state=twice)
    np.testing.assert_array_equal(by_hand[0].values, whole[0].values)


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("return_sequences", [False, True])
@few
@given(ragged=frames(), return_state=st.booleans(), with_state=st.booleans())
def test_bidirectional(name, merge_mode, return_sequences, ragged, return_state, with_state):
    """Keras's gives 0 for masked steps, whatever its LSTMs were told: kept steps are compared.

    So are rows with a kept step: of one that has none, Keras's last output is the initial h on
    JAX, as ragmask's is, and 0 on torch.
    """
    padded = both_ways(ragged)
    options = {"return_sequences": return_sequences, "return_state": return_state}
    of_keras, of_ours = (getattr(library.layers, name) for library in (keras, rm))
    theirs = keras.layers.Bidirectional(of_keras(4, unroll=True, **options), merge_mode)
    ours = rm.layers.Bidirectional(of_ours(4, **options), merge_mode)
    theirs.build((None, WIDTH, FEATURES))
    ours(ragged)
    ours.set_weights(theirs.get_weights())
    theirs.set_weights([one + np.float32(0.01) for one in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    theirs.set_weights(ours.get_weights())
    state = twice = None
    if with_state:
        random = np.random.default_rng(0)
        shape = 2 * RECURRENT[name], len(ragged), 4
        state = list(random.standard_normal(shape).astype("float32"))
        twice = [np.concatenate([one, one]) for one in state]
    expected = keras.tree.flatten(theirs(padded.values, mask=padded.mask, initial_state=twice))
    of_ragged, of_padded = (
        one if isinstance(one, list) else [one]
        for one in (ours(ragged, initial_state=state), ours(padded, initial_state=twice))
    )
    assert len(expected) == len(of_ragged) == len(of_padded)
    is_read = padded.mask.any(axis=1)
    for at, other in enumerate(map(array, expected)):
        is_output = at < (1 if merge_mode else 2)
        if is_output and return_sequences:
            np.testing.assert_array_equal(of_padded[at].mask, padded.mask)
            assert_steps(of_ragged[at], other, padded.mask)
            assert_close(of_padded[at].values[padded.mask], other[padded.mask])
        else:
            rows = is_read if is_output else slice(None)
            assert_close(np.concatenate([of_ragged[at]] * 2)[rows], other[rows])
            assert_close(of_padded[at][rows], other[rows])


# -- layers that sum up time ---------------------------------------------------------------


@few
@given(pair=pairs(), maxima=st.booleans())
def test_pooling(pair, maxima):
    """GlobalMaxPooling1D looks at masked steps too, so it is compared on rows that are full."""
    ragged, _ = pair
    if maxima:
        full = rm.Padded(ragged.to_padded(WIDTH).values)
        expected = keras.layers.GlobalMaxPooling1D()(full.values)
        assert_close(rm.layers.TemporalPool("max")(full), array(expected))
        return
    padded = both_ways(ragged)
    theirs = array(keras.layers.GlobalAveragePooling1D()(tensor(padded)))
    some = padded.mask.any(axis=1)
    whole, of_ragged = (rm.layers.TemporalPool("mean")(one) for one in (padded, ragged))
    assert_close(whole[some], theirs[some])
    assert_close(np.concatenate([of_ragged, of_ragged])[some], theirs[some])
    assert not whole[~some].any()  # Keras's are NaN
    assert np.isnan(theirs[~some]).all()


# -- masks on their way -------------------------------------------------------------------


def chain(library, width, **options):
    """The outputs of every layer of a model, written alike for both libraries."""
    layers, options = library.layers, {"return_sequences": True, **options}
    ids = layers.Input((width,), dtype="int32", name="ids")
    words = layers.Embedding(5, FEATURES, mask_zero=True, name="words")(ids)
    dense = layers.Dense(4, activation="relu", name="dense")(words)
    dropped = layers.Dropout(0.5, name="dropout")(dense)
    active = layers.Activation("sigmoid", name="active")(dropped)
    added = layers.Add(name="added")([dense, active])
    wide = layers.Concatenate(name="wide")([added, words])
    both = layers.Bidirectional(layers.LSTM(3, **options), name="both")(wide)
    first = layers.LSTM(4, **options, name="first")(both)
    long = layers.Concatenate(axis=1, name="long")([first, active])
    last = layers.LSTM(2, **options | {"return_sequences": False}, name="last")(long)
    outputs = [words, dense, dropped, active, added, wide, both, first, long, last]
    return (layers if library is rm else library).Model(ids, outputs)


@few
@given(ragged=raggeds(masked=[False]))
def test_masks_reach_later_layers(ragged):
    theirs, ours = chain(keras, WIDTH, unroll=True), chain(rm, None)
    for layer in ours.layers:
        layer.set_weights(theirs.get_layer(layer.name).get_weights())
    ids = both_ways(ragged).values
    expected = theirs(ids)
    for name, whole, rows, other in zip(
        ours.output_names, ours(ids), ours(ragged), expected, strict=True
    ):
        mask = mask_on(other)
        if name == "last":
            assert mask is None
            assert_close(whole, array(other))
            assert_twice(rows, array(other))
        else:
            np.testing.assert_array_equal(whole.mask, mask)
            assert_close(whole.values[mask], array(other)[mask])
            assert_steps(rows, array(other), mask)


@pytest.mark.parametrize("go_backwards", [False, True])
@few
@given(ragged=frames())
def test_stacked_lstms(go_backwards, ragged):
    """Where the first goes backwards, Keras's second is given the mask turned round, by hand."""
    padded = both_ways(ragged)
    options = {"return_sequences": True, "go_backwards": go_backwards}
    first, our_first = twins("LSTM", ragged, units=4, **options)
    between = our_first(ragged)
    second, our_second = twins("LSTM", between, units=2)
    outputs = first(tensor(padded))
    expected = array(second(outputs, mask=mirrored(padded.mask, go_backwards)))
    model = rm.layers.Sequential([our_first, our_second])
    assert_twice(model(ragged), expected)
    assert_close(model(padded), expected)


# -- layers of one's own ------------------------------------------------------------------


def custom(base, maximum, supports_masking=None):
    """The guide's layer of relu, and it notes which mask it was shown."""

    class Custom(base):
        def __init__(self, **options):
            super().__init__(**options)
            if supports_masking is not None:
                self.supports_masking = supports_masking

        def call(self, inputs, mask=None):
            self.__dict__["seen"] = mask
            return maximum(inputs, 0)

    return Custom()


@pytest.mark.parametrize("supports_masking", [None, False, True])
@few
@given(ragged=frames(masked=[True]))
def test_a_layer_of_ones_own(supports_masking, ragged):
    padded = both_ways(ragged)
    theirs = custom(keras.layers.Layer, keras.ops.maximum, supports_masking)
    ours = custom(rm.layers.Layer, np.maximum, supports_masking)
    expected = theirs(tensor(padded))
    assert (mask_on(expected) is None) == (not supports_masking)
    assert_all(ours(padded), array(expected), mask_on(expected))
    np.testing.assert_array_equal(ours.seen, array(theirs.seen))
    of_ragged = ours(ragged)
    assert (of_ragged.mask is None) == (not supports_masking)
    exists = both_ways(rm.Ragged(ragged.values, ragged.starts, ragged.lengths)).mask
    assert_steps(of_ragged, array(expected), mask_on(expected) if supports_masking else exists)
    steps = [row.tolist() for row in ours.seen] * 2
    seen = zip(array(theirs.seen), exists, strict=True)
    assert steps == [row[one].tolist() for row, one in seen]
    assert_all(ours(padded.values), array(theirs(padded.values)), None)
    assert ours.seen is theirs.seen is None


@few
@given(ragged=frames(masked=[True]))
def test_a_layer_that_drops_the_mask(ragged):
    """The LSTM behind it reads all there is: padding too, but of a Ragged only the rows."""
    padded = both_ways(ragged)
    theirs, ours = twins("LSTM", ragged, units=4)
    dropping = rm.layers.Sequential([custom(rm.layers.Layer, np.maximum), ours])
    expected = array(theirs(keras.ops.maximum(padded.values, 0)))
    with pytest.warns(rm.layers.MaskWarning, match="'custom"):
        whole = dropping(padded)
    assert_close(whole, expected)
    exists = both_ways(rm.Ragged(ragged.values, ragged.starts, ragged.lengths)).mask
    expected = array(theirs(keras.ops.maximum(padded.values, 0), mask=exists))
    assert_twice(dropping(ragged), expected)


def guides_embedding(base, not_equal, lookup):
    """The guide's layer that makes a mask of its inputs."""

    class CustomEmbedding(base):
        def __init__(self, input_dim, output_dim, mask_zero=False, **options):
            super().__init__(**options)
            self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero

        def build(self, input_shape):
            self.embeddings = self.add_weight(
                shape=(self.input_dim, self.output_dim),
                initializer="random_normal",
                dtype="float32",
                name="embeddings",
            )

        def call(self, inputs):
            return lookup(self.embeddings, inputs)

        def compute_mask(self, inputs, mask=None):
            return not_equal(inputs, 0) if self.mask_zero else None

    return CustomEmbedding


@pytest.mark.parametrize("mask_zero", [False, True])
@few
@given(ragged=raggeds(masked=[False]))
def test_the_guides_embedding(mask_zero, ragged):
    def lookup(table, ids):
        return rm.embedding(ids, table)

    theirs = guides_embedding(
        keras.layers.Layer,
        keras.ops.not_equal,
        lambda table, ids: keras.ops.take(table, ids, axis=0),
    )(5, 2, mask_zero)
    ours = guides_embedding(rm.layers.Layer, np.not_equal, lookup)(5, 2, mask_zero)
    ids, exists = both_ways(ragged).values, both_ways(ragged).mask
    expected = theirs(ids)
    assert (mask_on(expected) is not None) == mask_zero
    ours(ids)
    ours.set_weights(theirs.get_weights())
    assert_all(ours(ids), array(expected), mask_on(expected))
    assert_steps(ours(ragged), array(expected), mask_on(expected) if mask_zero else exists)
