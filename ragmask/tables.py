"""A model over tables: which columns it reads, whether they fit, and the table it makes of them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

import ragmask
from ragmask import arrow
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.layers.inputs import check_entry
from ragmask.layers.model import Model, load_model
from ragmask.streaming.batch import Batch, derived


class TableModel:
    """A model as a function from tables to tables, for engines that hand out Arrow's.

    >>> import pyarrow as pa
    >>> import ragmask as rm
    >>> from ragmask.tables import TableModel
    >>> x = rm.layers.Input((None,), name="x")
    >>> model = TableModel(rm.layers.Model(x, rm.layers.TemporalSoftmax(name="soft")(x)), ["id"])
    >>> model(pa.table({"id": [7, 8], "x": [[1.0, 1.0], [3.0]]})).to_pydict()
    {'id': [7, 8], 'soft': [[0.5, 0.5], [1.0]]}

    model : a Model, or the folder of a saved one.
    keep : columns that are handed through, before those of the model.
    inputs : {input: column}, of inputs that read a column of another name than their own. A field
        of structs is "column.field".

    It can be pickled, with its weights, for processes that run the same version of ragmask.
    Raises InvalidInputError for names that are not the model's, or that would be there twice.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        keep: Iterable[str] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        self.model = _loaded(model)
        _check_stateless(self.model)
        self.keep = list(dict.fromkeys([keep] if isinstance(keep, str) else keep))
        names = self.model._entry_names()
        for name in inputs or {}:
            if name not in names:
                raise InvalidInputError(
                    f"the model has no input {name!r}; it has {', '.join(map(repr, names))}"
                )
        self.inputs = {name: name for name in names} | dict(inputs or {})
        self._check_names()
        self._entries = dict(zip(names, self.model.inputs, strict=True))

    @property
    def output_names(self) -> list[str]:
        """The columns of the tables it makes."""
        return [*self.keep, *self.model.output_names]

    def columns(self, there: Sequence[str]) -> list[str]:
        """The columns that it reads, of a table that has these.

        Raises InvalidInputError that names all of those that are missing.
        """
        found, missing = [], []
        for entry, column in self.inputs.items():
            name = _top(column, there)
            found.append(name)
            if name not in there:
                missing.append(f"no column {name!r}, which is the model's input {entry!r}")
        found += self.keep
        told = bool(missing)
        missing += [f"no column {name!r}" for name in self.keep if name not in there]
        if missing:
            hint = ": say which column an input reads, INPUT=COLUMN" if told else ""
            raise InvalidInputError(
                f"there is {', and '.join(missing)}; there are {', '.join(there)}{hint}"
            )
        return list(dict.fromkeys(found))

    def check(self, schema: Any) -> Any:
        """The schema of what it makes of tables of this one.

        Raises InvalidInputError that tells every input whose column does not fit.
        """
        batch = Batch.from_arrow(schema.empty_table().select(self.columns(schema.names)))
        wrong: list[str] = []
        for name, entry in self._entries.items():
            try:
                given = self._input(name, batch)
                check_entry(self.model.name, name, entry, given)
                _check_dtype(name, self.inputs[name], entry.dtype, given.dtype)
            except RagmaskError as error:
                wrong.append(str(error))
        if wrong:
            raise InvalidInputError("\n".join(wrong))
        return self(batch).schema

    def __call__(self, given: Any) -> Any:
        """The pyarrow Table it makes of a Batch, or of anything that is a table in Arrow.

        An error says in which rows of the data set it is, where the batch knows.
        """
        if isinstance(given, Batch):
            batch = given
        else:
            table = pa.table(given)
            batch = Batch.from_arrow(table.select(self.columns(table.column_names)))
        try:
            return self._compute(batch)
        except RagmaskError as error:
            rows = batch.row_ids
            if rows is not None and rows.size:
                error.add_note(f"in rows {rows[0]:,}–{rows[-1]:,} of the data set")
            raise

    def _compute(self, batch: Batch) -> Any:
        outputs = self.model({name: self._input(name, batch) for name in self.inputs})
        if isinstance(outputs, dict):
            outputs = list(outputs.values())
        elif not isinstance(outputs, list | tuple):
            outputs = [outputs]
        kept = {name: batch[name] for name in self.keep}
        named = dict(zip(self.model.output_names, map(_column, outputs), strict=True))
        return derived({**kept, **named}, batch).to_arrow()

    def _check_names(self) -> None:
        """Raise where two columns of the output would bear one name."""
        names = self.model.output_names
        for name in self.keep:
            if name in names:
                raise InvalidInputError(
                    f"column {name!r} cannot be kept: an output of the model has that name"
                )
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(
                    f"{names.count(name)} outputs of the model are named {name!r}"
                )

    def _input(self, name: str, batch: Batch) -> Any:
        """A column as the model takes it.

        Strings become ids, lists vectors where the input has no time, and numbers steps of one
        where its steps are.
        """
        column = self.inputs[name]
        try:
            given = batch[column]
        except KeyError as error:
            raise InvalidInputError(f"input {name!r}: {error.args[0]}") from error
        if isinstance(given, dict):
            fields = ", ".join(f"{column}.{field}" for field in given)
            raise InvalidInputError(
                f"input {name!r}: column {column!r} has fields; say which: {fields}"
            )
        wanted: tuple[Any, ...] = self._entries[name].shape[1:]
        if _is_nested(given) and len(wanted) == 2 and wanted[0] is None and wanted[1]:
            # lists of vectors, of engines that know no lists of a fixed size
            with _naming(name, column):
                given = Ragged.from_arrow(arrow.as_vectors(given, wanted[1]))
        if isinstance(given, pa.Array | pa.ChunkedArray):
            vocabularies = self.model.vocabularies
            if name not in vocabularies:
                raise InvalidInputError(
                    f"input {name!r}: column {column!r} is of {given.type}; a model takes "
                    "numbers, lists of them, and strings where it was saved with a vocabulary: "
                    "model.save(path, vocabulary=…)"
                )
            with _naming(name, column):
                given = vocabularies[name].encode(given)
        if isinstance(given, np.ma.MaskedArray):
            raise InvalidInputError(f"input {name!r}: column {column!r} has nulls")
        dtype = (given.values if isinstance(given, Ragged) else given).dtype
        if dtype.kind in "mM":
            raise InvalidInputError(
                f"input {name!r}: column {column!r} holds times, {dtype}: make them numbers"
            )
        if wanted == (None, 1) and isinstance(given, Ragged) and given.item_shape == ():
            return Ragged._of(given._rows.over(given._rows.values[:, None]))
        return given if wanted[:1] in ((), (None,)) else _vectors(given, wanted, name, column)

    def __reduce__(self) -> Any:
        return _restored, (ragmask.__version__, type(self), self.model, self.keep, self.inputs)


def _loaded(model: Model | str | os.PathLike[str]) -> Model:
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    if not isinstance(model, Model):
        raise UnsupportedTypeError(
            "a model is one of ragmask.layers, or the folder of a saved one; got "
            f"{type(model).__name__}: ragmask.interop.keras.from_keras and "
            "ragmask.interop.torch.from_torch make one of others"
        )
    if not model._nodes:
        raise InvalidInputError(f"model {model.name!r} is not built: call it on a batch first")
    return model


def _check_stateless(model: Model) -> None:
    """Raise for a model whose rows would go on from those of another batch."""
    for layer in model.layers_inside:
        if getattr(layer, "stateful", False):
            raise InvalidInputError(
                f"layer {layer.name!r} is stateful: it goes on from the rows of the batch before, "
                "and a table's batches are rows of their own: make it with stateful=False"
            )


def _restored(version: str, kind: type[TableModel], *parts: Any) -> TableModel:
    if version != ragmask.__version__:
        raise InvalidInputError(
            f"a model was sent by ragmask {version} to a process that has ragmask "
            f"{ragmask.__version__}: install the same version in all of them"
        )
    return kind(*parts)


def _top(name: str, there: Sequence[str]) -> str:
    """The column of the table that holds a column or a field of its structs."""
    return name if name in there else name.partition(".")[0]


def _check_dtype(name: str, column: str, wanted: Any, given: Any) -> None:
    """Raise where an input cannot take such numbers: a batch of no rows holds none to refuse."""
    kinds = "biu" if wanted.kind in "iu" else "biuf"
    if given.kind not in kinds:
        raise InvalidInputError(
            f"input {name!r}: column {column!r} is of {given}, and the input takes {wanted}"
        )


@contextmanager
def _naming(name: str, column: str) -> Iterator[None]:
    """Say of an error which input it comes from."""
    try:
        yield
    except RagmaskError as error:
        raise type(error)(f"input {name!r}: column {column!r}: {error}") from error


def _is_nested(column: Any) -> bool:
    """Whether these are lists of lists of numbers."""
    if not isinstance(column, pa.Array | pa.ChunkedArray) or not arrow.is_list(column.type):
        return False
    item = arrow.item_type(column.type)
    return arrow.is_list(item) and arrow.kind_of(item) == "ragged"


def _vectors(given: Any, wanted: tuple[int, ...], name: str, column: str) -> Any:
    """Lists of one size as an array (rows, features)."""
    if isinstance(given, Ragged):
        fits = given.item_shape == wanted[1:] and bool(np.all(given.lengths == wanted[0]))
        fits = fits and given.mask is None
    else:
        fits = given.shape[1:] == wanted
    if not fits:
        shape = ", ".join(map(str, wanted))
        raise InvalidInputError(
            f"input {name!r}: column {column!r} has rows that are not {shape} numbers"
        )
    return given.compact().values.reshape(-1, *wanted) if isinstance(given, Ragged) else given


def _column(output: Any) -> Any:
    """Vectors, one a row, as lists of one size; anything else as a Batch takes it."""
    if not isinstance(output, np.ndarray) or output.ndim < 2:
        return output
    lists: Any = pa.array(np.ascontiguousarray(output).reshape(-1))
    for size in reversed(output.shape[1:]):
        lists = pa.FixedSizeListArray.from_arrays(lists, size)
    return lists
