"""First weights, by every name that Keras has for them."""

import math

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers


def drawn(initializer, shape=(200, 300)):
    layers.set_random_seed(0)
    return layers.Layer().add_weight(shape, initializer, name="w")


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("random_normal", 0.05),
        ("RandomUniform", 0.1 / math.sqrt(12)),
        ("truncated_normal", 0.05 * 0.8796),
        ("GlorotNormal", math.sqrt(2 / 500)),
        ("glorot_uniform", math.sqrt(2 / 500)),
        ("HeNormal", math.sqrt(2 / 200)),
        ("he_uniform", math.sqrt(2 / 200)),
        ("lecun_normal", math.sqrt(1 / 200)),
        ("LecunUniform", math.sqrt(1 / 200)),
        ("VarianceScaling", math.sqrt(1 / 200)),
        ({"class_name": "RandomNormal", "config": {"stddev": 2.0, "seed": 1}}, 2.0),
        ({"class_name": "HeNormal", "config": {"seed": None}}, math.sqrt(2 / 200)),
    ],
)
def test_deviations(name, deviation):
    weight = drawn(name)
    np.testing.assert_allclose(weight.std(), deviation, 0.02)
    np.testing.assert_allclose(weight.mean(), 0, atol=deviation * 0.02)


def test_those_without_chance():
    for name in ("zeros", "Zeros", "zero", {"class_name": "Zeros", "config": {}}):
        assert not drawn(name).any()
    assert (drawn("Ones") == 1).all()
    assert (drawn({"class_name": "Constant", "config": {"value": 3}}) == 3).all()
    assert drawn("identity", (2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    rows = drawn("OrthogonalInitializer", (3, 5))
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)
    assert drawn(np.arange(4.0), (4,)).tolist() == [0, 1, 2, 3]
    assert abs(drawn("TruncatedNormal")).max() <= 0.1


def test_a_seed_draws_the_same_again():
    config = {"class_name": "GlorotUniform", "config": {"seed": 3}}
    np.testing.assert_array_equal(drawn(config), drawn(config))
    dense = [layers.Dense(2, kernel_initializer=config) for _ in range(2)]
    for layer in dense:
        layer.build((None, 3))
    np.testing.assert_array_equal(*(layer.kernel for layer in dense))
    again = layers.Dense.from_config(dense[0].get_config())
    again.build((None, 3))
    np.testing.assert_array_equal(again.kernel, dense[0].kernel)


def test_kernels_of_equations_scale_by_what_they_add_up():
    layers.set_random_seed(0)
    layer = layers.EinsumDense("abc,cde->abde", (None, 30, 40), kernel_initializer="he_normal")
    layer.build((None, None, 50))
    np.testing.assert_allclose(layer.kernel.std(), math.sqrt(2 / 50), 0.02)


def test_saved_in_a_model(tmp_path):
    config = {"class_name": "HeNormal", "config": {"seed": 1}}
    entry = layers.Input((3,))
    model = layers.Model(entry, layers.Dense(2, kernel_initializer=config)(entry))
    model.save(tmp_path / "model")
    assert layers.load_model(tmp_path / "model").layers[0].kernel_initializer == config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("he_norm", "initializer must be one of glorot_uniform, .*; got 'he_norm'"),
        ({"class_name": "Zeros", "config": {"value": 1}}, "initializer Zeros takes"),
        ({"class_name": "HeNormal", "config": {"seed": "x"}}, "seed is a number from 0"),
        ({"class_name": "VarianceScaling", "config": {"mode": "fan"}}, "mode"),
        ({"class_name": "VarianceScaling", "config": {"distribution": "x"}}, "distribution is"),
        ("identity", "an identity weight has two dimensions"),
    ],
)
def test_refused(name, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        drawn(name, (2, 3, 4))
