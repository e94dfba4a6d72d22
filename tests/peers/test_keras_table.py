"""ragmask/layers/README.md says of every layer of Keras's whether it is here, or why it is not."""

import inspect

import keras
import pytest

import ragmask as rm
from ragmask.interop.keras import from_keras
from ragmask.layers.elsewhere import ARGUMENTS, ELSEWHERE
from tests.peers.keras_table import classes, current, lacking, named, table

HERE = [name for name in classes() if hasattr(rm.layers, name)]


def test_its_table_is_up_to_date():
    assert current()[0] == table(), "python tests/peers/keras_table.py --write brings it up to date"


def test_every_name_of_keras_is_here_or_has_a_reason():
    names = {name for name in dir(keras.layers) if not name.startswith("_")}
    assert names - set(rm.layers.__all__) - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) - names == set()


def test_every_argument_that_is_not_taken_has_a_reason():
    wanted = {one for name in HERE for one in lacking(name)[0]}
    assert wanted - set(ARGUMENTS) == set(), "it has no reason"
    assert set(ARGUMENTS) - wanted == set(), "every layer takes it"


@pytest.mark.parametrize("name", sorted({*HERE} - {"Layer", "InputLayer"}))
def test_arguments_have_keras_order_and_defaults(name):
    """InputLayer's dtype comes second, as that of Input."""
    theirs, ours = (named(getattr(one.layers, name).__init__) for one in (keras, rm))
    assert [one for one in ours if one in theirs] == [one for one in theirs if one in ours]
    for one in ours.keys() & theirs.keys():
        assert ours[one] == theirs[one] or ours[one] is theirs[one] is inspect.Parameter.empty, one


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (keras.layers.Flatten(name="flat"), "would fix how many steps a row has"),
        (keras.layers.Lambda(lambda x: x, name="flat"), "holds code that cannot be saved"),
        (keras.layers.Conv2D(2, 1, name="flat"), "is for images and volumes"),
    ],
)
def test_models_that_have_them_are_refused_with_the_reason(layer, reason):
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    with pytest.raises(rm.UnsupportedTypeError, match=rf"layer 'flat' \(\w+\) {reason}"):
        from_keras(model)
