"""ragmask's ops in polars: `.ragmask` on expressions, Series and frames.

>>> import polars as pl
>>> import ragmask.interop.polars
>>> frame = pl.DataFrame({"x": [[1.0, 3.0], None, [5.0]]})
>>> frame.select(
...     soft=pl.col("x").ragmask.softmax().list.first().round(4),
...     mean=pl.col("x").ragmask.pool("mean"),
... ).rows()
[(0.1192, 2.0), (None, None), (1.0, 5.0)]

Importing this registers the namespace. Columns are List or Array, of numbers, or of List or Array
of one size for steps of several features; nulls are `ragmask.interop.methods`' masks. Expressions
are lazy: their dtype is known, and what cannot be read is an error, when a query is planned. Where
a row's result depends on that row alone they run in the streaming engine, and polars may deal out
rows as it likes; `pad` and `split` by the longest list take the whole column at once.

A frame's `ragmask.apply` runs a model that reads several columns.

Needs the extra `polars`.
"""

from ragmask.errors import MissingExtraError

try:
    import polars
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.polars needs polars, which is not installed: pip install "ragmask[polars]"'
    ) from error

if not hasattr(polars, "pipe_with_dtype"):
    raise MissingExtraError(
        f"ragmask.interop.polars needs polars 2 or later, and {polars.__version__} is installed: "
        'pip install "ragmask[polars]"'
    )

from ragmask.interop.polars.frames import DataFrameMethods, LazyFrameMethods
from ragmask.interop.polars.lists import ExprMethods, SeriesMethods

__all__ = ["DataFrameMethods", "ExprMethods", "LazyFrameMethods", "SeriesMethods"]
