"""A model over the blocks of a ray.data.Dataset."""

import os
import pickle
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import ray.data

import ragmask
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.ray.tables import arrow_table
from ragmask.interop.ray.workers import check_version
from ragmask.layers.model import Model
from ragmask.rows.checks import check_count
from ragmask.streaming.sink import alike
from ragmask.tables import TableModel

_MOST_OPEN = 4  # models that a worker keeps, of all those it was sent


class Apply:
    """A model as `dataset.map_batches(…, batch_format="pyarrow")` takes it.

    >>> import pyarrow as pa
    >>> import ragmask as rm
    >>> from ragmask.interop.ray import Apply
    >>> x = rm.layers.Input((None,), name="x")
    >>> model = rm.layers.Model(x, rm.layers.TemporalSoftmax(name="soft")(x))
    >>> Apply(model, keep=["id"])(pa.table({"id": [7], "x": [[1.0, 1.0]]})).to_pydict()
    {'id': [7], 'soft': [[0.5, 0.5]]}

    An instance runs in tasks, and the class in actors, here of a folder that all nodes see:

        dataset.map_batches(Apply(model, ["id"]), batch_format="pyarrow")
        dataset.map_batches(
            Apply, fn_constructor_args=["model", ["id"]], batch_format="pyarrow", concurrency=4
        )

    Either way a worker opens the model once, however many blocks it is given, and Ray joins the
    tasks that read with either, so that none waits for a CPU. With batch_size= it does not join
    them: leave a CPU to the tasks that read, then. `apply` looks at the columns first.

    model : a Model, or the folder of a saved one.
    keep : columns that are handed through, before those of the model.
    inputs : {input: column}, of inputs that read a column of another name than their own.
    rows : it is called on a block, and computes so many of its rows at a time.

    Vectors, one a row, are lists of a fixed size; ragged outputs are lists. Raises
    InvalidInputError for names that are not the model's, for columns that do not fit it, and in a
    worker that has another version of ragmask; UnsupportedTypeError for what is no Arrow table.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        keep: Iterable[str] = (),
        inputs: Mapping[str, str] | None = None,
        *,
        rows: int = 1024,
    ) -> None:
        self._rows = check_count("rows", rows, 1)
        self._model: TableModel | None = TableModel(model, keep, inputs)
        self._sent = ragmask.__version__, uuid.uuid4().hex, b""

    @property
    def output_names(self) -> list[str]:
        """The columns of the tables it makes."""
        return self._opened().output_names

    def check(self, schema: Any) -> Any:
        """The pyarrow schema of what it makes of tables of this one.

        Raises InvalidInputError that tells every input whose column does not fit.
        """
        return self._opened().check(schema)

    def __call__(self, batch: Any) -> Any:
        return pa.concat_tables(self.tables(batch))

    def tables(self, batch: Any) -> Iterator[Any]:
        """What `__call__` puts together."""
        model, table = self._opened(), arrow_table(batch, "Apply")
        firsts = range(0, max(1, table.num_rows), self._rows)
        yield from alike(model(table.slice(first, self._rows)) for first in firsts)

    def _opened(self) -> TableModel:
        if self._model is None:
            check_version(self._sent[0])  # here, where Ray reports an error as it is
            self._model = _opened(*self._sent[1:])
        return self._model

    def __reduce__(self) -> Any:
        version, token, pickled = self._sent
        return _received, (self._rows, version, token, pickled or pickle.dumps(self._model))


def _received(rows: int, *sent: Any) -> Apply:
    """An Apply that nobody has called yet."""
    made = Apply.__new__(Apply)
    made._rows, made._model, made._sent = rows, None, sent
    return made


_open: dict[str, TableModel] = {}


def _opened(token: str, pickled: bytes) -> TableModel:
    """The model that was sent: every task is sent it, and finds what the last one packed."""
    if token not in _open:
        if len(_open) >= _MOST_OPEN:
            del _open[next(iter(_open))]
        _open[token] = pickle.loads(pickled)
    return _open[token]


def apply(
    dataset: ray.data.Dataset,
    model: Model | str | os.PathLike[str],
    keep: Iterable[str] = (),
    inputs: Mapping[str, str] | None = None,
    *,
    rows: int = 1024,
    workers: int | None = None,
) -> ray.data.Dataset:
    """The dataset that a model makes of another, once its columns are known to fit.

        apply(read("in", ["id", "tokens"]), "model", keep=["id"]).write_parquet("out")

    model, keep, inputs, rows : as for `Apply`, which runs in the tasks that read.
    workers : the most tasks at a time; by default Ray's choice.

    Raises InvalidInputError that tells all that does not fit, before a row is read.
    """
    if not isinstance(dataset, ray.data.Dataset):
        raise UnsupportedTypeError(f"apply takes a Dataset of Ray; got {type(dataset).__name__}")
    made = Apply(model, keep, inputs, rows=rows)
    schema = dataset.schema()
    if schema is not None:
        if not isinstance(schema.base_schema, pa.Schema):
            raise UnsupportedTypeError(
                "the dataset's blocks are not Arrow's: read it by ragmask.interop.ray.read, or "
                'pass batch_format="pyarrow" to the map_batches before'
            )
        made.check(schema.base_schema)
    return dataset.map_batches(
        made.tables,  # one by one: Ray ends a block where it is large enough
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,  # a model writes to none of its inputs
        concurrency=None if workers is None else check_count("workers", workers, 1),
    )
