"""The methods of expressions and Series."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from ragmask.batches.show import count
from ragmask.errors import RagmaskError
from ragmask.interop.columns import chunked
from ragmask.interop.methods import ByRow, ListMethods

_MANY_ROWS = 2000  # a call costs what copying some hundred rows does


@pl.api.register_series_namespace("ragmask")
class SeriesMethods(ListMethods):
    """Methods of a Series of lists.

    >>> import polars as pl
    >>> import ragmask.interop.polars
    >>> pl.Series("x", [[1, 2, 3], None, [4]]).ragmask.truncate(2).to_list()
    [[1, 2], None, [4]]
    """

    def __init__(self, series: pl.Series) -> None:
        self._series = series

    def _map(
        self, name: str, function: Callable[..., Any], *, mask: Any = None, by_row: ByRow = True
    ) -> pl.Series:
        given = [self._series] if mask is None else [self._series, mask]
        return _run(name, function, given, _is_by_row(by_row, self._series))


@pl.api.register_expr_namespace("ragmask")
class ExprMethods(ListMethods):
    """Methods of an expression that gives lists.

    >>> import polars as pl
    >>> import ragmask.interop.polars
    >>> frame = pl.LazyFrame({"ids": [[1, 2, 3], [4]]})
    >>> frame.select(pl.col("ids").ragmask.pad(4)).collect_schema()["ids"]
    Array(Int64, shape=(4,))

    A mask is an expression too, or a column's name.
    """

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def _map(
        self, name: str, function: Callable[..., Any], *, mask: Any = None, by_row: ByRow = True
    ) -> pl.Expr:
        def plan(given: list[tuple[pl.Expr, pl.DataType]]) -> pl.Expr:
            none = [pl.Series(expr.meta.output_name(), [], dtype) for expr, dtype in given]
            is_by_row = _is_by_row(by_row, none[0])

            def run(given: Sequence[pl.Series]) -> pl.Series:
                return _run(name, function, given, is_by_row)

            expressions = [expr for expr, _ in given]
            return pl.map_batches(expressions, run, run(none).dtype, is_elementwise=is_by_row)

        return pl.pipe_with_dtype([self._expr] if mask is None else [self._expr, mask], plan)


def _is_by_row(by_row: ByRow, x: pl.Series) -> bool:
    return by_row(chunked(x).type) if callable(by_row) else by_row


def _run(
    name: str, function: Callable[..., Any], given: Sequence[pl.Series], by_row: bool
) -> pl.Series:
    """The function of a Series, and of its mask. Errors say whose they are.

    Chunks of many rows, which know nothing of each other, are not joined first: that is a copy.
    """
    x, *mask = given
    chunks = x.n_chunks()
    if by_row and not mask and chunks > 1 and len(x) >= chunks * _MANY_ROWS:
        parts = [_run(name, function, [part], by_row) for part in x.get_chunks()]
        return pl.concat(parts, rechunk=False)
    try:
        made: pl.Series = function(x, mask=mask[0]) if mask else function(x)
    except RagmaskError as error:
        rows = f" in {count(len(x), 'row')}" if len(x) else ""
        raise type(error)(
            f"ragmask.{name} of column {x.name!r}, {x.dtype}{rows}: {error}"
        ) from error
    return made
