"""Lists of unequal length in polars, DuckDB and pandas: softmax, pooling, a model, without loops.

Run it: python examples/11_polars_and_duckdb.py      (needs the extras polars, duckdb and pandas)
"""

import duckdb
import numpy as np
import pandas as pd
import polars as pl

import ragmask as rm
import ragmask.interop.pandas
import ragmask.interop.polars
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.duckdb import register
from ragmask.layers import LSTM, Dense, Input, Model, TemporalPool

# Recordings of 7 to 29 frames of 12 coefficients, and which of nine speakers each is of.
recordings = pl.scan_parquet(JAPANESE_VOWELS)
frames = pl.col("frames").ragmask

# Expressions are lazy, know their types when a query is planned, and run in the streaming engine.
query = recordings.select(
    "speaker",
    frames=frames.lengths(),
    mean=frames.pool("mean"),
    loudest=frames.pool("max").arr.first(),
)
print(query.collect_schema())
by_speaker = query.group_by("speaker").agg(pl.len(), pl.col("frames", "loudest").mean())
print(by_speaker.sort("speaker").collect(engine="streaming"))

# A model over a column: an LSTM's last state and the mean of its outputs, beside what is kept.
x = Input((None, 12), name="frames")
outputs = LSTM(16, return_sequences=True)(x)
scores = Dense(9, name="scores")(TemporalPool("mean")(outputs))
model = Model(x, scores)
applied = recordings.ragmask.apply(model, keep=["speaker"])
print(applied.collect(engine="streaming").head(3))

# The same ops as SQL functions. An embedding's table is given by name, and so are weights.
shapes = rm.LSTMWeights.shapes(12, 4)
weights = rm.LSTMWeights(*(np.full(shape, 0.1, np.float32) for shape in shapes))
with duckdb.connect() as connection:
    register(connection, weights={"small": weights})
    connection.execute(f"create view recordings as select * from '{JAPANESE_VOWELS}'")
    states = "select speaker, ragmask_lstm_small_h(frames) as state from recordings"
    print(
        connection.sql(f"select speaker, avg(state[1]) from ({states}) group by all order by all")
    )

    # A relation of one column is Arrow, and goes into an op as it is.
    relation = connection.sql("select frames from recordings")
    sums = rm.temporal_pool(relation, "sum")
    print(f"{len(sums)} sums, {sums.type}")

# In pandas a Series keeps its index and name. A null list stays one, and a null step has no part.
lists = pl.DataFrame({"x": [[0.5, 2.0, None], None, [1.0]]}).to_arrow()
series = lists.to_pandas(types_mapper=pd.ArrowDtype)["x"].set_axis(["a", "b", "c"])
print(pd.DataFrame({"softmax": series.ragmask.softmax(), "mean": series.ragmask.pool("mean")}))

# Padding is made for who asks for it: an Array of polars is a matrix of numpy.
padded = pl.from_arrow(lists)["x"].drop_nulls().ragmask.pad(4)
print(padded.dtype, padded.to_numpy().shape)
