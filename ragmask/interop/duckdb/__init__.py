"""ragmask's ops in DuckDB: SQL functions of lists.

>>> import duckdb
>>> from ragmask.interop.duckdb import register
>>> connection = duckdb.connect()
>>> register(connection)
>>> rows = "(values ([1.5, 2.5]), (null)) t(x)"
>>> connection.sql(f"select ragmask_pool(x, 'max') from {rows}").fetchall()
[(2.5,), (None,)]

A query's result is Arrow, too: `rm.temporal_softmax(connection.sql("select x from t"))` takes a
relation of one column, in one piece and without SQL's copies.

Needs the extra `duckdb`.
"""

from ragmask.errors import MissingExtraError

try:
    import duckdb  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.duckdb needs duckdb, which is not installed: pip install "ragmask[duckdb]"'
    ) from error

from ragmask.interop.duckdb.register import register

__all__ = ["register"]
