"""What cannot be called on symbols is refused in the words that batches are refused in."""

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from ragmask.layers import Add, Concatenate, Dense, Input, TemporalSplit

TIME, IMAGE, VECTOR = (None, 3), (4, 3), (3,)


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (TemporalSplit(2), VECTOR, r"3 steps \(the array's width\) .* 2 .*: pass width=4, or pad"),
        (TemporalSplit(2, width=4), VECTOR, "width 4 is not the array's width, 3: pad to it first"),
        (TemporalSplit(3, width=4), VECTOR[:0], "must be a Ragged, a Padded or an array"),
        (TemporalSplit(3, width=4), TIME, r"4 steps \(width\) cannot be cut into 3 equal sections"),
    ],
)
def test_widths_that_cannot_be_cut(layer, shape, match):
    with pytest.raises(rm.InvalidInputError, match=match):
        layer(Input(shape))


@pytest.mark.parametrize(
    ("shape", "mask", "dtype", "match"),
    [
        (TIME, (None,), "int32", "mask must be bool, True = keep; got int32: pass mask.astype"),
        (TIME, (None, 2), "bool", r"mask has shape \(·, ·, 2\); its values need \(·, ·\)"),
        (TIME, (4,), "bool", r"mask has shape \(·, 4\); its values need \(·, ·\)"),
        (IMAGE, (3,), "bool", r"mask has shape \(·, 3\); its values need \(·, 4\)"),
        (IMAGE, (), "bool", r"mask has shape \(·,\); its values need \(·, 4\)"),
        (
            IMAGE,
            (None,),
            "bool",
            r"the mask is a Ragged, and the batch an array of shape \(·, 4, 3",
        ),
    ],
)
def test_masks_of_other_batches(shape, mask, dtype, match):
    with pytest.raises(rm.RagmaskError, match=match):
        Dense(2)(Input(shape), mask=Input(mask, dtype))


@pytest.mark.parametrize("layer", [Add(), Concatenate()])
def test_batches_of_two_kinds(layer):
    with pytest.raises(rm.UnsupportedTypeError, match=r"got Ragged, ndarray: .* to_padded\(\)"):
        layer([Input(TIME), Input(IMAGE)])


def test_arrays_that_do_not_lie_side_by_side():
    with pytest.raises(
        rm.InvalidInputError, match=r"more than axis 2: \(·, 4, 3\) and \(·, 5, 3\)"
    ):
        Concatenate()([Input(IMAGE), Input((5, 3))])


def test_rows_of_numbers_lie_one_behind_the_other():
    assert Concatenate()([Input(()), Input(())]).shape == (None,)


def test_steps_without_features_give_the_bias():
    nothing = np.zeros((3, 0), "float32")
    flat, steps = (
        layers.Sequential([Input(shape), Dense(2, bias_initializer="ones")])
        for shape in ((0,), (None, 0))
    )
    assert flat(nothing).tolist() == [[1.0, 1.0]] * 3
    assert steps(rm.Ragged.from_offsets(nothing, [0, 2, 3])).values.tolist() == [[1.0, 1.0]] * 3
