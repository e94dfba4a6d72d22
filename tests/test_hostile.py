"""What once crashed the interpreter, read foreign memory or lost a mask in silence."""

import os
import warnings
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm


def test_weights_cannot_be_exchanged_under_their_packed_form():
    weights = rm.LSTMWeights(np.zeros((2, 16)), np.zeros((4, 16)), np.zeros(16))
    with pytest.raises(AttributeError):
        weights.kernel = np.zeros((200_000, 16))


def test_changing_a_shape_in_place_changes_no_batch():
    given = np.arange(6.0)
    given.flags.writeable = False
    batch = rm.Ragged(given, [0, 3], [3, 3])
    for array in (given, batch.values, batch.starts, batch.lengths):
        array.shape = (1, array.size)
    assert rm.temporal_pool(batch, "last").tolist() == [2, 5]


def test_rows_of_more_steps_than_can_be_counted_are_refused():
    huge = rm.Ragged(np.empty((2**62, 0), "u1"), [0] * 4, [2**62] * 4)
    for use in (lambda: huge.n_steps, huge.compact, lambda: rm.masking(huge)):
        with pytest.raises(rm.InvalidInputError, match=r"more than 2\*\*63 steps"):
            use()


@pytest.mark.parametrize("said", [{"value": 0}, {"lengths": [2]}, {"mask": np.ones((1, 3), bool)}])
def test_a_padded_mask_is_never_dropped(said):
    padded = rm.Padded(np.array([[1, 2, 0]]), np.array([[True, False, False]]))
    with pytest.raises(rm.InvalidInputError, match=r"mask"):
        rm.Ragged.from_padded(padded, **said)
    assert rm.Ragged.from_padded(padded).lengths.tolist() == [1]


def test_objects_do_not_come_in_through_operators():
    with pytest.raises(TypeError, match=r"numpy\.multiply has dtype object"):
        rm.Ragged.from_rows([[1, 2], [3]]) * Fraction(1, 2)


def test_padding_reads_a_changing_collection_once():
    class Crops:
        def __init__(self):
            self.reads = 0

        def __len__(self):
            return 2

        def __iter__(self):
            self.reads += 1
            return iter([[1], [2, 3]] if self.reads == 1 else [[1, 2], [3]])

    assert rm.pad_sequences(Crops()).tolist() == [[0, 1], [2, 3]]


def test_a_null_struct_of_one_list_is_a_null_row():
    lists = pa.array([[1], [2]])
    structs = pa.StructArray.from_arrays([lists], ["x"], mask=pa.array([False, True]))
    assert rm.Ragged.from_arrow(structs).lengths.tolist() == [1, 0]
    with pytest.raises(rm.InvalidInputError, match="row 1 is null"):
        rm.Ragged.from_arrow(structs, nulls="error")


def test_empty_rows_leave_a_batch_compact():
    batch = rm.Ragged.from_arrow(pa.array([[], [1, 2], [], [3], [], None]))
    assert batch.is_compact
    assert batch.offsets.tolist() == [0, 0, 2, 2, 3, 3, 3]


def test_a_list_is_no_place_to_write_to():
    batch = rm.Ragged.from_rows([[1, 2]])
    with pytest.raises(TypeError, match="out's values must be an array; got list"):
        batch.to_padded(out=([0, 0], [False, False]))


def test_ops_on_the_parts_of_a_masked_split_copy_no_more_than_the_part():
    padded = rm.Padded(np.ones((50, 4000), np.float32), np.ones((50, 4000), bool))
    part = rm.temporal_split(padded, 1000)[500]
    rows = rm.Ragged.from_padded(part)
    assert np.shares_memory(rows.values, padded.values)
    assert rm.temporal_pool(part, "sum").tolist() == [4.0] * 50


def test_a_loop_begun_before_a_fork_says_so_in_the_child(tmp_path):
    pq.write_table(pa.table({"ids": [[1]] * 40}), tmp_path / "f", row_group_size=2)
    batches = iter(rm.stream(tmp_path / "f").batch(2))
    next(batches)
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python's, and JAX's if it is loaded, on fork beside threads
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            next(batches)
        except rm.StreamError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"began before a fork" in os.read(read, 200)
    assert len(list(batches)) == 19
