"""The tables of compare.py on pipelines of polars, DuckDB and pandas.

Beside what these have for lists, and beside the op alone on a Ragged of the same rows. Calls are
interleaved and the least time of several rounds counts; all use as many threads as they like.
`pip install "ragmask[peers]"` brings the three.
"""

import numpy as np
import pyarrow as pa
from benchmarks.common import log_normal_lengths, ragged_of
from tables import against, installed

import ragmask as rm

ROWS = 100_000


def batch_of(rows):
    """Log-normal rows of float32 (median 40, at most 512 steps)."""
    return ragged_of(log_normal_lengths(rows, np.random.default_rng(0)))


def close(ours, theirs):
    """The same lists, but for rounding."""
    ours, theirs = (rm.Ragged.from_arrow(lists) for lists in (ours, theirs))
    assert (ours.lengths == theirs.lengths).all()
    np.testing.assert_allclose(ours.compact().values, theirs.compact().values, 1e-4, 1e-6)


# -- polars -------------------------------------------------------------------------------


def polars(rows=ROWS):
    """Softmax and the mean of log-normal rows of float32 in polars, beside its own expressions."""
    pl = installed("polars")
    if not pl:
        return
    import ragmask.interop.polars  # noqa: F401 (its import is its effect)

    batch = batch_of(rows)
    frame = pl.DataFrame({"x": batch.to_arrow()})
    element, x = pl.element(), pl.col("x")
    one = (element - element.max()).exp() / (element - element.max()).exp().sum()
    powers = (x - x.list.max()).list.eval(element.exp())
    softs = {
        "`list.eval` of softmax": x.list.eval(one),
        "list arithmetic, `list.eval` of exp": powers / powers.list.sum(),
    }
    ours = x.ragmask.softmax()
    what = f"softmax of {rows:,} rows"
    for peer, theirs in softs.items():
        close(frame.select(ours)["x"], frame.select(theirs)["x"])
        target = 3 if peer.startswith("`list.eval") else None
        runs = lambda: frame.select(ours), lambda theirs=theirs: frame.select(theirs)
        yield against(what, runs[0], f"polars, {peer}", runs[1], target=target)

    def alone():
        return rm.temporal_softmax(batch)

    alone_name, series = "the op alone, on a Ragged", frame["x"]
    yield against(f"{what}: expression", lambda: frame.select(ours), alone_name, alone, target=0.8)
    streaming = frame.lazy().select(ours)
    run = lambda: streaming.collect(engine="streaming")  # noqa: E731
    yield against(f"{what}: streaming engine", run, alone_name, alone, target=0.8)
    run = lambda: rm.temporal_softmax(series)  # noqa: E731
    yield against(f"{what}: Series", run, alone_name, alone, target=0.8)
    part = -(-rows // 20)
    parts = [frame[first : first + part] for first in range(0, rows, part)]
    chunks = pl.concat(parts, rechunk=False)
    run = lambda: chunks.select(ours)  # noqa: E731
    yield against(f"{what}: in {len(parts)} chunks", run, alone_name, alone, target=0.8)

    what, mean = f"the mean of {rows:,} rows", x.ragmask.pool("mean")
    run = lambda: frame.select(mean)  # noqa: E731
    yield against(what, run, "polars, `list.mean`", lambda: frame.select(x.list.mean()))
    yield against(what, run, alone_name, lambda: rm.temporal_pool(batch), target=0.8)


# -- DuckDB -------------------------------------------------------------------------------


def duckdb(rows=ROWS):
    """The same in DuckDB, from a table of its own to Arrow, beside its functions of lists.

    DuckDB's lists are not Arrow's: it converts them on the way to Arrow, and twice more around a
    function of Arrow's, 2,048 rows at a time. `select x` is what the first costs, and `nothing(x)`,
    a function that gives back what it gets, what all three do.
    """
    library = installed("duckdb")
    if not library:
        return
    from ragmask.interop.duckdb import register

    batch = batch_of(rows)
    given = pa.table({"x": batch.to_arrow()})
    with library.connect() as connection:
        register(connection)
        lists = {"type": "arrow", "null_handling": "special"}
        connection.create_function("nothing", lambda x: x, ["FLOAT[]"], "FLOAT[]", **lists)
        connection.register("given", given)
        connection.execute("create table rows as select x from given")

        def sql(query):
            return lambda: connection.sql(query).to_arrow_table()

        ours = sql("select ragmask_softmax(x) as x from rows")
        theirs = sql(
            "select list_transform(e, lambda v: v / s) as x from (select e, list_sum(e) as s from "
            "(select list_transform(x, lambda v: exp(v - m)) as e from "
            "(select x, list_max(x) as m from rows)))"
        )
        close(ours()["x"], theirs()["x"])
        what, alone = f"softmax of {rows:,} rows", lambda: rm.temporal_softmax(batch)
        yield against(what, ours, "DuckDB, list_transform, list_sum", theirs, target=3)
        alone_name = "the op alone, on a Ragged"
        yield against(f"{what}: function", ours, alone_name, alone, target=0.8)
        none = sql("select x from rows")
        nothing = sql("select nothing(x) as x from rows")
        yield against(f"{what}: function", ours, "`select nothing(x)`", nothing)

        def relation():
            return rm.temporal_softmax(connection.sql("select x from rows"))

        yield against(f"{what}: the op on a relation", relation, alone_name, alone, target=0.8)
        yield against(f"{what}: the op on a relation", relation, "`select x`", none)
        what, mean = f"the mean of {rows:,} rows", sql("select ragmask_pool(x) as x from rows")
        yield against(what, mean, "DuckDB, list_avg", sql("select list_avg(x) as x from rows"))


# -- pandas -------------------------------------------------------------------------------


def pandas(rows=ROWS):
    """The same in pandas, of an ArrowDtype, beside numpy's softmax by `apply`."""
    pd = installed("pandas")
    if not pd:
        return
    batch = batch_of(rows)
    lists = batch.to_arrow()
    series = pd.Series(lists, dtype=pd.ArrowDtype(lists.type))
    objects = pd.Series(batch.to_rows())

    def softmax(row):
        powers = np.exp(row - row.max())
        return powers / powers.sum()

    def ours():
        return rm.temporal_softmax(series)

    close(ours(), objects.apply(softmax))
    what = f"softmax of {rows:,} rows"
    peer = "pandas, `apply` on numpy arrays"
    yield against(what, ours, peer, lambda: objects.apply(softmax), target=3)
    peer = "pandas, `apply` on the ArrowDtype"
    yield against(what, ours, peer, lambda: series.apply(softmax))
    alone = "the op alone, on a Ragged"
    yield against(what, ours, alone, lambda: rm.temporal_softmax(batch), target=0.8)


# -- conversions --------------------------------------------------------------------------


def conversions(rows=ROWS):
    """What it costs to read and to write a column, beside the softmax of it. None copies values."""
    batch = batch_of(rows)
    soft = rm.temporal_softmax(batch)
    lists, written = batch.to_arrow(), soft.to_arrow()
    columns = {"pyarrow": (lists, lambda: written)}
    pl, pd = installed("polars"), installed("pandas")
    if pl:
        columns["polars"] = pl.Series("x", lists), lambda: pl.Series("x", written)
    if pd:
        dtype = pd.ArrowDtype(lists.type)
        columns["pandas"] = pd.Series(lists, dtype=dtype), lambda: pd.Series(written, dtype=dtype)
    for name, (column, write) in columns.items():
        address = rm.Ragged.from_arrow(column).values.ctypes.data
        assert address == batch.values.ctypes.data
        assert rm.Ragged.from_arrow(write()).values.ctypes.data == soft.values.ctypes.data

        def run(column=column, write=write):
            rm.Ragged.from_arrow(column)
            soft.to_arrow()
            return write()

        alone = "temporal_softmax"
        yield against(f"{name}: read and write", run, alone, lambda: rm.temporal_softmax(batch))


TABLES = (polars, duckdb, pandas, conversions)
