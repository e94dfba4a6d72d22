"""What a Keras model is fed: a batch's columns as dense arrays, and what their numbers weigh."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ragmask.arrays.protocol import Bools
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.streaming.arrange import Rounding
from ragmask.streaming.batch import Batch
from ragmask.streaming.columns import describe, take


class Feed:
    """Which columns a model's inputs, outputs and weights are, and how they become arrays."""

    def __init__(self, x: Any, y: Any, sample_weight: Any, value: Any, masks: bool) -> None:
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.value, self.masks = value, masks
        self.inputs, self.outputs, self.weights = (
            _names(role, given)
            for role, given in (("x", x), ("y", y), ("sample_weight", sample_weight))
        )
        if not self.inputs:
            raise InvalidInputError("x names no column: StreamDataset(stream, x=…, y=…)")
        if masks and not isinstance(x, Mapping):
            self.x = {name: name for name in self.inputs}
        self._check_weights()
        self._check_values()
        self._check_masks()

    @property
    def columns(self) -> list[str]:
        """The names of all columns that are read."""
        return list(dict.fromkeys([*self.inputs, *self.outputs, *self.weights]))

    def check(self, batch: Batch) -> None:
        """Raise where a batch, of no rows perhaps, lacks a column or has one that is no use.

        One message tells of all of them.
        """
        wrong = []
        for name in self.columns:
            try:
                _numbers(name, batch)
            except (InvalidInputError, UnsupportedTypeError) as error:
                wrong.append(str(error))
        if wrong:
            raise InvalidInputError("\n".join(wrong))
        for name, weight in zip(self.outputs, self.weights, strict=False):
            if _has_steps(_numbers(weight, batch)) and not _has_steps(_numbers(name, batch)):
                raise InvalidInputError(
                    f"sample_weight {weight!r} has a weight a step, and y {name!r} a value a row"
                )

    def __call__(self, batch: Batch, rounding: Rounding) -> tuple[Any, ...]:
        """(x,), (x, y) or (x, y, weights), padded to the rounded shape.

        Rows that only pad repeat others and weigh nothing: a row of padding alone would make NaN
        in layers that divide by what is kept, and 0 · NaN is NaN.
        """
        self.check(batch)
        rows = batch.num_rows
        if not rows:
            raise InvalidInputError("a map left a batch without a row, and Keras needs one")
        columns = {name: _numbers(name, batch) for name in self.columns}
        self._check_steps(batch, columns)
        all_rows = np.arange(rounding.shape(rows, 0)[0])
        if len(all_rows) > rows:
            columns = {name: take(column, all_rows % rows) for name, column in columns.items()}

        def dense(name: str, value: Any) -> tuple[Any, Bools | None]:
            return _dense(columns[name], value, rounding)

        x = keras.tree.map_structure(lambda name: dense(name, self._padding(name))[0], self.x)
        if self.masks:
            masks = {f"{key}_mask": dense(name, 0)[1] for key, name in self.x.items()}
            x |= {key: mask for key, mask in masks.items() if mask is not None}
        if self.y is None:
            return (x,)
        outputs = [dense(name, 0) for name in self.outputs]
        y = keras.tree.pack_sequence_as(self.y, [values for values, _ in outputs])
        if (
            not self.weights
            and rounding.rows_multiple == 1
            and not any(mask is not None for _, mask in outputs)
        ):
            return x, y
        weights = []
        for position, (_, mask) in enumerate(outputs):
            given = dense(self.weights[position], 0)[0] if self.weights else None
            weights.append(_weight(given, mask, all_rows < rows))
        return x, y, keras.tree.pack_sequence_as(self.y, weights)

    def _padding(self, name: str) -> Any:
        return self.value.get(name, 0) if isinstance(self.value, Mapping) else self.value

    def _check_weights(self) -> None:
        """Give each output its weights."""
        if self.weights and not self.outputs:
            raise InvalidInputError("sample_weight weighs y, and y is not given")
        if isinstance(self.sample_weight, str):
            self.weights *= len(self.outputs)
        elif self.weights:
            try:
                keras.tree.assert_same_structure(self.y, self.sample_weight)
            except (TypeError, ValueError) as error:
                raise InvalidInputError(
                    "sample_weight is one column, or is arranged as y is: y is "
                    f"{self.y!r}, and sample_weight {self.sample_weight!r}"
                ) from error

    def _check_values(self) -> None:
        if isinstance(self.value, Mapping):
            for name in self.value:
                if name not in self.inputs:
                    raise InvalidInputError(f"value names {name!r}, which is not a column of x")

    def _check_masks(self) -> None:
        for key, name in self.x.items() if self.masks else ():
            if not isinstance(key, str) or not isinstance(name, str):
                raise InvalidInputError(
                    f"masks=True needs inputs by name, each of one column; got {key!r}: {name!r}"
                )
            if key.removesuffix("_mask") != key and key.removesuffix("_mask") in self.x:
                raise InvalidInputError(f"{key!r} is the name of the mask of another input")

    def _check_steps(self, batch: Batch, columns: Mapping[str, Any]) -> None:
        """Raise, naming the row, where no input has the steps of an output, or of its weights."""
        inputs = [name for name in self.inputs if _has_steps(columns[name])]
        for name in filter(lambda one: _has_steps(columns[one]), self.outputs):
            if not inputs:
                raise InvalidInputError(
                    f"y {name!r} has a value a step, and no column of x has steps: make an array "
                    "of it in a map"
                )
            if not any(_are_alike(columns[name], columns[one]) for one in inputs):
                raise _differs(f"y {name!r}", name, f"x {inputs[0]!r}", inputs[0], columns, batch)
        for name, weight in zip(self.outputs, self.weights, strict=False):
            if _has_steps(columns[weight]) and not _are_alike(columns[weight], columns[name]):
                told = f"sample_weight {weight!r}", weight, f"y {name!r}", name
                raise _differs(*told, columns, batch)


def _names(role: str, given: Any) -> list[str]:
    """The columns that x, y or sample_weight names, in Keras's order."""
    if given is None:
        return []
    names = keras.tree.flatten(given)
    for name in names:
        if not isinstance(name, str):
            raise UnsupportedTypeError(
                f"{role} is the name of a column, or a list or dict of names; got {name!r}"
            )
    return list(names)


def _numbers(name: str, batch: Batch) -> Any:
    """A column as a Ragged, or as an array with an entry a row."""
    try:
        column = batch[name]
    except KeyError as error:
        raise InvalidInputError(str(error.args[0])) from error
    if isinstance(column, Padded):
        column = Ragged.from_padded(column)
    if isinstance(column, dict):
        fields = ", ".join(f"{name}.{field}" for field in column)
        raise InvalidInputError(f"column {name!r} has fields; name one of them: {fields}")
    if isinstance(column, np.ma.MaskedArray):
        if np.ma.is_masked(column):
            row = int(np.argmax(np.ma.getmaskarray(column).reshape(len(column), -1).any(axis=1)))
            raise InvalidInputError(
                f"column {name!r} has nulls, the first in row {_row_id(batch, row)}: leave those "
                "rows out by a filter, or fill them in a map"
            )
        column = column.data
    if isinstance(column, Ragged | np.ndarray) and column.dtype.kind in "biuf":
        return column
    raise UnsupportedTypeError(
        f"column {name!r} is no use to Keras: it is {describe(column)}, and numbers or lists of "
        "numbers are needed; a map makes some of it (rm.Vocabulary makes ids of strings)"
    )


def _row_id(batch: Batch, row: int) -> int:
    """A row's number in the data set, where it is known."""
    ids = batch.row_ids
    return row if ids is None or len(ids) != batch.num_rows else int(ids[row])


def _has_steps(column: Any) -> bool:
    return isinstance(column, Ragged)


def _are_alike(one: Ragged, other: Ragged) -> bool:
    return np.array_equal(one.lengths, other.lengths)


def _differs(
    what: str, name: str, from_what: str, other: str, columns: Mapping[str, Any], batch: Batch
) -> InvalidInputError:
    steps, others = columns[name].lengths, columns[other].lengths
    row = int(np.argmax(steps != others))
    return InvalidInputError(
        f"{what} and {from_what} differ in row {_row_id(batch, row)}: {steps[row]} and "
        f"{others[row]} steps; each step needs one of both"
    )


def _dense(column: Any, value: Any, rounding: Rounding) -> tuple[Any, Bools | None]:
    """A column's numbers, and which of its steps count; None where it has no steps."""
    if not _has_steps(column):
        return column, None
    _, width = rounding.shape(len(column), column.max_length)
    padded = column.to_padded(width, value=value)
    if padded.mask is None:
        return padded.values, np.ones(padded.shape[:2], np.bool_)
    if column.mask is not None:  # masked steps hold numbers too, and layers look at the values
        padded.values[~padded.mask] = value
    return padded.values, padded.mask


def _weight(given: Any, mask: Bools | None, real: Bools) -> Any:
    """What each row, or step, of an output weighs; 0 where it only pads."""
    dtype = keras.config.floatx()
    rows = real.astype(dtype)
    if given is not None and given.ndim == 1:
        rows = rows * given.astype(dtype)
    if mask is None:
        return rows
    steps = mask * rows[:, None]
    return steps * given.astype(dtype) if given is not None and given.ndim == 2 else steps
