"""SQL functions made of functions of columns: one for each type, and a macro that picks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import Parameter, Signature
from itertools import count
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.coerce import to_numpy
from ragmask.batches import show
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.interop import columns
from ragmask.interop.columns import ModelColumn
from ragmask.interop.duckdb.types import quoted, sql_type
from ragmask.layers.spec import Spec
from ragmask.ops.cumsum import temporal_cumsum
from ragmask.ops.flip import temporal_flip
from ragmask.ops.gru import gru
from ragmask.ops.input import arrow_rows
from ragmask.ops.lstm import lstm
from ragmask.ops.masks import masking
from ragmask.ops.pool import NUMBERED
from ragmask.ops.rnn import rnn
from ragmask.ops.softmax import temporal_softmax
from ragmask.ops.sort import temporal_sort
from ragmask.ops.split import temporal_split
from ragmask.tables import TableModel
from ragmask.weights import GRUWeights, LSTMWeights, RNNWeights

_FLOATS = [pa.list_(pa.float32()), pa.list_(pa.float64())]
_VECTORS = [pa.list_(type_) for type_ in _FLOATS]
_STEPS = [*_FLOATS, pa.list_(pa.int64())]
_NUMBERS = [*_STEPS, *_VECTORS]
_CELLS: dict[type, Any] = {LSTMWeights: lstm, GRUWeights: gru, RNNWeights: rnn}
_POSITIONAL = Parameter.POSITIONAL_ONLY
_numbers = count()  # each function of DuckDB's gets a name of its own


class Option(NamedTuple):
    """What a function takes beside its columns: one value for all rows. No default: it is needed.

    default : in SQL. some : a value to ask with which type the function gives.
    """

    name: str
    type: str
    default: str | None
    some: Any
    is_nullable: bool = False


class Function(NamedTuple):
    """A function of columns; signatures are the Arrow types of those it is there for."""

    run: Callable[..., Any]
    signatures: list[list[Any]]
    options: tuple[Option, ...] = ()


_SIDE = Option("side", "VARCHAR", "'post'", "post")
_MAXLEN = Option("maxlen", "BIGINT", None, 1)


def register(
    connection: Any,
    *,
    prefix: str = "ragmask_",
    tables: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None,
) -> None:
    """Make the ops functions of a DuckDB connection.

    >>> import duckdb
    >>> import numpy as np
    >>> from ragmask.interop.duckdb import register
    >>> connection = duckdb.connect()
    >>> register(connection, tables={"words": np.array([[0.0, 0.0], [1.0, 0.5]])})
    >>> connection.sql("select ragmask_embedding_words([1, 1]), ragmask_softmax([2, 2])").fetchall()
    [([(1.0, 0.5), (1.0, 0.5)], [0.5, 0.5])]

    Of lists of FLOAT or DOUBLE, or of lists of these for steps of several features:

        ragmask_softmax(x)
        ragmask_cumsum(x)                       also of BIGINT[]
        ragmask_pool(x, how := 'mean')          or 'sum', 'max', 'min', 'std', …
        ragmask_count(x), ragmask_argmax(x)     BIGINT: how many steps are kept; the maximum's place
        ragmask_masking(x, mask_value := 0)     nulls for the steps of that value

    and of BIGINT[] too:

        ragmask_lengths(x)
        ragmask_flip(x)
        ragmask_sort(x, descending := false)    and ragmask_argsort, the steps' numbers
        ragmask_topk(x, k)                      a struct of values and steps
        ragmask_truncate(x, maxlen, side := 'post')
        ragmask_split(x, sections, width)       a list of a list for each section
        ragmask_pad(x, maxlen, padding := 'post', truncating := 'post', value := 0)
                                                not of lists of lists; value NULL pads nulls

    tables : {name: (vocabulary, *item)}, for ragmask_embedding_NAME(ids, mask_zero := false).
    weights : {name: LSTMWeights, GRUWeights or RNNWeights}, for ragmask_lstm_NAME(x), the outputs,
        and ragmask_lstm_NAME_h(x) and _c(x), the last states; gru and rnn have no c.
    models : {name: a Model, or the folder of a saved one}, for ragmask_apply_NAME(input, …), with
        its inputs in their order. Several outputs are a struct.

    softmax, cumsum, pool, flip, sort, argsort, topk and split are there as ragmask_temporal_softmax
    too, and so on.

    Options are one value for all rows. Other numbers are cast as DuckDB does. A null list gives
    null, a null in a list is a masked step and stays null. DuckDB counts a cursor's macros as its
    own: register on each cursor. Raises InvalidInputError for names that are no words.
    """
    given = dict(_functions())
    given |= {f"embedding_{name}": _embedding(table) for name, table in (tables or {}).items()}
    for name, some in (weights or {}).items():
        given |= _recurrent(name, some)
    given |= {f"apply_{name}": _model(model) for name, model in (models or {}).items()}
    for name in given:
        if not f"{prefix}{name}".isidentifier():
            raise InvalidInputError(
                f"{prefix + name!r} cannot be the name of a function: take letters, digits and _"
            )
    _remove(connection, {prefix + name for name in given})
    for name, function in given.items():
        _create(connection, prefix + name, function)


def _functions() -> Iterator[tuple[str, Function]]:
    """Those that need no table, weights or model."""
    how = Option("how", "VARCHAR", "'mean'", "mean")
    number = Option("mask_value", "DOUBLE", "0", 0)
    pads = (
        _MAXLEN,
        Option("padding", "VARCHAR", "'post'", "post"),
        Option("truncating", "VARCHAR", "'post'", "post"),
        Option("value", "DOUBLE", "0", 0, is_nullable=True),
    )
    sections = Option("sections", "BIGINT", None, 1), Option("width", "BIGINT", None, 1)
    softmax = Function(temporal_softmax, _each([*_FLOATS, *_VECTORS]))
    cumsum = Function(temporal_cumsum, _each(_NUMBERS))
    pool = Function(_pooled, _each([*_FLOATS, *_VECTORS]), (how,))
    split = Function(_sections, _each(_NUMBERS), sections)
    named = {"softmax": softmax, "cumsum": cumsum, "pool": pool, "split": split}
    descending = (Option("descending", "BOOLEAN", "false", False),)
    named["flip"] = Function(temporal_flip, _each(_NUMBERS))
    named["sort"] = Function(temporal_sort, _each(_NUMBERS), descending)
    named["argsort"] = Function(columns.argsort, _each(_NUMBERS), descending)
    named["topk"] = Function(columns.topk, _each(_NUMBERS), (Option("k", "BIGINT", None, 1),))
    for name, function in named.items():
        yield name, function
        yield f"temporal_{name}", function
    for word in NUMBERED:
        yield word, Function(partial(columns.pool, how=word), _each([*_FLOATS, *_VECTORS]))
    yield "masking", Function(masking, _each([*_FLOATS, *_VECTORS]), (number,))
    yield "lengths", Function(columns.lengths, _each(_NUMBERS))
    yield "truncate", Function(columns.truncate, _each(_NUMBERS), (_MAXLEN, _SIDE))
    yield "pad", Function(_padded, _each(_STEPS), pads)


def _embedding(table: Any) -> Function:
    run = partial(columns.embed, table=to_numpy(table, "table"))
    mask_zero = Option("mask_zero", "BOOLEAN", "false", False)
    return Function(run, _each([pa.list_(pa.int64())]), (mask_zero,))


def _recurrent(name: str, weights: Any) -> Iterator[tuple[str, Function]]:
    op = _CELLS.get(type(weights))
    if op is None:
        raise UnsupportedTypeError(
            f"weights {name!r} must be LSTMWeights, GRUWeights or RNNWeights; "
            f"got {type(weights).__name__}"
        )
    vectors = [
        pa.list_(pa.list_(number, weights.features)) for number in (pa.float32(), pa.float64())
    ]
    for give in columns.GIVEN[op]:
        run: Any = partial(columns.recurrent, op=op, weights=weights, give=give)
        end = "" if give == "outputs" else f"_{give}"
        yield f"{op.__name__}_{name}{end}", Function(run, _each(vectors))


def _model(model: Any) -> Function:
    """A model as a function of its inputs, each of the type that its Input says."""
    given = TableModel(model)
    run, names = ModelColumn(given), list(given.inputs)
    symbols = zip(names, given.model.inputs, strict=True)
    types = [_input_type(one.spec, name in given.model.vocabularies) for name, one in symbols]

    def of_inputs(*inputs: Any) -> Any:
        if len(inputs) == 1:
            return run(inputs[0])
        arrays = [arrow.one_array(columns.chunked(column)) for column in inputs]
        return run(pa.StructArray.from_arrays(arrays, names))

    return Function(of_inputs, [types])


def _input_type(spec: Spec, takes_words: bool) -> Any:
    """The type of the column that an input reads."""
    type_ = pa.string() if takes_words else pa.from_numpy_dtype(spec.dtype)
    shape = spec.item_shape if spec.kind == "ragged" else spec.shape[1:]
    if spec.kind == "ragged" and shape == (1,):
        shape = ()  # steps of one number are numbers
    for size in reversed(shape):
        type_ = pa.list_(type_, size)
    return pa.list_(type_) if spec.kind == "ragged" else type_


def _each(types: Iterable[Any]) -> list[list[Any]]:
    return [[type_] for type_ in types]


def _pooled(x: Any, how: Any) -> Any:
    if how in NUMBERED:  # which a function of DuckDB's, of one type, cannot give beside the others
        raise InvalidInputError(f"{how!r} gives integers, and has a function of its own: {how}(x)")
    return columns.pool(x, how=how)


def _padded(x: Any, **options: Any) -> Any:
    """Lists of one length: DuckDB's functions cannot give arrays of a size that is an option."""
    fixed = arrow.one_array(columns.pad(x, multiple_of=None, **options))
    return arrow.to_type(fixed, pa.list_(fixed.type.value_type))


def _sections(x: Any, sections: int, width: int) -> Any:
    """Lists of lists: of each row, its steps in every section."""
    parts = temporal_split(x, sections, width=width)
    rows = len(parts[0])
    places = np.arange(rows)[:, None] + rows * np.arange(sections)
    lists = arrow.take(arrow.join(parts, parts[0].type), pa.array(places.reshape(-1)))
    starts, lengths = np.arange(rows) * sections, np.full(rows, sections)
    return arrow.write_lists(
        pa.list_(lists.type), lists, starts, lengths, arrow_rows(x, "x").form.valid
    )


# -- how DuckDB gets to know of them -----------------------------------------------------------


def _create(connection: Any, name: str, function: Function) -> None:
    """A function of DuckDB's for each signature, for they have one type, and a macro that picks."""
    options = function.options
    overloads = []
    for types in function.signatures:
        inner = f"{name}__{next(_numbers)}"
        given = _called(name, function, [pa.nulls(0, type_) for type_ in types], _some(options))
        parameters = [*map(sql_type, types), *(option.type for option in options)]
        run: Any = partial(_run, name, function, len(types))
        # DuckDB counts a function's parameters
        run.__signature__ = Signature(
            [Parameter(f"x{place}", _POSITIONAL) for place in range(len(parameters))]
        )
        returned = sql_type(given.type)
        how = {"type": "arrow", "null_handling": "special"}
        connection.create_function(inner, run, parameters, returned, **how)
        inputs = ["x"] if len(types) == 1 else [f"x{number}" for number in range(len(types))]
        words = [f"{x} {sql_type(type_)}" for x, type_ in zip(inputs, types, strict=True)]
        words += [
            quoted(option.name) + (f" := {option.default}" if option.default else "")
            for option in options
        ]
        passed = ", ".join([*inputs, *(quoted(option.name) for option in options)])
        overloads.append(f"({', '.join(words)}) as {quoted(inner)}({passed})")
    connection.execute(f"create or replace temp macro {quoted(name)}{', '.join(overloads)}")


def _remove(connection: Any, names: set[str]) -> None:
    """Remove what earlier calls on this connection made for functions of these names."""
    query = "select function_name from duckdb_functions() where regexp_matches(function_name, ?)"
    found = connection.execute(query, ["__[0-9]+$"]).fetchall()
    for inner in {inner for (inner,) in found if inner.rpartition("__")[0] in names}:
        with suppress(duckdb.InvalidInputException):  # it is another connection's
            connection.remove_function(inner)


def _some(options: tuple[Option, ...]) -> dict[str, Any]:
    return {option.name: option.some for option in options}


def _run(name: str, function: Function, inputs: int, *given: Any) -> Any:
    """What DuckDB calls, on a chunk of rows."""
    options = {
        option.name: _constant(name, option, column)
        for option, column in zip(function.options, given[inputs:], strict=True)
    }
    return _called(name, function, given[:inputs], options)


def _called(name: str, function: Function, given: Sequence[Any], options: dict[str, Any]) -> Any:
    try:
        return function.run(*given, **options)
    except RagmaskError as error:
        rows = f" in {show.count(len(given[0]), 'row')}" if len(given[0]) else ""
        raise type(error)(f"{name}{rows}: {error}") from error


def _constant(name: str, option: Option, column: Any) -> Any:
    """The value of an option, which is the same in all rows."""
    values = column.unique()
    if len(values) != 1:
        raise InvalidInputError(f"{name}: {option.name} is one value for all rows, and no column")
    value = values[0].as_py()
    if value is None and not option.is_nullable:
        raise InvalidInputError(f"{name}: {option.name} is null")
    return value
