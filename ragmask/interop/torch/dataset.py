"""Streams for torch's DataLoader."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, StreamError, UnsupportedTypeError
from ragmask.interop.torch.memory import (
    name_of,
    torch_dtype,
)
from ragmask.interop.torch.tensors import to_jagged
from ragmask.rows.checks import check_count
from ragmask.streaming.batch import Batch
from ragmask.streaming.columns import own
from ragmask.streaming.plan import shuffled
from ragmask.streaming.state import check_sealed, sealed
from ragmask.streaming.stream import Stream

# what a state says at the start of an epoch, or of what was dealt out anew
_START: dict[str, Any] = {"place": [0, 0, 0], "even": None}


class TensorBatch(dict[str, Any]):
    """A batch of tensors by column, with the attributes of the Batch it was made from.

    `state`, `row_ids`, `sources`, `num_rows` and `repeated` travel with it between processes.
    """

    state: dict[str, Any]
    row_ids: Ints | None
    num_rows: int
    sources: NDArray[np.str_] | None
    repeated: bool


class TensorList(list[Any]):
    """The parts of a batch, as `x, y`, with the attributes of the Batch they were made from.

    A list, as a DataLoader makes one of every tuple; its own attributes come through with it.
    """

    state: dict[str, Any]
    row_ids: Ints | None
    num_rows: int
    sources: NDArray[np.str_] | None
    repeated: bool


def to_tensors(batch: Batch) -> dict[str, Any]:
    """A batch's columns as tensors: Ragged ones jagged, numeric ones dense, the rest as it is.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_tensors
    >>> to_tensors(rm.Batch({"label": np.array([3, 4])}))
    {'label': tensor([3, 4])}

    Left as they are: a Ragged with a mask, which a jagged tensor cannot have (pad it, for the
    mask too), or of a dtype that torch does not have, and columns with nulls. Times, which torch
    does not have either, become pyarrow arrays.
    """
    return {name: _tensor_of(column) for name, column in batch.items()}


def _tensor_of(column: Any) -> Any:
    with suppress(UnsupportedTypeError):
        if isinstance(column, Ragged) and column.mask is None:
            return to_jagged(column)
        if type(column) is np.ndarray:
            torch_dtype(column.dtype)
            return torch.tensor(column)
    if type(column) is np.ndarray and column.dtype.kind in "mM":
        # left a numpy array, a DataLoader would try to make a tensor of it
        return arrow.write_scalars(column)
    return column


class Shared:
    """The epoch, and how often a state was loaded, where workers that persist see them change.

    A DataLoader's workers have them in the memory of the process that it is in. Copies, also
    those by pickle, have their own, and so have other processes, once they ask: ranks, which may
    each be in another epoch.
    """

    def __init__(self, epoch: int, loads: int) -> None:
        self._numbers = torch.tensor([epoch, loads], device="cpu")
        self._numbers.share_memory_()  # type: ignore[no-untyped-call]
        self._process = os.getpid()

    @property
    def numbers(self) -> torch.Tensor:
        """int64 (2,)."""
        if self._process != os.getpid() and torch.utils.data.get_worker_info() is None:
            Shared.__init__(self, *self._numbers.tolist())
        return self._numbers

    def __reduce__(self) -> Any:
        return Shared, tuple(self._numbers.tolist())


def _sent(shared: Shared) -> Any:
    """How multiprocessing sends it to a process: the memory itself."""
    return _received, (shared.numbers, shared._process)


def _received(numbers: torch.Tensor, process: int) -> Shared:
    shared = object.__new__(Shared)
    shared._numbers, shared._process = numbers, process
    return shared


ForkingPickler.register(Shared, _sent)


class StreamDataset(torch.utils.data.IterableDataset[TensorBatch | TensorList]):
    """A stream for torch's DataLoader, each worker reading its own share.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.interop.torch import StreamDataset
    >>> from torch.utils.data import DataLoader
    >>> stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).shuffle(seed=0).batch(rows=64)
    >>> dataset = StreamDataset(stream)
    >>> loader = DataLoader(dataset, batch_size=None, num_workers=0)
    >>> states = {}
    >>> for epoch in range(2):
    ...     dataset.set_epoch(epoch)
    ...     for batch in loader:
    ...         states[batch.state["rank"]] = batch.state  # the last one seen from each worker
    >>> dataset.load_state_dict(list(states.values()))

    stream : cut into batches; of one rank, where there are several. Pass `batch_size=None` to
        the loader.
    convert : a function that makes a mapping of a Batch, or a tuple or list such as `(x, y)`, run
        where the batch is read; by default `to_tensors`. A mapping becomes a TensorBatch, the
        others a TensorList: both have the batch's `state`, `row_ids`, `num_rows` and `repeated`.

    With W workers, worker w of rank r reads the share of rank r · W + w of W times as many; with
    `shard(even=True)` all of them deliver the same number of batches.

    Call `set_epoch` before each epoch, as for torch's DistributedSampler: workers end with their
    epoch and cannot count, and deliver the same one again. Without workers, epochs advance by
    themselves.

    Copies and pickles go their own ways from where it stands: no epoch of theirs is set by another.

    torchdata's StatefulDataLoader needs no list of states: its `state_dict` holds its workers'.
    """

    def __init__(
        self,
        stream: Stream,
        convert: Callable[[Batch], Mapping[str, Any] | Sequence[Any]] | None = None,
    ) -> None:
        if not isinstance(stream, Stream):
            raise UnsupportedTypeError(f"StreamDataset takes a Stream; got {name_of(stream)}")
        shuffled(2, 0)  # loads Numba: workers that are forked have it, and need no second each
        self.stream = stream
        self.convert = convert or to_tensors
        begun = stream._progress.start
        self._loaded = [begun.to_dict()] if begun else []
        self._loads = 0
        self._shared = Shared(stream._progress.epoch, self._loads)
        self._state: dict[str, Any] | None = None  # where this process stands, once it iterates

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, _shared=copy(self._shared))
        return made

    def set_epoch(self, epoch: int) -> None:
        """Iterate this epoch next: from a loaded state, where it is of it, else from its start."""
        self._shared.numbers[0] = check_count("epoch", epoch)
        self._state = None
        if self._loaded and self._loaded[0]["epoch"] != epoch:
            self._loaded = []

    def load_state_dict(self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Go on from the last state seen from each worker, with as many workers or others.

        A worker of which nothing was seen still stands where it began. Where there are several
        ranks and their number, the workers' or the rows of a batch change, pass the states of all
        of them.

        The next loop goes on from there. With workers, so does each one after it, until
        `set_epoch` names another epoch. Workers that persist cannot go back: once they have
        begun, make a new DataLoader.

        What does not fit raises InvalidInputError, when the dataset is iterated.
        """
        states = [state] if isinstance(state, Mapping) else list(state)
        if not states or not all(map(_is_state, states)):
            raise InvalidInputError(
                f"load_state_dict takes the states of batches, a list of them; got {state!r}"
            )
        for one in states:
            check_sealed(one)
        self._state = None
        if torch.utils.data.get_worker_info() is None:
            self._loaded = _all_workers(states)
            self._loads += 1
            self._shared.numbers[:] = torch.tensor([self._loaded[0]["epoch"], self._loads])
        else:  # torchdata hands each worker its own state, and the epoch is not its to change
            self._loaded = [dict(one) for one in states]

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands; torchdata's StatefulDataLoader asks each worker for it."""
        return dict(self._state or self._begin()[1])

    def __iter__(self) -> Iterator[TensorBatch | TensorList]:
        share, self._state = self._begin()
        self._loaded = []
        return self._deliver(share, self._state)

    def _begin(self) -> tuple[Stream, dict[str, Any]]:
        """The share of this worker, and its state before the first batch."""
        worker, workers = _worker()
        shard = self.stream._settings.shard
        rank, world_size = shard.rank * workers + worker, shard.world_size * workers
        share = self.stream.shard(rank, world_size, even=shard.even)
        share.set_epoch(int(self._shared.numbers[0]))
        if self._loaded:
            share.load_state_dict(self._loaded)
        state = share.state_dict()
        began = _began(self._loaded, rank - worker, workers, state)
        return share, sealed({**state, "workers": workers, "began": began})

    def _deliver(self, share: Stream, start: dict[str, Any]) -> Iterator[TensorBatch | TensorList]:
        if int(self._shared.numbers[1]) != self._loads:
            raise StreamError(
                "load_state_dict was called after this worker had begun, and workers that "
                "persist cannot notice: make a new DataLoader"
            )
        for batch in share:
            tensors = _shipped(self.convert(batch))
            self._state = tensors.state = sealed({**start, **(batch.state or {})})
            tensors.row_ids, tensors.num_rows = batch.row_ids, batch.num_rows
            tensors.repeated, tensors.sources = batch.repeated, batch.sources
            yield tensors
        # a worker stays at its end: others may not have come to theirs
        if torch.utils.data.get_worker_info() is None:
            self._state = None
            self._shared.numbers[0] = share.state_dict()["epoch"]


def _shipped(converted: Any) -> TensorBatch | TensorList:
    """What convert made, without the rows around its slices, and with room for attributes."""
    if isinstance(converted, Mapping):
        return TensorBatch({name: own(column) for name, column in converted.items()})
    if isinstance(converted, tuple | list):
        return TensorList(map(_own, converted))
    raise UnsupportedTypeError(
        "convert must return a mapping, or a tuple or list such as (x, y); "
        f"got {type(converted).__name__}"
    )


def _own(part: Any) -> Any:
    return tuple(map(_own, part)) if type(part) is tuple else own(part)


def _worker() -> tuple[int, int]:
    """This worker's number, and how many there are; 0 of 1 in the main process."""
    info = torch.utils.data.get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)


def _began(
    loaded: Sequence[Mapping[str, Any]], first: int, workers: int, state: Mapping[str, Any]
) -> list[dict[str, Any] | None]:
    """Where each worker of a rank begins; None where only that worker knows."""
    alike = "world_size", "deals"
    if not loaded or any(loaded[0][name] != state[name] for name in alike):  # dealt out anew
        return [_START] * workers
    starts = {one["rank"]: {name: one[name] for name in _START} for one in loaded}
    return [starts.get(rank) for rank in range(first, first + workers)]


def _is_state(state: Any) -> bool:
    if not isinstance(state, Mapping):
        return False
    numbers = state.get("epoch"), state.get("rank"), state.get("workers", 1)
    return all(isinstance(number, int) for number in numbers) and numbers[2] > 0


def _all_workers(states: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The states of every worker of every rank of which something was seen."""
    ranks: dict[int, list[Mapping[str, Any]]] = {}
    for state in states:
        ranks.setdefault(state["rank"] // state.get("workers", 1), []).append(state)
    epochs = {rank: max(state["epoch"] for state in seen) for rank, seen in ranks.items()}
    first = next(iter(epochs))
    for rank, epoch in epochs.items():
        if epoch != epochs[first]:
            raise InvalidInputError(
                f"rank {first} is in epoch {epochs[first]} and rank {rank} in epoch {epoch}: "
                "pass states of the same moment"
            )
    return [state for seen in ranks.values() for state in _with_unseen(seen, epochs[first])]


def _with_unseen(states: Sequence[Mapping[str, Any]], epoch: int) -> list[dict[str, Any]]:
    """The states of a rank's workers; one that was not seen in this epoch is where it began it.

    No epoch begins before all workers of a rank are done with the one before.
    """
    seen = [dict(state) for state in states if state["epoch"] == epoch]
    workers, some = seen[0].get("workers", 1), seen[0]
    first = some["rank"] // workers * workers
    unseen = set(range(first, first + workers)) - {state["rank"] for state in seen}
    began = some.get("began") or [_START] * workers
    starts = {rank: began[rank - first] for rank in sorted(unseen)}
    return seen + [
        sealed({**some, **start, "rank": rank}) for rank, start in starts.items() if start
    ]
