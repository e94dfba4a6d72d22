"""The weights of recurrent layers: checked, read from other libraries, saved and packed."""

import pickle

import numpy as np
import pytest

import ragmask as rm
from tests.interpreters import run_python

NAMES = ("kernel", "recurrent_kernel", "bias")


KINDS = pytest.mark.parametrize("kind", [rm.LSTMWeights, rm.GRUWeights, rm.RNNWeights])


def arrays(features=2, units=3, dtype=np.float32, kind=rm.LSTMWeights):
    random = np.random.default_rng(0)
    shapes = kind.shapes(features, units)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def torch_state(features=2, units=3, suffix="_l0", prefix=""):
    kernel, recurrent_kernel, bias = arrays(features, units)
    return {
        f"{prefix}weight_ih{suffix}": kernel.T,
        f"{prefix}weight_hh{suffix}": recurrent_kernel.T,
        f"{prefix}bias_ih{suffix}": bias,
        f"{prefix}bias_hh{suffix}": 2 * bias,
    }


def assert_holds(weights, expected):
    for name, array in zip(NAMES, expected, strict=True):
        np.testing.assert_array_equal(getattr(weights, name), array)


@pytest.mark.parametrize(
    ("dtype", "held"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
@KINDS
def test_they_hold_private_copies(kind, dtype, held):
    given = arrays(dtype=dtype, kind=kind)
    weights = kind(*given)
    expected = [array.copy() for array in given]
    for array in given:
        array[:] = 0
    assert_holds(weights, expected)
    for name in NAMES:
        assert getattr(weights, name).dtype == held
        assert not getattr(weights, name).flags.writeable
    assert (weights.features, weights.units) == (2, 3)
    assert repr(weights) == f"{kind.__name__}(2 features, 3 units, {held})"


def test_the_widest_dtype_wins():
    kernel, recurrent_kernel, bias = arrays()
    weights = rm.LSTMWeights(kernel, recurrent_kernel, bias.astype(np.float64))
    assert {getattr(weights, name).dtype for name in NAMES} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("kernel", np.zeros((2, 11)), r"kernel has shape \(2, 11\); \(features, 12\) goes with 3"),
        ("kernel", np.zeros(12), r"kernel has shape \(12,\); kernels have two dimensions"),
        ("recurrent_kernel", np.zeros((3, 11)), r"recurrent_kernel has shape \(3, 11\)"),
        ("recurrent_kernel", np.zeros((4, 12)), r"shape \(4, 12\); \(units, 4 · units\) is needed"),
        ("recurrent_kernel", np.zeros((0, 0)), r"recurrent_kernel has shape \(0, 0\)"),
        ("bias", np.zeros(11), r"bias has shape \(11,\); \(12,\) goes with 3 units"),
        ("bias", np.zeros((2, 12)), r"bias has shape \(2, 12\)"),
        ("kernel", np.zeros((2, 12), int), "kernel must hold floats; got int64"),
        ("bias", np.zeros(12, complex), "bias must hold floats; got complex128"),
        ("bias", [None] * 12, "bias must hold floats; got object"),
        ("bias", np.zeros(12, "g"), "use float64"),
    ],
)
def test_what_does_not_fit_is_named(name, array, message):
    given = dict(zip(NAMES, arrays(), strict=True))
    with pytest.raises(rm.RagmaskError, match=message):
        rm.LSTMWeights(**given | {name: array})


@pytest.mark.parametrize(
    ("kind", "name", "shape", "message"),
    [
        (rm.GRUWeights, "bias", (9,), r"shape \(9,\), .* reset_after=False.*: no weights.*=True"),
        (rm.GRUWeights, "bias", (1, 9), r"bias has shape \(1, 9\); \(2, 9\) goes with 3 units"),
        (rm.GRUWeights, "bias", (2, 3, 3), "kernels have two dimensions, a bias two"),
        (rm.GRUWeights, "recurrent_kernel", (3, 12), r"\(units, 3 · units\) is needed"),
        (rm.GRUWeights, "kernel", (2, 12), r"\(features, 9\) goes with 3 units"),
        (rm.RNNWeights, "bias", (2, 3), r"kernels have two dimensions, a bias one"),
        (rm.RNNWeights, "bias", (4,), r"bias has shape \(4,\); \(3,\) goes with 3 units"),
        (rm.RNNWeights, "recurrent_kernel", (3, 4), r"\(units, units\) is needed"),
        (rm.RNNWeights, "recurrent_kernel", (0, 0), r"recurrent_kernel has shape \(0, 0\)"),
    ],
)
def test_what_does_not_fit_another_cell_is_named(kind, name, shape, message):
    given = dict(zip(NAMES, arrays(kind=kind), strict=True))
    with pytest.raises(rm.RagmaskError, match=message):
        kind(**given | {name: np.zeros(shape)})


@KINDS
def test_from_keras(kind):
    given = arrays(kind=kind)
    assert_holds(kind.from_keras(given), given)
    without_bias = kind.from_keras(given[:2])
    assert_holds(without_bias, [*given[:2], np.zeros(given[2].shape)])
    for wrong in (given[:1], [*given, given[2]]):
        with pytest.raises(rm.InvalidInputError, match="2 or 3 arrays: kernel, recurrent kernel"):
            kind.from_keras(wrong)


@pytest.mark.parametrize(
    ("layer", "reverse", "suffix"),
    [(0, False, "_l0"), (1, False, "_l1"), (0, True, "_l0_reverse"), (1, True, "_l1_reverse")],
)
@pytest.mark.parametrize("prefix", ["", "encoder.lstm."])
def test_from_torch_finds_layer_and_direction(layer, reverse, suffix, prefix):
    state = {
        key: array * 0
        for other in ("_l0", "_l1", "_l0_reverse", "_l1_reverse", "_l10")
        for key, array in torch_state(suffix=other, prefix=prefix).items()
    }
    state |= torch_state(suffix=suffix, prefix=prefix) | {"head.weight": np.zeros(3)}
    kernel, recurrent_kernel, bias = arrays()
    weights = rm.LSTMWeights.from_torch(state, layer, reverse)
    assert_holds(weights, [kernel, recurrent_kernel, bias + 2 * bias])


def test_from_torch_without_biases():
    state = {key: array for key, array in torch_state().items() if "bias" not in key}
    assert not rm.LSTMWeights.from_torch(state).bias.any()


def test_a_grus_gates_and_biases_of_torch():
    """Its gates are r, z, n, and its biases stay two."""
    kernel, recurrent_kernel, bias = arrays(kind=rm.GRUWeights)

    def of_torch(array):
        z, r, h = np.split(array, 3, axis=-1)
        return np.concatenate([r, z, h], axis=-1).T

    state = {"weight_ih_l0": of_torch(kernel), "weight_hh_l0": of_torch(recurrent_kernel)}
    biases = {"bias_ih_l0": of_torch(bias[0]), "bias_hh_l0": of_torch(bias[1])}
    assert_holds(rm.GRUWeights.from_torch(state | biases), [kernel, recurrent_kernel, bias])
    assert rm.GRUWeights.from_torch(state).bias.tolist() == [[0.0] * 9] * 2
    with pytest.raises(rm.InvalidInputError, match=r"\(3, 12\); \(units, 3 · units\) is needed"):
        rm.GRUWeights.from_torch(torch_state())


def test_from_torch_says_what_is_missing():
    state = torch_state()
    with pytest.raises(
        rm.InvalidInputError, match=r"no weight_ih_l1 in the state dict; it has weight_ih_l0, "
    ):
        rm.LSTMWeights.from_torch(state, layer=1)
    with pytest.raises(rm.InvalidInputError, match="no weight_ih_l0_reverse"):
        rm.LSTMWeights.from_torch(state, reverse=True)
    with pytest.raises(rm.InvalidInputError, match=r"no weight_ih_l0 in .*; it has nothing"):
        rm.LSTMWeights.from_torch({})
    twice = torch_state(prefix="a.") | torch_state(prefix="b.")
    with pytest.raises(rm.InvalidInputError, match=r"several .*: a\.weight_ih_l0, b\.weight_ih_l0"):
        rm.LSTMWeights.from_torch(twice)
    with pytest.raises(rm.UnsupportedTypeError, match="proj_size"):
        rm.LSTMWeights.from_torch(state | {"weight_hr_l0": np.zeros((2, 3))})


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_of_safetensors(tmp_path, dtype, kind):
    from safetensors.numpy import load_file, save_file

    weights = kind(*arrays(dtype=dtype, kind=kind))
    weights.save(tmp_path / "own.safetensors")
    again = kind.load(tmp_path / "own.safetensors")
    assert_holds(again, [getattr(weights, name) for name in NAMES])
    assert again.kernel.dtype == dtype
    assert set(load_file(tmp_path / "own.safetensors")) == set(NAMES)

    save_file({"kernel": weights.kernel.copy()}, tmp_path / "other.safetensors")
    with pytest.raises(rm.InvalidInputError, match=r"other\.safetensors must hold .*; it has kern"):
        kind.load(tmp_path / "other.safetensors")


def test_without_safetensors_the_extra_is_named():
    code = """
import sys
sys.modules["safetensors"] = None
import numpy as np
import ragmask as rm
try:
    rm.LSTMWeights(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(4)).save("nowhere")
except rm.MissingExtraError as error:
    print(error)
"""
    assert 'pip install "ragmask[models]"' in run_python(code)


@KINDS
def test_they_can_be_pickled(kind):
    weights = kind(*arrays(kind=kind))
    weights.packed(np.float32)
    assert_holds(pickle.loads(pickle.dumps(weights)), [getattr(weights, name) for name in NAMES])


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 8, 16, 17, 33])
def test_packed_weights_are_panels_of_one_vector_each(kind, dtype, units):
    weights = kind(*arrays(3, units, kind=kind))
    gates, sums = weights.cell.gates, weights.cell.sums
    lanes = 64 // np.dtype(dtype).itemsize
    blocks = -(-units // lanes)
    packed = weights.packed(dtype)
    panels = packed.panels.reshape(blocks, gates, 3 + units, lanes)
    first_sums = packed.first_sums.reshape(blocks, sums, lanes)
    matrix = np.concatenate([weights.kernel, weights.recurrent_kernel])
    matrix = matrix.reshape(3 + units, gates, units)
    biases = weights.bias.astype(dtype).reshape(-1, gates, units)
    joint = gates - weights.cell.apart
    begin = np.concatenate([biases[:, :joint].sum(0), *biases[:, joint:]])
    for unit in range(blocks * lanes):
        block, lane = unit // lanes, unit % lanes
        expected = matrix[:, :, unit].T if unit < units else np.zeros((gates, 3 + units))
        np.testing.assert_array_equal(panels[block, ..., lane], expected)
        wanted = begin[:, unit] if unit < units else np.zeros(sums)
        np.testing.assert_array_equal(first_sums[block, :, lane], wanted)
    assert weights.packed(dtype).panels is packed.panels
