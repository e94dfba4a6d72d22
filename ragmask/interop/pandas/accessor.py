"""The methods of Series."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa

from ragmask import arrow
from ragmask.errors import InvalidInputError, RagmaskError
from ragmask.interop.methods import ByRow, ListMethods


@pd.api.extensions.register_series_accessor("ragmask")
class SeriesAccessor(ListMethods):
    """Methods of a Series of lists.

    >>> import pandas as pd
    >>> import ragmask.interop.pandas
    >>> pd.Series([[1, 2, 3], [4]], index=["a", "b"]).ragmask.lengths().to_dict()
    {'a': 3, 'b': 1}
    """

    def __init__(self, series: "pd.Series[Any]") -> None:
        self._series = series

    def _map(
        self, name: str, function: Callable[..., Any], *, mask: Any = None, by_row: ByRow = True
    ) -> Any:
        series = self._series
        try:
            x = _array(series)
            made = function(x) if mask is None else function(x, mask=_array(mask))
        except RagmaskError as error:
            raise type(error)(
                f"ragmask.{name} of Series {series.name!r}, {series.dtype}: {error}"
            ) from error
        return arrow.as_kind_of(made, series)


def _array(series: Any) -> Any:
    """Arrow's array in a Series, or one that pyarrow makes of its objects.

    Series before pandas 3 do not offer it themselves.
    """
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError) as error:
        raise InvalidInputError(f"it cannot be read as Arrow's lists: {error}") from error
