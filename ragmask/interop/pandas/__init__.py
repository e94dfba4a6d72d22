"""ragmask's ops in pandas: `.ragmask` on Series of lists.

>>> import pandas as pd
>>> import pyarrow as pa
>>> import ragmask.interop.pandas
>>> lists = pd.ArrowDtype(pa.list_(pa.float64()))
>>> frame = pd.DataFrame({"x": pd.Series([[1.0, 3.0], None, [5.0]], dtype=lists)})
>>> frame.assign(mean=frame["x"].ragmask.pool("mean"))["mean"].tolist()
[2.0, <NA>, 5.0]

Importing this registers the accessor. A Series keeps its index and name, and comes back in an
ArrowDtype. Python's lists in a Series of objects are read too, as pyarrow reads them. From pandas 3
on the ops take a Series themselves, `rm.temporal_softmax(series)`; the methods need pandas 2.2.

Needs the extra `pandas`.
"""

from ragmask.errors import MissingExtraError

try:
    import pandas  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.pandas needs pandas, which is not installed: pip install "ragmask[pandas]"'
    ) from error

from ragmask.interop.pandas.accessor import SeriesAccessor

__all__ = ["SeriesAccessor"]
