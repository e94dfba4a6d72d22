"""A model as a step of a DataFrame."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructField, StructType

from ragmask import arrow
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.spark.ship import broadcast, check_classic
from ragmask.interop.spark.types import in_arrow, in_spark, known
from ragmask.layers.model import Model
from ragmask.tables import TableModel


def apply(
    df: DataFrame,
    model: Model | str | os.PathLike[str],
    keep: Iterable[str] = (),
    inputs: Mapping[str, str] | None = None,
) -> DataFrame:
    """The DataFrame of a model's outputs, by `mapInArrow`; nothing runs until one asks for it.

    >>> import ragmask as rm
    >>> from pyspark.sql import SparkSession
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.interop.spark import apply
    >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
    >>> df = spark.read.parquet(str(JAPANESE_VOWELS))
    >>> frames = rm.layers.Input((None, 12), name="frames")
    >>> model = rm.layers.Model(frames, {"mean": rm.layers.TemporalPool()(frames)})
    >>> apply(df, model, keep=["speaker"])
    DataFrame[speaker: tinyint, mean: array<float>]

    df : with a column for each input: numbers, arrays of them, arrays of arrays where steps are
        vectors, and strings, or arrays of them, where the model has a vocabulary. A null array is
        an empty row, as in `ragmask apply`. Other columns are not read.
    model : a Model, or the folder of a saved one. It is sent to the workers, which need no folder.
    keep : columns that are handed through as they are, before the model's outputs.
    inputs : {input: column}, of inputs that read a column of another name than their own. A field
        of structs is "column.field".

    Outputs are arrays where they are vectors or have steps. Numbers that Spark lacks become wider
    ones: float16 a float, unsigned ones the next larger with a sign, uint64 a decimal. A worker
    holds spark.sql.execution.arrow.maxRecordsPerBatch rows at a time.

    Raises InvalidInputError or UnsupportedTypeError, before anything runs, where columns do not
    fit: the message tells all that is wrong with the inputs. What is wrong with rows is found when
    they are read, and then part of Spark's own error.
    """
    if not isinstance(df, DataFrame):
        raise UnsupportedTypeError(f"apply takes a DataFrame of Spark; got {type(df).__name__}")
    check_classic(df.sparkSession)
    whole = TableModel(model, keep, inputs)  # the names of what it makes are checked here
    fields = list(df.schema.fields)
    names = [field.name for field in fields]
    wanted = whole.columns(names)
    for name in wanted:
        if names.count(name) > 1:
            raise InvalidInputError(f"{names.count(name)} columns are named {name!r}: rename some")
    types = {
        field.name: in_arrow(field.name, field.dataType) for field in fields if field.name in wanted
    }
    bare = TableModel(whole.model, inputs=inputs)
    made = bare.check(pa.schema([(name, types[name]) for name in bare.columns(names)]))
    schema = StructType(
        [fields[names.index(name)] for name in whole.keep]
        + [StructField(field.name, in_spark(field.name, field.type)) for field in made]
    )
    step = _Step(
        broadcast(df.sparkSession, bare),
        wanted,
        whole.keep,
        {field.name: known(field.type) for field in made},
    )
    # by number: a name may have dots, or differ from another in its case alone
    numbered = df.toDF(*(f"_{number}" for number in range(len(names))))
    narrow = numbered.select([f"_{names.index(name)}" for name in wanted])
    with warnings.catch_warnings():
        # of no matter here: pyspark asks for pandas, and then hands over Arrow's batches
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
        return narrow.mapInArrow(step, schema)


class _Step:
    """What a worker makes of Arrow's batches."""

    def __init__(
        self, model: Any, names: Sequence[str], keep: Sequence[str], types: Mapping[str, Any]
    ) -> None:
        self._model = model
        self._names = list(names)
        self._keep = list(keep)
        self._types = dict(types)

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        model = self._model.value
        for batch in batches:
            given = pa.RecordBatch.from_arrays(batch.columns, names=self._names)
            made = model(given)
            # kept columns are no concern of the model's, and pass beside it
            columns = {name: given.column(name) for name in self._keep}
            for name, type_ in self._types.items():
                columns[name] = arrow.to_type(arrow.one_array(made[name]), type_)
            yield pa.RecordBatch.from_pydict(columns)
