"""Ops in jax's programs: against jax's own on padded rows, and ragmask's ops to the bit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ragmask as rm
from ragmask.interop.jax import gru, lstm, temporal_pool, temporal_softmax

FEATURES, UNITS, WIDTH = 3, 5, 4
OFFSETS = np.array([1, 4, 4, 8, 9])  # a step before the first row, an empty one, two after the last
N = 11
MASK = np.array([1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1], bool)  # the last row has no kept step
HOWS = ["mean", "sum", "max", "min", "first", "last", "std"]
KINDS = {
    "lstm": (lstm, rm.lstm, rm.LSTMWeights, 2),
    "gru": (gru, rm.gru, rm.GRUWeights, 1),
}

masks = pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
layers = pytest.mark.parametrize("name", KINDS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def wide():
    """jax has float64 inside a test, and is as it was behind it."""
    with jax.enable_x64(True):
        yield


def drawn(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def in_rows(offsets=OFFSETS):
    return np.arange(N)[offsets[0] : offsets[-1]]


# -- jax's own, over padded rows


def padded(values, mask):
    """(rows, width, *item) and which of that is a kept step."""
    at = OFFSETS[:-1, None] + np.arange(WIDTH)
    kept = np.arange(WIDTH) < np.diff(OFFSETS)[:, None]
    at = np.minimum(at, N - 1)
    return values[at], kept if mask is None else kept & mask[at]


def unpadded(steps):
    """The rows' steps in their places along the values."""
    row, step = np.nonzero(np.arange(WIDTH) < np.diff(OFFSETS)[:, None])
    return jnp.zeros((N, *steps.shape[2:]), steps.dtype).at[in_rows()].set(steps[row, step])


def jax_softmax(values, mask):
    dense, kept = padded(values, mask)
    kept = np.broadcast_to(kept[..., None], dense.shape)
    return unpadded(jax.nn.softmax(dense, axis=1, where=kept))


def jax_pool(values, mask, how):
    dense, kept = padded(values, mask)
    count, some = kept.sum(axis=1)[:, None], kept.any(axis=1)[:, None]
    if how in ("mean", "sum"):
        total = jnp.where(kept[..., None], dense, 0).sum(axis=1)
        return total / np.maximum(count, 1) if how == "mean" else total
    if how in ("max", "min"):
        sign = 1 if how == "max" else -1
        most = jnp.where(kept[..., None], sign * dense, -np.inf).max(axis=1)
        return jnp.where(some, sign * most, 0)
    if how == "std":
        kept = jnp.broadcast_to(kept[..., None], dense.shape)
        several = kept.sum(axis=1) > 1  # else jax says NaN, as its gradient
        safe = jnp.where(several[:, None], dense, jnp.arange(WIDTH)[None, :, None])
        return jnp.where(several, safe.std(axis=1, where=kept | ~several[:, None]), 0)
    place = kept.argmax(axis=1) if how == "first" else WIDTH - 1 - kept[:, ::-1].argmax(axis=1)
    return jnp.where(some, dense[np.arange(len(dense)), place], 0)


def lstm_step(states, x, kernel, recurrent_kernel, bias):
    h, c = states
    i, f, g, o = jnp.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(states, x, kernel, recurrent_kernel, bias):
    (h,) = states
    of_x = jnp.split(x @ kernel + bias[0], 3, axis=1)
    of_h = jnp.split(h @ recurrent_kernel + bias[1], 3, axis=1)
    z, r = (jax.nn.sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
    return (z * h + (1 - z) * jnp.tanh(of_x[2] + r * of_h[2]),)


def jax_layer(name, values, weights, initial, mask, go_backwards):
    dense, kept = padded(values, mask)
    step = {"lstm": lstm_step, "gru": gru_step}[name]

    def masked_step(states, now):
        x, kept = now
        following = step(states, x, *weights)
        states = tuple(
            jnp.where(kept[:, None], new, old) for new, old in zip(following, states, strict=True)
        )
        return states, jnp.where(kept[:, None], states[0], 0)

    last, outputs = jax.lax.scan(
        masked_step,
        tuple(initial),
        (jnp.swapaxes(dense, 0, 1), jnp.asarray(kept.T)),
        reverse=go_backwards,
    )
    return unpadded(jnp.swapaxes(outputs, 0, 1)), *last


def layer_arguments(name, dtype="float64"):
    *_, weights_class, states = KINDS[name]
    shapes = weights_class.shapes(FEATURES, UNITS)
    weights = tuple(drawn(*shape, dtype=dtype, seed=1) / 2 for shape in shapes)
    initial = tuple(drawn(states, len(OFFSETS) - 1, UNITS, dtype=dtype, seed=2))
    return drawn(N, FEATURES, dtype=dtype), weights, initial


def close(one, other, tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), one, other)


def equal(one, other):
    assert np.asarray(one).dtype == np.asarray(other).dtype
    np.testing.assert_array_equal(one, other)


TOLERANCES = {"float32": 2e-5, "float64": 1e-12}


@dtypes
@masks
def test_softmax_and_its_gradient_are_jaxs(dtype, mask):
    values, weights = drawn(N, FEATURES, dtype=dtype), drawn(N, FEATURES, dtype=dtype, seed=1)

    def loss(softmax, values):
        soft = softmax(values)
        return (soft * weights).sum(), soft

    ours = partial(loss, lambda values: temporal_softmax(values, OFFSETS, mask))
    jaxs = partial(loss, lambda values: jax_softmax(values, mask))
    expected = jax.jit(jax.value_and_grad(jaxs, has_aux=True))(values)
    for function in (ours, jax.jit(ours)):
        results, of_values = jax.value_and_grad(function, has_aux=True)(values)
        close((results, of_values), expected, TOLERANCES[dtype])
        assert results[1].dtype.name == of_values.dtype.name == dtype


@masks
@pytest.mark.parametrize("how", HOWS)
def test_pooling_and_its_gradient_are_jaxs(how, mask):
    values, weights = drawn(N, FEATURES), drawn(len(OFFSETS) - 1, FEATURES, seed=1)

    def loss(pool, values):
        pooled = pool(values)
        return (pooled * weights).sum(), pooled

    ours = partial(loss, lambda values: temporal_pool(values, OFFSETS, how, mask))
    jaxs = partial(loss, lambda values: jax_pool(values, mask, how))
    expected = jax.jit(jax.value_and_grad(jaxs, has_aux=True))(values)
    close(jax.jit(jax.value_and_grad(ours, has_aux=True))(values), expected, 1e-12)


@layers
@pytest.mark.parametrize(
    ("dtype", "mask", "go_backwards"), [("float64", MASK, False), ("float32", None, True)]
)
def test_a_layer_and_its_gradients_are_jaxs(name, dtype, mask, go_backwards):
    values, weights, initial = layer_arguments(name, dtype)
    kept = np.ones((N, 1), bool) if mask is None else mask[:, None]
    factors = drawn(N, UNITS, dtype=dtype, seed=3) * kept, *layer_arguments(name, dtype)[2]

    def loss(results):
        return sum((result * factor).sum() for result, factor in zip(results, factors, strict=True))

    def ours(values, weights, initial):
        return loss(
            KINDS[name][0](
                values,
                OFFSETS,
                *weights,
                initial_state=initial,
                mask=mask,
                go_backwards=go_backwards,
            )
        )

    def jaxs(values, weights, initial):
        return loss(jax_layer(name, values, weights, initial, mask, go_backwards))

    given = values, weights, initial
    expected = jax.jit(jax.value_and_grad(jaxs, (0, 1, 2)))(*given)
    results = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(*given)
    close(results, expected, TOLERANCES[dtype])
    assert jax.tree.map(lambda array: array.dtype.name, results[1]) == jax.tree.map(
        lambda array: dtype, expected[1]
    )


# -- ragmask's own


@dtypes
@masks
def test_bits_are_those_of_ragmasks_ops(dtype, mask):
    values = drawn(N, FEATURES, dtype=dtype)
    ragged = rm.Ragged.from_offsets(values, OFFSETS, mask)
    soft = jax.jit(temporal_softmax)(values, OFFSETS, mask)
    equal(soft[in_rows()], rm.temporal_softmax(ragged).values)
    assert not np.delete(soft, in_rows(), axis=0).any()
    for how in HOWS:
        equal(temporal_pool(values, OFFSETS, how, mask), rm.temporal_pool(ragged, how))


@dtypes
@masks
def test_steps_are_numbered_as_ragmasks_ops_do(dtype, mask):
    values = drawn(N, FEATURES, dtype=dtype)
    ragged = rm.Ragged.from_offsets(values, OFFSETS, mask)
    for how in ("count", "argmax", "logsumexp"):
        expected = rm.temporal_pool(ragged, how)
        run = partial(temporal_pool, offsets=OFFSETS, how=how, mask=mask)
        for found in (run(values), jax.jit(run)(values)):
            assert found.shape == expected.shape
            assert np.array_equal(found, expected)
    total = partial(temporal_pool, offsets=OFFSETS, how="count", mask=mask)
    gradient = jax.grad(lambda x: (x * total(x).sum()).sum())(values)
    assert (gradient == rm.temporal_pool(ragged, "count").sum()).all()


@layers
@dtypes
@masks
def test_a_layers_bits_are_those_of_ragmasks(name, dtype, mask):
    ours, op, weights_class, _ = KINDS[name]
    values, weights, initial = layer_arguments(name, dtype)
    ragged = rm.Ragged.from_offsets(values, OFFSETS, mask)
    expected = op(ragged, weights_class(*weights), initial_state=initial)

    def run(x):
        return tuple(ours(x, OFFSETS, *weights, initial_state=initial, mask=mask))

    for outputs, *last in (run(values), jax.vjp(run, values)[0]):
        equal(outputs[in_rows()], expected.outputs.values)
        for state, other in zip(last, expected[1:], strict=True):
            equal(state, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    values, weights, _ = layer_arguments("lstm", "float32")
    values = jnp.asarray(values, dtype)
    weights = tuple(jnp.asarray(array, dtype) for array in weights)

    def ours(values, weights):
        return lstm(values, OFFSETS, *weights).h

    h, gradients = jax.vjp(ours, values, weights)
    of_values, of_weights = gradients(jnp.ones_like(h))
    assert {array.dtype.name for array in (h, of_values, *of_weights)} == {dtype}
    in_full, gradients = jax.vjp(ours, *jax.tree.map(jnp.float32, (values, weights)))
    equal(h, in_full.astype(dtype))
    equal(of_values, gradients(jnp.ones_like(in_full))[0].astype(dtype))
    soft = temporal_softmax(values, OFFSETS)
    equal(soft, temporal_softmax(values.astype("float32"), OFFSETS).astype(dtype))
    assert temporal_pool(values, OFFSETS).dtype.name == dtype


def test_without_a_gradient_nothing_is_kept():
    values, weights, _ = layer_arguments("lstm")
    kept = f"f64[{N * 5 * 8}]"  # 5 numbers for each of 5 units, in whole lanes of 8
    run = partial(lstm, values, OFFSETS)
    assert kept not in str(jax.make_jaxpr(run)(*weights))
    assert kept in str(jax.make_jaxpr(jax.grad(lambda *given: run(*given).h.sum()))(*weights))


def test_what_is_in_no_row_or_masked_is_never_looked_at():
    values, weights, initial = layer_arguments("gru")
    dirty = values.copy()
    dirty[np.setdiff1d(np.arange(N), in_rows())] = np.nan
    dirty[~MASK] = np.nan
    of_outputs = np.where(np.isnan(dirty[:, :1]), np.nan, drawn(N, UNITS, seed=4))

    def run(values, weights):
        return gru(values, OFFSETS, *weights, initial_state=initial, mask=MASK).outputs

    (of_values, of_weights), (clean, of_clean) = (
        jax.vjp(run, x, weights)[1](gradient)
        for x, gradient in ((dirty, of_outputs), (values, np.nan_to_num(of_outputs)))
    )
    equal(of_values, clean)
    jax.tree.map(equal, of_weights, of_clean)
    assert not of_values[np.isnan(dirty[:, 0])].any()
    of_softmax = jax.vjp(lambda x: temporal_softmax(x, OFFSETS, MASK), dirty)[1]
    assert np.isfinite(of_softmax(dirty)[0]).all()


@pytest.mark.parametrize(
    ("n", "offsets"), [(0, [0]), (0, [0, 0]), (4, [2]), (4, [0, 0, 0])], ids=str
)
def test_no_rows_and_empty_rows(n, offsets):
    values = np.ones((n, FEATURES))
    assert temporal_softmax(values, offsets).tolist() == np.zeros((n, FEATURES)).tolist()
    pooled = temporal_pool(values, offsets)
    assert pooled.tolist() == np.zeros((len(offsets) - 1, FEATURES)).tolist()


@layers
@pytest.mark.parametrize(("n", "offsets"), [(0, [0]), (4, [2]), (4, [0, 0, 0])], ids=str)
def test_layers_of_no_rows_and_empty_rows(name, n, offsets):
    ours, *_, states = KINDS[name]
    _, weights, _ = layer_arguments(name)
    initial = tuple(drawn(states, len(offsets) - 1, UNITS))

    @jax.jit
    def run(values, weights, initial):
        return tuple(ours(values, offsets, *weights, initial_state=initial))

    results, back = jax.vjp(run, np.ones((n, FEATURES)), weights, initial)
    assert results[0].tolist() == np.zeros((n, UNITS)).tolist()
    jax.tree.map(equal, results[1:], initial)
    of_values, of_weights, of_initial = back(results)
    assert not any(array.any() for array in (of_values, *of_weights))
    jax.tree.map(equal, of_initial, initial)


def test_steps_of_no_features_and_of_many_dimensions():
    assert temporal_softmax(np.ones((3, 0)), [0, 3]).shape == (3, 0)
    values = drawn(N, 2, 3)
    of_values = jax.grad(lambda x: (temporal_pool(x, OFFSETS, "max") ** 2).sum())(values)
    assert of_values.shape == values.shape
    flat = jax.grad(lambda x: (temporal_pool(x, OFFSETS, "max") ** 2).sum())(values.reshape(N, 6))
    equal(of_values.reshape(N, 6), flat)


# -- jax's transformations


def test_vmap_goes_through_its_batches():
    values, weights, _ = layer_arguments("lstm")
    batches = np.stack([values, 2 * values])
    offsets = np.stack([OFFSETS, [0, 2, 5, 5, 11]])

    def loss(x, offsets):
        soft = temporal_softmax(x, offsets)
        return (lstm(soft, offsets, *weights).h ** 2).sum()

    each = [jax.value_and_grad(loss)(*given) for given in zip(batches, offsets, strict=True)]
    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(batches, offsets)
    jax.tree.map(equal, jax.tree.map(lambda *parts: np.stack(parts), *each), together)
    jacobian = jax.jacrev(lambda x: temporal_pool(x, OFFSETS))(values)
    equal(jacobian, jax.jit(jax.jacrev(lambda x: jax_pool(x, None, "mean")))(values))


def test_offsets_get_a_gradient_of_jaxs_dtype_for_none():
    loss = lambda x, offsets, mask: temporal_softmax(x, offsets, mask)[2]  # noqa: E731
    _, of_offsets, of_mask = jax.grad(loss, (0, 1, 2), allow_int=True)(drawn(N), OFFSETS, MASK)
    assert of_offsets.dtype == of_mask.dtype == jax.dtypes.float0
    assert (of_offsets.shape, of_mask.shape) == (OFFSETS.shape, MASK.shape)


def test_it_is_compiled_once_for_a_shape():
    traces = []

    @jax.jit
    def step(x, offsets):
        traces.append(x.shape)
        return jax.grad(lambda x: temporal_softmax(x, offsets)[2])(x)

    first = step(drawn(N), OFFSETS)
    second = step(drawn(N), np.array([0, 2, 2, 8, 11]))
    assert traces == [(N,)]
    assert first[2] != 0
    assert second[2] != first[2]


def test_a_float64_survives_a_thread_of_jaxs_own():
    """Where jax calls from after work of its own, and the context of 64 bits does not hold."""
    values = np.ones(1 << 21)
    offsets = np.array([0, len(values)])
    run = jax.jit(lambda x: temporal_pool(x + 1, offsets, "sum") + temporal_pool(x * 2, offsets))
    for _ in range(6):
        assert run(values).tolist() == [2 * len(values) + 2]


def test_without_64_bits_all_is_float32():
    with jax.enable_x64(False):
        soft = jax.jit(temporal_softmax)(drawn(N), OFFSETS)
        equal(soft, temporal_softmax(drawn(N, dtype="float32"), OFFSETS))


def test_second_derivatives_say_that_they_are_not_there():
    def loss(x):
        return (temporal_softmax(x, OFFSETS) ** 2).sum()

    for twice in (jax.grad(lambda x: jax.grad(loss)(x).sum()), jax.jacrev(jax.jacrev(loss))):
        with pytest.raises(rm.UnsupportedTypeError, match="cannot be differentiated again"):
            twice(drawn(N))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jacfwd(loss)(drawn(N))


# -- what does not fit


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([0, 2, 12], "row 1: they end at 12, and there are 11"),
        ([0, 12, 3], "decrease at row 1, from 12 to 3"),
        ([-1, 2, 3], "offsets start at -1"),
        ([0, 2**62, -(2**62)], "decrease at row 1"),
    ],
)
def test_offsets_that_do_not_fit_are_named(offsets, words):
    values, weights, _ = layer_arguments("lstm")
    offsets = np.array(offsets)
    calls = [
        lambda offsets: temporal_softmax(values, offsets),
        lambda offsets: temporal_pool(values, offsets),
        lambda offsets: lstm(values, offsets, *weights).h,
        lambda offsets: jax.grad(lambda x: lstm(x, offsets, *weights).h.sum())(values),
    ]
    for call in calls:
        with pytest.raises(rm.InvalidInputError, match=words):
            call(offsets)
        with pytest.raises(Exception, match=f"InvalidInputError: .*{words}"):
            jax.block_until_ready(jax.jit(call)(offsets))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, o: temporal_softmax(x[0, 0], o), rm.InvalidInputError, "a single value"),
        (lambda x, o: temporal_softmax(o, o), rm.UnsupportedTypeError, "got int64: convert"),
        (lambda x, o: temporal_softmax(x, o * 1.0), rm.UnsupportedTypeError, "must be integers"),
        (lambda x, o: temporal_softmax(x, o[None]), rm.InvalidInputError, r"got shape \(1, 5\)"),
        (lambda x, o: temporal_softmax(x, o[:0]), rm.InvalidInputError, "offsets"),
        (lambda x, o: temporal_softmax(x, o, o > 2), rm.InvalidInputError, r"\(11,\) goes with"),
        (lambda x, o: temporal_softmax(x, o, x[:, 0]), rm.UnsupportedTypeError, "must be bool"),
        (lambda x, o: temporal_pool(x, o, "median"), rm.InvalidInputError, "how must be one of"),
        (lambda x, o: lstm(x[:, None], o, *[x] * 3), rm.InvalidInputError, "features.* is needed"),
        (lambda x, o: lstm(x, o, *[x] * 3), rm.InvalidInputError, r"\(3, 44\) goes with 3"),
        (lambda x, o: lstm(x, o, o, x, x), rm.UnsupportedTypeError, "kernel must hold floats"),
        (lambda x, o: lstm(x, o, x, x[:0], x), rm.InvalidInputError, "a row for each unit"),
        (lambda x, o: lstm(x, o, x, x[0, 0], x), rm.InvalidInputError, "a row for each unit"),
        (
            lambda x, o: lstm(x, o, *layer_arguments("lstm")[1], initial_state=x),
            rm.InvalidInputError,
            r"a pair \(h, c\)",
        ),
        (
            lambda x, o: gru(x, o, *layer_arguments("gru")[1], initial_state=x),
            rm.InvalidInputError,
            r"h has shape \(11, 3\); \(rows, units\) is \(4, 5\)",
        ),
    ],
)
def test_what_shapes_and_dtypes_tell_is_said_when_it_is_traced(call, error, words):
    values = drawn(N, FEATURES)
    for function in (call, jax.jit(call)):
        with pytest.raises(error, match=words):
            function(values, jnp.asarray(OFFSETS))
