"""The ops as methods of a column of lists: one class for expressions, Series and accessors."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ragmask.interop import columns
from ragmask.interop.columns import Give, ModelColumn
from ragmask.layers.model import Model
from ragmask.ops.cumsum import temporal_cumsum
from ragmask.ops.flip import temporal_flip
from ragmask.ops.gru import gru
from ragmask.ops.lstm import lstm
from ragmask.ops.masks import masking
from ragmask.ops.pool import How
from ragmask.ops.rnn import rnn
from ragmask.ops.softmax import temporal_softmax
from ragmask.ops.sort import temporal_sort
from ragmask.rows.checks import Side
from ragmask.tables import TableModel
from ragmask.weights import GRUWeights, LSTMWeights, RNNWeights

ByRow = bool | Callable[[Any], bool]


class ListMethods:
    """The methods; how they reach a column's lists, `_map` of a subclass knows.

    A null list gives null. A null number in a list is a masked step: it does not count, and stays
    null. `mask` is a column of lists of bools beside this one, True = keep, and takes its place.
    """

    def _map(
        self, name: str, function: Callable[..., Any], *, mask: Any = None, by_row: ByRow = True
    ) -> Any:
        """The column that `function` makes of this one, and of `mask` where there is one.

        name : the method's, for errors. by_row : whether each row of the result depends on that
        row alone, or what tells it of the column's Arrow type.
        """
        raise NotImplementedError

    def softmax(self, *, mask: Any = None) -> Any:
        """Softmax over the kept steps of each list, as `rm.temporal_softmax`."""
        return self._map("softmax", temporal_softmax, mask=mask)

    def cumsum(self, *, mask: Any = None) -> Any:
        """The sum of each list's kept steps up to each step, as `rm.temporal_cumsum`."""
        return self._map("cumsum", temporal_cumsum, mask=mask)

    def flip(self, *, mask: Any = None) -> Any:
        """Each list's kept steps in reverse order, as `rm.temporal_flip`; nulls stay in place."""
        return self._map("flip", temporal_flip, mask=mask)

    def sort(self, *, descending: bool = False, mask: Any = None) -> Any:
        """Each list's kept steps by their values, nulls last, as `rm.temporal_sort`."""
        run = partial(temporal_sort, descending=descending)
        return self._map("sort", run, mask=mask)

    def argsort(self, *, descending: bool = False, mask: Any = None) -> Any:
        """Which steps of each list `sort` puts where, as `rm.temporal_argsort`."""
        run = partial(columns.argsort, descending=descending)
        return self._map("argsort", run, mask=mask)

    def topk(self, k: int, *, mask: Any = None) -> Any:
        """The `k` largest of each list's kept steps, as `rm.temporal_topk`.

        It gives a struct, of the lists `values` and `steps`.
        """
        return self._map("topk", partial(columns.topk, k=k), mask=mask)

    def pool(self, how: How = "mean", *, mask: Any = None) -> Any:
        """The "mean", "sum", "max", "min", "std" and so on of each list, as `rm.temporal_pool`.

        A list with no kept step gives 0, but of "argmax" -1 and of "logsumexp" -inf. Lists of
        vectors give a vector each; where those are lists, whose size only rows tell, no kept step
        gives a list of none.
        """
        return self._map("pool", partial(columns.pool, how=how), mask=mask)

    def masking(self, mask_value: float = 0.0, *, mask: Any = None) -> Any:
        """Nulls in the place of steps that equal `mask_value`, as `rm.masking`."""
        return self._map("masking", partial(masking, mask_value=mask_value), mask=mask)

    def embedding(self, table: Any, *, mask_zero: bool = False, mask: Any = None) -> Any:
        """The row of `table` for each id, as `rm.embedding`; with `mask_zero` id 0 gives null."""
        run = partial(columns.embed, table=table, mask_zero=mask_zero)
        return self._map("embedding", run, mask=mask)

    def lstm(
        self,
        weights: LSTMWeights,
        give: Give = "outputs",
        *,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        mask: Any = None,
    ) -> Any:
        """An LSTM over each list of vectors, as `rm.lstm`.

        give : "outputs", a vector a step; or "h" or "c", a list's last state, a vector a row.
        """
        options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
        run = partial(columns.recurrent, op=lstm, weights=weights, give=give, **options)
        return self._map("lstm", run, mask=mask)

    def gru(
        self,
        weights: GRUWeights,
        give: Give = "outputs",
        *,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        mask: Any = None,
    ) -> Any:
        """A GRU over each list of vectors, as `rm.gru`; give is "outputs" or "h"."""
        options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
        run = partial(columns.recurrent, op=gru, weights=weights, give=give, **options)
        return self._map("gru", run, mask=mask)

    def rnn(
        self,
        weights: RNNWeights,
        give: Give = "outputs",
        *,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        mask: Any = None,
    ) -> Any:
        """A simple recurrent layer, as `rm.rnn`; give is "outputs" or "h"."""
        options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
        run = partial(columns.recurrent, op=rnn, weights=weights, give=give, **options)
        return self._map("rnn", run, mask=mask)

    def lengths(self) -> Any:
        """The steps of each list, null ones included: int64."""
        return self._map("lengths", columns.lengths)

    def truncate(self, maxlen: int, side: Side = "post") -> Any:
        """Lists of at most `maxlen` steps; `side` is the end that is cut off."""
        return self._map("truncate", partial(columns.truncate, maxlen=maxlen, side=side))

    def pad(
        self,
        maxlen: int | None = None,
        *,
        padding: Side = "post",
        truncating: Side = "post",
        value: Any = 0,
        multiple_of: int | None = None,
    ) -> Any:
        """Lists of one length, as `Ragged.to_padded`; of fixed size where `maxlen` says which.

        maxlen : the length; by default that of the longest list in the whole column.
        padding, truncating : "post" or "pre", the end that is padded or cut off.
        value : what padding holds: a number, a step, or None for nulls.
        multiple_of : rounds the length up.
        """
        run = partial(
            columns.pad,
            maxlen=maxlen,
            padding=padding,
            truncating=truncating,
            value=value,
            multiple_of=multiple_of,
        )
        is_known = maxlen is not None
        # how long padding's own lists are, the other rows' tell
        return self._map(
            "pad", run, by_row=lambda type_: is_known and not columns.is_list_of_lists(type_)
        )

    def split(self, sections: int = 2, *, width: int | None = None) -> Any:
        """Each list's steps in equal spans of `width`, as `rm.temporal_split`.

        It gives a struct, with the fields section_0, section_1 and so on. width is by default the
        length of the longest list in the whole column.
        """
        run = partial(columns.split, sections=sections, width=width)
        return self._map("split", run, by_row=width is not None)

    def apply(
        self, model: Model | str | os.PathLike[str], inputs: Mapping[str, str] | None = None
    ) -> Any:
        """What a model of layers, or the folder of a saved one, makes of each row.

        A model of one input reads the column; one of several reads a column of structs with a
        field for each input. Several outputs are a struct.

        inputs : {input: field}, of inputs that read a field of another name than their own.
        """
        run = ModelColumn(TableModel(model, inputs=inputs))
        return self._map("apply", run, by_row=run.by_row)

    # by the names that the ops have in `ragmask`, too
    temporal_softmax = softmax
    temporal_cumsum = cumsum
    temporal_flip = flip
    temporal_sort = sort
    temporal_argsort = argsort
    temporal_topk = topk
    temporal_pool = pool
    temporal_split = split
