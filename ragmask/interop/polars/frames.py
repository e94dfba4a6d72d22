"""The methods of frames."""

import os
from collections.abc import Iterable, Mapping

import polars as pl

from ragmask.interop.columns import ModelColumn
from ragmask.interop.polars.lists import ExprMethods
from ragmask.layers.model import Model
from ragmask.tables import TableModel


@pl.api.register_lazyframe_namespace("ragmask")
class LazyFrameMethods:
    """Methods of a lazy frame."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame

    def apply(
        self,
        model: Model | str | os.PathLike[str],
        keep: Iterable[str] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> pl.LazyFrame:
        """The columns to keep, and a column for each output of a model.

        >>> import polars as pl
        >>> import ragmask as rm
        >>> import ragmask.interop.polars
        >>> x = rm.layers.Input((None,), name="x")
        >>> model = rm.layers.Model(x, rm.layers.TemporalSoftmax(name="soft")(x))
        >>> frame = pl.LazyFrame({"id": [7, 8], "x": [[1.0, 1.0], [3.0]]})
        >>> frame.ragmask.apply(model, keep=["id"]).collect().rows()
        [(7, [0.5, 0.5]), (8, [1.0])]

        model : a Model, or the folder of a saved one.
        keep : columns that are handed through, before those of the model.
        inputs : {input: column}, of inputs that read a column of another name than their own.

        It runs in the streaming engine. Raises InvalidInputError, at once, that tells every input
        whose column is not there or does not fit.
        """
        given = TableModel(model, keep, inputs)
        schema = self._frame.collect_schema()
        given.check(pl.DataFrame(schema=schema).to_arrow().schema)
        read = TableModel(given.model, inputs=inputs)
        run, outputs = ModelColumn(read), read.output_names
        structs = ExprMethods(pl.struct(read.columns(schema.names())))
        made = structs._map("apply", run, by_row=run.by_row).alias(outputs[0])
        frame = self._frame.select(*given.keep, made)
        return frame if len(outputs) == 1 else frame.unnest(outputs[0])


@pl.api.register_dataframe_namespace("ragmask")
class DataFrameMethods:
    """Methods of a frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def apply(
        self,
        model: Model | str | os.PathLike[str],
        keep: Iterable[str] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> pl.DataFrame:
        """The columns to keep, and a column for each output of a model, as that of a LazyFrame."""
        return LazyFrameMethods(self._frame.lazy()).apply(model, keep, inputs).collect()
