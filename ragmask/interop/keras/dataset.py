"""Streams for Keras's `fit`, `evaluate` and `predict`."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.errors import InvalidInputError, MissingExtraError, UnsupportedTypeError
from ragmask.interop.keras.feed import Feed
from ragmask.interop.keras.passes import Passes
from ragmask.rows.checks import check_count
from ragmask.streaming.maps import mapped
from ragmask.streaming.stream import Stream


class StreamDataset(keras.utils.PyDataset):
    """A stream for a Keras model's `fit`, `evaluate` and `predict`, in padded batches.

    >>> import keras
    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.interop.keras import StreamDataset
    >>> stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).shuffle(seed=0)
    >>> dataset = StreamDataset(stream.batch(rows=64, multiple_of=8), x="frames", y="speaker")
    >>> layers = [keras.layers.Masking(), keras.layers.GlobalAveragePooling1D()]
    >>> layers += [keras.layers.Dense(10, "softmax")]
    >>> model = keras.Sequential([keras.Input((None, 12)), *layers])
    >>> model.compile(loss="sparse_categorical_crossentropy")
    >>> len(dataset), len(model.fit(dataset, epochs=2, verbose=0).history["loss"])
    (10, 2)

    Parameters
    ----------
    stream : cut into batches, by rows or tokens; `batch(multiple_of=, rows_multiple=)` says what
        the padded shapes are rounded up to, so that JAX compiles few.
    x, y, sample_weight : names of columns, alone or in lists and dicts as the model takes and
        gives them: `x={"words": "ids", "age": "age"}`. A column of lists becomes (rows, width),
        or (rows, width, *item). A `y` with a value a step has the steps of a column of `x`, and
        what pads it weighs 0. Weights are one a row or one a step; one column for all outputs,
        or one each, arranged as `y`.
    value : what pads the columns of `x`, for all or by column, and what null steps become:
        the `mask_value` of Masking, 0 for `Embedding(mask_zero=True)`.
    masks : give the masks as inputs too, bool (rows, width), by the input's name: `frames_mask`.
        `x` is then a dict.
    workers, max_queue_size : with more than 1 worker, batches are padded in the background, at
        most `max_queue_size` ahead, in order.

    **Order.** Batches come as the stream gives them: Keras's own `shuffle=True` does not change
    it. Each epoch of `fit` is one of the stream's, shuffled anew; `len` says how many batches it
    has, which takes a pass over the lengths for batches by tokens. Keras asks that once a `fit`:
    where a later epoch has more or fewer, batches go on across its epochs, none lost. A pass that
    was left before its end (an exception, `steps=`) begins anew.

    **Padding rows.** With `rows_multiple`, a batch is filled up by copies of rows that weigh 0, so
    that weighted metrics and losses by "mean_with_sample_weight" pass over them. There are none in
    `predict`, nor where there is no `y`; `row_ids` tells which rows those of the result are.

    **Resuming.** `state_dict(batch)`, in a callback, says where to go on after that batch. The
    epoch that is resumed has fewer batches, and Keras warns at its end that data ran out.

    A model that gives a value a step can `predict` only batches of one width, which Keras joins:
    let `multiple_of` be as large as the longest row.

    Raises InvalidInputError, before anything is trained, for columns that are missing or have no
    numbers; and while it is, naming the row, for nulls and for steps that do not match.
    """

    def __init__(
        self,
        stream: Stream,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        value: Any = 0,
        masks: bool = False,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__()  # Keras is to ask for one batch after the other
        _check_version(keras.__version__)
        if not isinstance(stream, Stream):
            raise UnsupportedTypeError(
                f"StreamDataset takes a Stream; got {type(stream).__name__}: rm.stream(…)"
            )
        if stream._settings.rows is None:
            raise InvalidInputError("choose the stream's batches first: .batch(rows=256)")
        if stream._settings.epochs != 1:
            raise InvalidInputError(
                "an epoch of fit is one of the stream's: leave out .repeat(), and say how many "
                "with fit(epochs=)"
            )
        if use_multiprocessing:
            raise InvalidInputError(
                "use_multiprocessing=True is not needed: a stream decodes and pads in threads that "
                "do not wait for each other; say how many batches ahead with workers=2"
            )
        ahead = check_count("max_queue_size", max_queue_size, 1)
        self._ahead = ahead if check_count("workers", workers) > 1 else 0
        self.stream = stream
        self._feed = Feed(x, y, sample_weight, value, masks)
        self._check_columns()
        self._passes = Passes(stream, ahead if check_count("workers", workers) > 1 else 0)
        self._is_in_epoch = self._opens_epoch = self._begins_pass = False
        self._pads_rows = True

    def _check_columns(self) -> None:
        """Look at a batch of no rows, as far as the stream's maps make one."""
        given = self.stream.empty_batch()
        try:
            batch = mapped(given, self.stream._maps)
        except Exception:  # maps are the caller's: the first batch will tell
            return
        self._feed.check(batch)

    # -- what Keras asks ------------------------------------------------------------------
    #
    # `fit` makes an adapter, which asks for `workers`; builds the model on a batch; resets, which
    # asks for `num_batches` and ends an epoch; and for each epoch begins one, makes an iterator,
    # which asks for `num_batches`, takes batches in an order of its own, and ends it. `evaluate`
    # does so, and `predict` too, but for the reset.

    @property
    def workers(self) -> int:
        """1: Keras's own threads would take batches out of order."""
        self._is_in_epoch = self._opens_epoch = False  # those of another adapter, if it was left
        self._pads_rows = False
        return 1

    @property
    def num_batches(self) -> int:
        """The number of batches, for Keras, which asks when it begins; see `len` for yourself."""
        self._begins_pass = True
        if not self._is_in_epoch:
            self._passes.plan()
        return self._passes.size_of_next if self._opens_epoch else self._passes.whole

    def on_epoch_begin(self) -> None:
        self._is_in_epoch = self._opens_epoch = True

    def on_epoch_end(self) -> None:
        self._is_in_epoch = self._opens_epoch = False
        self._pads_rows = True

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The next batch, whatever index is asked for."""
        begins = self._begins_pass or not self._passes.is_planned
        self._opens_epoch = self._begins_pass = False
        if begins:
            self._begin()
        return self._passes.take()

    def _begin(self) -> None:
        rounding = self.stream._settings.rounding
        if not (self._pads_rows and self._feed.outputs):
            rounding = replace(rounding, rows_multiple=1)
        self._passes.begin(partial(self._feed, rounding=rounding))

    # -- what callers ask -----------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Of copies and pickles, which go their own ways from where it stands."""
        passes = copy(self._passes)
        return {**self.__dict__, "stream": passes.stream, "_passes": passes}

    def __len__(self) -> int:
        """The number of batches in an epoch; in what is left of it, where it was resumed."""
        if not self._passes.is_planned:
            self._passes.plan()
        return self._passes.size_of_next

    def __bool__(self) -> bool:
        return True  # else `if dataset:` would count

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """One pass, as `fit` sees it."""
        self._passes.plan()
        self._begin()
        for _ in range(self._passes.size_of_next):
            yield self._passes.take()

    @property
    def row_ids(self) -> Ints:
        """The numbers in the data set of the rows that the last pass gave, int64, in order."""
        return np.concatenate([np.empty(0, np.int64), *self._passes.row_ids])

    def state_dict(self, batch: int | None = None) -> dict[str, Any]:
        """Where to go on after the last batch that was handed over: small and JSON-able.

        batch : instead, after this one of the epoch, as `on_train_batch_end(batch, logs)` of a
            callback names it. Keras may have fetched more by then (JAX on a GPU does).
        """
        if batch is None:
            return dict(self._passes.state)
        if batch not in self._passes.states:
            known = ", ".join(map(str, self._passes.states)) or "none"
            raise InvalidInputError(
                f"the state after batch {batch!r} is not known; those of the last few are: {known}"
            )
        return dict(self._passes.states[batch])

    def load_state_dict(self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Begin the next pass where a state says; see `Stream.load_state_dict`.

        To go on behind the last batch of a pass that was left: load `state_dict()`.
        """
        self.stream.load_state_dict(state)
        self._passes.stand()

    def set_epoch(self, epoch: int) -> None:
        """Begin the next pass at the start of this epoch; at a loaded state, where it is of it."""
        self.stream.set_epoch(epoch)
        self._passes.stand()


def _check_version(version: str) -> None:
    """Raise for a Keras whose adapters ask in another order than `StreamDataset` knows."""
    if tuple(map(int, version.split(".")[:2])) < (3, 7):
        raise MissingExtraError(
            f"StreamDataset needs Keras 3.7 or later, and this is {version}: pip install -U keras"
        )
