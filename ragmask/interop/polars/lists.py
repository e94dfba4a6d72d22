"""The methods of expressions and Series."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from ragmask.batches.show import count
from ragmask.errors import RagmaskError
from ragmask.interop.columns import chunked
from ragmask.interop.methods import ByRow, ListMethods


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
        return _run(name, function, [self._series] if mask is None else [self._series, mask])


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
        def run(given: Sequence[pl.Series]) -> pl.Series:
            return _run(name, function, given)

        def plan(given: list[tuple[pl.Expr, pl.DataType]]) -> pl.Expr:
            none = [pl.Series(expr.meta.output_name(), [], dtype) for expr, dtype in given]
            is_by_row = by_row(chunked(none[0]).type) if callable(by_row) else by_row
            expressions = [expr for expr, _ in given]
            return pl.map_batches(expressions, run, run(none).dtype, is_elementwise=is_by_row)

        return pl.pipe_with_dtype([self._expr] if mask is None else [self._expr, mask], plan)


def _run(name: str, function: Callable[..., Any], given: Sequence[pl.Series]) -> pl.Series:
    """The function of a Series, and of its mask. Errors say whose they are."""
    x, *mask = given
    try:
        made: pl.Series = function(x, mask=mask[0]) if mask else function(x)
    except RagmaskError as error:
        rows = f" in {count(len(x), 'row')}" if len(x) else ""
        raise type(error)(
            f"ragmask.{name} of column {x.name!r}, {x.dtype}{rows}: {error}"
        ) from error
    return made
