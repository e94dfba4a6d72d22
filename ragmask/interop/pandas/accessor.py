"""The methods of Series."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ragmask.errors import RagmaskError
from ragmask.interop.methods import ByRow, ListMethods


@pd.api.extensions.register_series_accessor("ragmask")
class SeriesAccessor(ListMethods):
    """Methods of a Series of lists: `series.ragmask.softmax()`."""

    def __init__(self, series: "pd.Series[Any]") -> None:
        self._series = series

    def _map(
        self, name: str, function: Callable[..., Any], *, mask: Any = None, by_row: ByRow = True
    ) -> Any:
        try:
            return function(self._series) if mask is None else function(self._series, mask=mask)
        except RagmaskError as error:
            raise type(error)(
                f"ragmask.{name} of Series {self._series.name!r}, {self._series.dtype}: {error}"
            ) from error
