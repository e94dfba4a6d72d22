"""Across the Arrow boundary: without a copy, or with one."""

import numpy as np
import pyarrow as pa

import ragmask as rm

from .common import ragged, ratio


class NoCopy:
    params = ([256, 4_096], ["list", "large_list", "list_view", "sliced"])
    param_names = ("rows", "layout")

    def setup(self, rows, layout):
        self.array = lists(rows, layout)
        self.batch = rm.Ragged.from_arrow(self.array)

    def time_from_arrow(self, rows, layout):
        rm.Ragged.from_arrow(self.array)

    def time_to_arrow(self, rows, layout):
        self.batch.to_arrow()

    def peakmem_from_arrow(self, rows, layout):
        rm.Ragged.from_arrow(self.array)


class OneCopy:
    params = ([256, 4_096], ["chunked", "null items", "bools"])
    param_names = ("rows", "layout")

    def setup(self, rows, layout):
        self.array = lists(rows, layout)
        self.values = rm.Ragged.from_arrow(self.array).values

    def time_from_arrow(self, rows, layout):
        rm.Ragged.from_arrow(self.array)

    def track_from_arrow(self, rows, layout):
        return ratio(lambda: rm.Ragged.from_arrow(self.array), self.values.copy)

    track_from_arrow.unit = "× the time of copying the values"


def lists(rows, layout):
    """`rows` lists in one of Arrow's layouts."""
    array = ragged(rows).to_arrow()
    items = array.values
    if layout == "large_list":
        return array.cast(pa.large_list(pa.int32()))
    if layout == "list_view":
        return pa.ListViewArray.from_arrays(array.offsets[:-1], array.value_lengths(), items)
    if layout == "sliced":
        return ragged(2 * rows).to_arrow()[rows // 2 : -(rows // 2)]
    if layout == "chunked":
        return pa.chunked_array([array[: rows // 2], array[rows // 2 :]])
    if layout == "null items":
        items = pa.array(items.to_numpy(), mask=np.arange(len(items)) % 7 == 0)
    if layout == "bools":
        items = pa.array(items.to_numpy() % 2 == 0)
    return pa.ListArray.from_arrays(array.offsets, items)
