"""Functions of columns of lists, beside the ops: what polars, pandas and DuckDB all call.

Each takes a column, anything Arrow (an array of lists, a Series), and gives one as long, of the
same library. A null list gives null. The type that is given follows from the column's type alone,
never from its rows: an engine may ask for it before there are any, and deal out rows as it likes.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask import arrow
from ragmask.arrow.types import has_fixed_size, with_items, words_type
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.temporal import TemporalSplit
from ragmask.ops.embeddings import embedding
from ragmask.ops.gru import GRUResult, gru
from ragmask.ops.input import Input, arrow_rows
from ragmask.ops.lstm import LSTMResult, lstm
from ragmask.ops.pool import How, temporal_pool
from ragmask.ops.rnn import RNNResult, rnn
from ragmask.ops.sort import temporal_argsort, temporal_topk
from ragmask.ops.split import temporal_split
from ragmask.rows.checks import Side, check_count, check_side
from ragmask.rows.padding import padded_width, to_padded
from ragmask.rows.rows import Rows, host_rows
from ragmask.tables import TableModel

Give = Literal["outputs", "h", "c"]
GIVEN: dict[Any, tuple[Any, ...]] = {
    lstm: LSTMResult._fields,
    gru: GRUResult._fields,
    rnn: RNNResult._fields,
}


def chunked(x: Any) -> Any:
    """The Arrow array, plain or chunked, that a column is or offers."""
    if isinstance(x, pa.Array | pa.ChunkedArray):
        return x
    try:
        return pa.chunked_array(x)
    except pa.ArrowException as error:  # Python's objects of several kinds
        raise InvalidInputError(f"the column cannot be read as Arrow's lists: {error}") from error


def pool(x: Any, *, how: How, mask: Any = None) -> Any:
    """`rm.temporal_pool`. Of lists of lists it gives lists, of no number where no step is kept."""
    lists = chunked(x)
    pooled = temporal_pool(lists, how, mask=mask)
    if how == "count" or not is_list_of_lists(lists.type):
        return _like(pooled, x)
    rows = Input.of(lists, mask).rows
    some = rows.lengths > 0
    if rows.mask is not None:
        some = temporal_pool(Ragged._of(Rows(rows.mask, rows.layout)), "max")
    if rows.form.valid is not None:
        some = some | ~rows.form.valid
    made = arrow.to_type(pooled, pa.large_list(pooled.type.value_type))
    return _like(pc.if_else(pa.array(some), made, pa.scalar([], made.type)), x)


def is_list_of_lists(type_: Any) -> bool:
    """Whether steps are lists, whose size only rows tell."""
    return arrow.is_list(type_) and arrow.is_list(arrow.item_type(type_))


def embed(x: Any, *, table: Any, mask_zero: bool, mask: Any = None) -> Any:
    """`rm.embedding`, of lists that are of integers even where they are empty."""
    type_ = chunked(x).type
    if arrow.kind_of(type_) in ("ragged", "vector"):
        item = words_type(arrow.item_type(type_))
        if not (pa.types.is_integer(item) or pa.types.is_null(item)):
            raise UnsupportedTypeError(f"ids must be integers, one a step; got {type_}")
    return embedding(x, table, mask_zero=mask_zero, mask=mask)


def recurrent(
    x: Any, *, op: Any, weights: Any, give: Give, mask: Any = None, **options: Any
) -> Any:
    """`rm.lstm`, `rm.gru` or `rm.rnn`: its outputs, or one of its last states."""
    if give not in GIVEN[op]:
        words = ", ".join(map(repr, GIVEN[op]))
        raise InvalidInputError(f"give must be one of {words}; got {give!r}")
    lists = chunked(x)
    features = getattr(weights, "features", None)
    if is_list_of_lists(lists.type) and features is not None:
        lists = arrow.as_vectors(arrow.arrow_array(lists), features)
    result = op(lists, weights, mask=mask, outputs=give == "outputs", **options)
    return _like(getattr(result, give), x)


def lengths(x: Any) -> Any:
    """int64: the steps of each list, null ones included.

    >>> import pyarrow as pa
    >>> lengths(pa.array([[1, None], None, []])).to_pylist()
    [2, None, 0]
    """
    rows = arrow_rows(x, "x")
    return _like(arrow.write_items(np.array(rows.lengths), rows.form.valid), x)


def truncate(x: Any, *, maxlen: int, side: Side) -> Any:
    """Lists of at most `maxlen` steps; `side` is the end that is cut off.

    >>> import pyarrow as pa
    >>> truncate(pa.array([[1, 2, 3], None]), maxlen=2, side="pre").to_pylist()
    [[2, 3], None]
    """
    check_side("side", side)
    rows = arrow_rows(_lists(x), "x").truncate(check_count("maxlen", maxlen), side)
    return _like(arrow.write_rows(rows), x)


def split(x: Any, *, sections: int, width: int | None) -> Any:
    """`rm.temporal_split`, as a struct with a field for each section.

    >>> import pyarrow as pa
    >>> split(pa.array([[1, 2, 3], None]), sections=2, width=4).to_pylist()
    [{'section_0': [1, 2], 'section_1': [3]}, None]
    """
    lists = _lists(x)
    parts = temporal_split(lists, sections, width=width)
    names = [f"section_{number}" for number in range(len(parts))]
    return _like(_struct(lists, parts, names), x)


def argsort(x: Any, *, descending: bool, mask: Any = None) -> Any:
    """`rm.temporal_argsort`.

    >>> import pyarrow as pa
    >>> argsort(pa.array([[1, 3, 2], None]), descending=False).to_pylist()
    [[0, 2, 1], None]
    """
    lists = chunked(x)
    steps = temporal_argsort(lists, descending=descending, mask=mask)
    return _like(_numbers_like(steps, lists.type), x)


def topk(x: Any, *, k: int, mask: Any = None) -> Any:
    """`rm.temporal_topk`, as a struct of values and steps.

    >>> import pyarrow as pa
    >>> topk(pa.array([[1, 3, 2], None]), k=2).to_pylist()
    [{'values': [3, 2], 'steps': [1, 2]}, None]
    """
    lists = _lists(x)
    values, steps = temporal_topk(lists, k, mask=mask)
    fields = [values, _numbers_like(steps, lists.type)]
    return _like(_struct(lists, fields, ["values", "steps"]), x)


def _numbers_like(steps: Any, type_: Any) -> Any:
    """Numbers of steps, in lists where those were lists: their size only rows tell."""
    nested = pa.large_list(pa.large_list(pa.int64()))
    return arrow.to_type(steps, nested) if is_list_of_lists(type_) else steps


def _struct(lists: Any, fields: Any, names: list[str]) -> Any:
    """Structs of arrays that were made of lists; null where those are."""
    nulls = pc.is_null(arrow.one_array(lists)) if lists.null_count else None
    return pa.StructArray.from_arrays(fields, names, mask=nulls)


def pad(
    x: Any,
    *,
    maxlen: int | None,
    padding: Side,
    truncating: Side,
    value: Any,
    multiple_of: int | None,
) -> Any:
    """Lists of one length, of fixed size where `maxlen` says which. A value of None pads nulls.

    >>> import pyarrow as pa
    >>> how = {"padding": "post", "truncating": "post", "value": 0, "multiple_of": None}
    >>> pad(pa.array([[1, None, 3], None, [4]]), maxlen=4, **how).to_pylist()
    [[1, None, 3, 0], None, [4, 0, 0, 0]]
    """
    rows = arrow_rows(x, "x")
    if maxlen is not None:
        check_count("maxlen", maxlen, 1)  # polars has no arrays of size 0 that may be null
    options = maxlen, padding, truncating
    values, kept = to_padded(rows, *options, 0 if value is None else value, multiple_of, None, None)
    mask: Any = kept
    if value is not None:  # nulls in the rows stay, and padding is none
        mask = None
        if rows.mask is not None:
            of_mask = Rows(rows.mask, rows.layout)
            mask, _ = to_padded(of_mask, *options, True, multiple_of, None, None)
    width = padded_width(rows, maxlen, multiple_of)
    n = len(rows)
    starts, full = np.arange(n, dtype=np.int64) * width, np.full(n, width, np.int64)
    flat = values.reshape(n * width, *rows.item_shape)
    kept = None if mask is None else mask.reshape(n * width)
    lists = arrow.write_rows(host_rows(flat, starts, full, kept, rows.form))
    item = arrow.item_type(lists.type)
    type_ = pa.large_list(item) if maxlen is None else pa.list_(item, width)
    return _like(arrow.to_type(lists, type_), x)


class ModelColumn:
    """A model as a function of a column: of its input, or of structs with a field for each."""

    def __init__(self, model: TableModel) -> None:
        self.model = model
        self._checked: Any = None

    @property
    def by_row(self) -> bool:
        """Whether each row's outputs depend on that row alone, and not on the longest of all."""
        layers = self.model.model.layers
        return not any(isinstance(one, TemporalSplit) and one.width is None for one in layers)

    def __call__(self, x: Any) -> Any:
        array = arrow.one_array(chunked(x))
        table = self._table(array)
        if self._checked != table.schema:
            self.model.check(table.schema)
            self._checked = table.schema
        made = self.model(table)
        if made.num_columns == 1:
            outputs = arrow.one_array(made.column(0))
            if array.null_count:
                outputs = pc.if_else(pc.is_valid(array), outputs, pa.scalar(None, outputs.type))
            return _like(outputs, x)
        nulls = pc.is_null(array) if array.null_count else None
        columns = [arrow.one_array(column) for column in made.columns]
        return _like(pa.StructArray.from_arrays(columns, made.column_names, mask=nulls), x)

    def _table(self, array: Any) -> Any:
        """The columns that the model reads."""
        names = list(self.model.inputs.values())
        if pa.types.is_struct(array.type):
            fields = [array.type.field(place).name for place in range(array.type.num_fields)]
            return pa.table(array.flatten(), fields)  # which carries a null struct over to them
        if len(names) > 1:
            raise InvalidInputError(
                f"the model has the inputs {', '.join(map(repr, names))}: pass a column of structs "
                f"with these fields; got {array.type}"
            )
        return pa.table([array], names)


def _lists(x: Any) -> Any:
    """The column as lists that may differ in length."""
    array = chunked(x)
    if not has_fixed_size(array.type):
        return array
    field = arrow.storable(array.type).value_field
    return arrow.to_type(array, with_items(pa.large_list(pa.null()), field))


def _like(array: Any, x: Any) -> Any:
    return arrow.as_kind_of(array, x)
