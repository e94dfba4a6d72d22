"""Ragged to torch and back, as jagged, padded and packed tensors; streams for its DataLoader.

>>> import ragmask as rm
>>> from ragmask.interop.torch import to_padded
>>> values, mask = to_padded(rm.Ragged.from_rows([[1, 2, 3], [4]]))
>>> values
tensor([[1, 2, 3],
        [4, 0, 0]])

Tensors live on the CPU; nothing is moved to or from another device. Needs the extra `torch`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask import arrow, layers
from ragmask.arrays.coerce import index_array, number_dtype
from ragmask.arrays.host import offsets_of, read_only, total_steps
from ragmask.arrays.protocol import Array, Ints, check_size
from ragmask.batches.ragged import Ragged
from ragmask.errors import (
    InvalidInputError,
    MissingExtraError,
    StreamError,
    UnsupportedTypeError,
)
from ragmask.rows.checks import Side, check_count
from ragmask.rows.padding import pack_rows, padded_width
from ragmask.streaming.batch import Batch
from ragmask.streaming.columns import own
from ragmask.streaming.state import check_sealed, sealed
from ragmask.streaming.stream import Stream
from ragmask.weights import LSTMWeights

try:
    import torch
    import torch.utils.data
    from torch.nn.utils.rnn import PackedSequence
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.torch needs torch, which is not installed: pip install "ragmask[torch]"'
    ) from error

__all__ = [
    "StreamDataset",
    "TensorBatch",
    "from_jagged",
    "from_packed",
    "from_torch",
    "to_jagged",
    "to_packed",
    "to_padded",
    "to_tensors",
]

# which numpy dtype comes closest to the ones that torch has not
_TORCH_KNOWS = {"M": "int64", "m": "int64", "f": "float64", "c": "complex128"}
# what a state says at the start of an epoch, or of what was dealt out anew
_START: dict[str, Any] = {"place": [0, 0, 0], "even": None}


def to_jagged(ragged: Ragged) -> torch.Tensor:
    """A nested tensor of layout torch.jagged.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_jagged
    >>> jagged = to_jagged(rm.Ragged.from_rows([[1, 2, 3], [], [4]]))
    >>> jagged.values(), jagged.offsets()
    (tensor([1, 2, 3, 4]), tensor([0, 3, 3, 4]))

    values (n, *item) and offsets int64 (rows + 1,), with the shortest and longest length known.

    Rows that lie end to end in memory anyone may write to, a numpy array's or a tensor's, are
    not copied: writing to the tensor then changes the batch, as with torch.from_numpy. Rows
    in Arrow's memory, or in any other that its owner marked read-only, are copied once; so are
    rows that do not lie end to end.

    Raises InvalidInputError for a Ragged with a mask; UnsupportedTypeError for dtypes that
    torch does not have.
    """
    _check_ragged(ragged, "to_jagged")
    _check_unmasked(ragged, "a jagged tensor")
    _torch_dtype(ragged.dtype)
    rows = ragged.compact()
    lengths = rows.lengths
    return torch.nested.nested_tensor_from_jagged(
        torch.from_numpy(_writable(rows.values)),
        torch.from_numpy(_writable(rows.offsets)),
        min_seqlen=int(lengths.min()) if len(rows) else 0,
        max_seqlen=rows.max_length,
    )


def from_jagged(tensor: torch.Tensor) -> Ragged:
    """The rows of a nested tensor of layout torch.jagged, over the tensor's own memory.

    >>> import torch
    >>> from ragmask.interop.torch import from_jagged
    >>> values, offsets = torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])
    >>> from_jagged(torch.nested.nested_tensor_from_jagged(values, offsets))
    Ragged(2 rows, 3 steps, int64, lengths 1–2)
      [1 2]
      [3]

    Rows with holes between them (the tensor has lengths()) stay where they are. Values that
    are not contiguous are copied.

    Raises InvalidInputError, naming the row, for offsets or lengths that leave the values, and
    where another dimension than the first after the rows is ragged; UnsupportedTypeError for
    other tensors, for one that requires grad or lives on another device, and for dtypes that
    numpy does not have.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.jagged:
        raise UnsupportedTypeError(
            "from_jagged takes a nested tensor of layout torch.jagged; got "
            f"{_name_of(tensor)}: padded tensors are read by Ragged.from_padded"
        )
    _check_plain(tensor, "tensor")
    if isinstance(tensor.shape[1], int):
        raise InvalidInputError(
            "the dimension after the rows must be the ragged one; "
            f"got shape {tuple(tensor.shape)}: transpose it back first"
        )
    values = _array_of(tensor.values(), "tensor")
    offsets, lengths = tensor.offsets().numpy(), tensor.lengths()
    if lengths is None:
        return Ragged.from_offsets(values, offsets)
    return Ragged(values, offsets[:-1], lengths)


def to_padded(
    ragged: Ragged,
    maxlen: int | None = None,
    *,
    padding: Side = "post",
    truncating: Side = "post",
    value: Any = 0,
    multiple_of: int | None = None,
    dtype: torch.dtype | npt.DTypeLike | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A dense tensor of the rows, and the bool tensor of what is real in it.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_padded
    >>> values, mask = to_padded(rm.Ragged.from_rows([[1, 2, 3], [4]]), padding="pre", value=-1)
    >>> values
    tensor([[ 1,  2,  3],
            [-1, -1,  4]])
    >>> mask
    tensor([[ True,  True,  True],
            [False, False,  True]])

    values (rows, width, *item), mask (rows, width), True = keep. `dtype` may be torch's or
    numpy's; the other options are those of `Ragged.to_padded`. Rows are written straight into
    the tensors' memory; only another dtype costs a conversion before.

    Raises what `Ragged.to_padded` raises; UnsupportedTypeError for dtypes that torch or numpy
    does not have.
    """
    _check_ragged(ragged, "to_padded")
    target = ragged.dtype if dtype is None else _numpy_dtype(dtype)
    width = padded_width(ragged._rows, maxlen, multiple_of)
    shape = (len(ragged), width, *ragged.item_shape)
    check_size(shape, target.itemsize)
    values = torch.empty(shape, dtype=_torch_dtype(target), device="cpu")
    mask = torch.empty(shape[:2], dtype=torch.bool, device="cpu")
    ragged.to_padded(
        maxlen,
        padding=padding,
        truncating=truncating,
        value=value,
        multiple_of=multiple_of,
        dtype=target,
        out=(values.numpy(), mask.numpy()),
    )
    return values, mask


def to_packed(ragged: Ragged) -> PackedSequence:
    """What torch's pack_padded_sequence(..., enforce_sorted=False) gives, without the padding.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_packed
    >>> packed = to_packed(rm.Ragged.from_rows([[1], [2, 3, 4], [5, 6]]))
    >>> packed.data, packed.batch_sizes
    (tensor([2, 5, 1, 3, 6, 4]), tensor([3, 2, 1]))
    >>> packed.sorted_indices
    tensor([1, 2, 0])

    The longest row comes first; equally long rows keep their order. One copy, of the rows' own
    steps.

    Raises InvalidInputError for a Ragged with a mask, without rows or with an empty row, which
    it names; UnsupportedTypeError for dtypes that torch does not have.
    """
    _check_ragged(ragged, "to_packed")
    _check_unmasked(ragged, "a PackedSequence")
    dtype = _torch_dtype(ragged.dtype)
    if len(ragged) == 0:
        raise InvalidInputError("a PackedSequence has one row at least; the batch has none")
    if not ragged.lengths.all():
        raise InvalidInputError(
            f"row {int(ragged.lengths.argmin())} is empty, and a PackedSequence holds no empty "
            "rows: leave them out, with r[r.lengths > 0]"
        )
    order = np.argsort(-ragged.lengths, kind="stable")
    rows = ragged._rows.pick(order)
    lengths = rows.lengths
    sizes = len(ragged) - np.searchsorted(lengths[::-1], np.arange(lengths[0]), side="right")
    data = torch.empty((ragged.n_steps, *ragged.item_shape), dtype=dtype, device="cpu")
    step_starts = read_only(offsets_of(sizes)[:-1])
    pack_rows(rows, step_starts, data.numpy())
    indices = (sizes, order, _inverse(order))
    return PackedSequence(data, *(torch.from_numpy(array) for array in indices))


def from_packed(packed: PackedSequence) -> Ragged:
    """The rows of a PackedSequence, in their order before they were sorted. One copy.

    >>> import torch
    >>> from torch.nn.utils.rnn import pack_sequence
    >>> from ragmask.interop.torch import from_packed
    >>> rows = [torch.tensor([1]), torch.tensor([2, 3, 4])]
    >>> from_packed(pack_sequence(rows, enforce_sorted=False)).to_rows()
    [array([1]), array([2, 3, 4])]

    Raises InvalidInputError for batch sizes or indices that cannot be right;
    UnsupportedTypeError for anything else, for data that requires grad or lives on another
    device, and for dtypes that numpy does not have.
    """
    if not isinstance(packed, PackedSequence):
        raise UnsupportedTypeError(f"from_packed takes a PackedSequence; got {_name_of(packed)}")
    data = _array_of(packed.data, "packed.data")
    sizes = index_array(_array_of(packed.batch_sizes, "packed.batch_sizes"), "batch_sizes")
    _check_batch_sizes(sizes, data.shape)
    rows = int(sizes[0]) if sizes.size else 0
    place = _places(packed.unsorted_indices, rows)
    lengths = (sizes.size - np.searchsorted(sizes[::-1], np.arange(rows), side="right"))[place]
    offsets = offsets_of(lengths)
    steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    values = np.take(data, offsets_of(sizes)[steps] + np.repeat(place, lengths), axis=0)
    return Ragged.from_offsets(values, offsets)


# -- models -------------------------------------------------------------------------------


def from_torch(module: torch.nn.LSTM) -> layers.Sequential:
    """An nn.LSTM as a model of LSTM or Bidirectional layers that give all their outputs.

    >>> import ragmask as rm
    >>> import torch
    >>> from ragmask.interop.torch import from_torch
    >>> model = from_torch(torch.nn.LSTM(12, 8, num_layers=2, bidirectional=True))
    >>> model
    Sequential('lstm', 2 layers, 2,944 numbers)
    >>> model(rm.Ragged.from_rows([[[0.5] * 12, [0.25] * 12], []])).item_shape
    (16,)

    The outputs are what torch gives for packed rows; rows may be empty too. They come first,
    whatever `batch_first` says. The weights are copied; torch's two biases, which are always
    added, become one. Dropout between layers is for training, and left out.

    Raises UnsupportedTypeError for other modules, for an LSTM with a projection (proj_size), and
    for weights that are not float32 or live on another device.
    """
    if not isinstance(module, torch.nn.LSTM):
        raise UnsupportedTypeError(f"from_torch takes an nn.LSTM; got {type(module).__name__}")
    state = module.state_dict()
    for name, weight in state.items():
        _check_plain(weight, name)
        if weight.dtype != torch.float32:
            raise UnsupportedTypeError(
                f"{name} is {weight.dtype}, and layers compute in float32: take module.float()"
            )
    model = layers.Sequential([layers.Input((None, module.input_size))], name="lstm")
    for number in range(module.num_layers):
        forward = layers.LSTM(**_lstm_options(module, number, False))
        if module.bidirectional:
            backward = layers.LSTM(**_lstm_options(module, number, True))
            name = f"bidirectional_l{number}"
            model.add(layers.Bidirectional(forward, backward_layer=backward, name=name))
        else:
            model.add(forward)
        sides = (False, True) if module.bidirectional else (False,)
        model.layers[-1].set_weights(
            [array for reverse in sides for array in _lstm_arrays(module, state, number, reverse)]
        )
    return model


def _lstm_options(module: torch.nn.LSTM, number: int, reverse: bool) -> dict[str, Any]:
    return {
        "units": module.hidden_size,
        "use_bias": module.bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "return_sequences": True,
        "go_backwards": reverse,
        "name": f"lstm_l{number}{'_reverse' if reverse else ''}",
    }


def _lstm_arrays(
    module: torch.nn.LSTM, state: Mapping[str, Any], number: int, reverse: bool
) -> list[Array]:
    weights = LSTMWeights.from_torch(state, number, reverse)
    arrays = [weights.kernel, weights.recurrent_kernel, weights.bias]
    return arrays if module.bias else arrays[:2]


# -- streams ------------------------------------------------------------------------------


class TensorBatch(dict[str, Any]):
    """A batch of tensors by column, with the attributes of the Batch it was made from.

    `state`, `row_ids`, `num_rows` and `repeated` travel with it between processes.
    """

    state: dict[str, Any]
    row_ids: Ints | None
    num_rows: int
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
            _torch_dtype(column.dtype)
            return torch.tensor(column)
    if type(column) is np.ndarray and column.dtype.kind in "mM":
        # left a numpy array, a DataLoader would try to make a tensor of it
        return arrow.write_scalars(column)
    return column


class StreamDataset(torch.utils.data.IterableDataset[TensorBatch]):
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
    convert : a function that makes a mapping of a Batch, run where the batch is read; by
        default `to_tensors`. What it makes becomes a TensorBatch.

    With W workers, worker w of rank r reads the share of rank r · W + w of W times as many; with
    `shard(even=True)` all of them deliver the same number of batches.

    Call `set_epoch` before each epoch, as for torch's DistributedSampler: workers end with their
    epoch and cannot count, and deliver the same one again. Without workers, epochs advance by
    themselves.

    torchdata's StatefulDataLoader needs no list of states: its `state_dict` holds its workers'.
    """

    def __init__(
        self, stream: Stream, convert: Callable[[Batch], Mapping[str, Any]] | None = None
    ) -> None:
        if not isinstance(stream, Stream):
            raise UnsupportedTypeError(f"StreamDataset takes a Stream; got {_name_of(stream)}")
        self.stream = stream
        self.convert = convert or to_tensors
        begun = stream._progress.start
        self._loaded = [begun.to_dict()] if begun else []
        self._loads = 0
        # the epoch, and how often a state was loaded: shared, for workers that persist
        self._shared = torch.tensor([stream._progress.epoch, self._loads])
        self._shared.share_memory_()  # type: ignore[no-untyped-call]
        self._state: dict[str, Any] | None = None  # where this process stands, once it iterates

    def set_epoch(self, epoch: int) -> None:
        """Iterate this epoch next: from a loaded state, where it is of it, else from its start."""
        self._shared[0] = check_count("epoch", epoch)
        self._state = None
        if self._loaded and self._loaded[0]["epoch"] != epoch:
            self._loaded = []

    def load_state_dict(self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Go on from the last state seen from each worker, with as many workers or others.

        A worker of which nothing was seen still stands where it began. Where there are several
        ranks and their number or the workers' changes, pass the states of all of them.

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
            self._shared[:] = torch.tensor([self._loaded[0]["epoch"], self._loads])
        else:  # torchdata hands each worker its own state, and the epoch is not its to change
            self._loaded = [dict(one) for one in states]

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands; torchdata's StatefulDataLoader asks each worker for it."""
        return dict(self._state or self._begin()[1])

    def __iter__(self) -> Iterator[TensorBatch]:
        share, self._state = self._begin()
        self._loaded = []
        return self._deliver(share, self._state)

    def _begin(self) -> tuple[Stream, dict[str, Any]]:
        """The share of this worker, and its state before the first batch."""
        worker, workers = _worker()
        shard = self.stream._settings.shard
        rank, world_size = shard.rank * workers + worker, shard.world_size * workers
        share = self.stream.shard(rank, world_size, even=shard.even)
        share.set_epoch(int(self._shared[0]))
        if self._loaded:
            share.load_state_dict(self._loaded)
        began = _began(self._loaded, rank - worker, workers, world_size)
        return share, sealed({**share.state_dict(), "workers": workers, "began": began})

    def _deliver(self, share: Stream, start: dict[str, Any]) -> Iterator[TensorBatch]:
        if int(self._shared[1]) != self._loads:
            raise StreamError(
                "load_state_dict was called after this worker had begun, and workers that "
                "persist cannot notice: make a new DataLoader"
            )
        for batch in share:
            converted = self.convert(batch)
            if not isinstance(converted, Mapping):
                raise UnsupportedTypeError(
                    f"convert must return a mapping; got {type(converted).__name__}"
                )
            tensors = TensorBatch({name: own(column) for name, column in converted.items()})
            self._state = tensors.state = sealed({**start, **(batch.state or {})})
            tensors.row_ids, tensors.num_rows = batch.row_ids, batch.num_rows
            tensors.repeated = batch.repeated
            yield tensors
        # a worker stays at its end: others may not have come to theirs
        if torch.utils.data.get_worker_info() is None:
            self._state = None
            self._shared[0] = start["epoch"] + 1


def _worker() -> tuple[int, int]:
    """This worker's number, and how many there are; 0 of 1 in the main process."""
    info = torch.utils.data.get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)


def _began(
    loaded: Sequence[Mapping[str, Any]], first: int, workers: int, world_size: int
) -> list[dict[str, Any] | None]:
    """Where each worker of a rank begins; None where only that worker knows."""
    if not loaded or loaded[0]["world_size"] != world_size:  # else rows are dealt out anew
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


# -- memory and dtypes --------------------------------------------------------------------


def _writable(values: Array) -> Array:
    """A writable view where the owner of the memory lets anyone write to it, else a copy.

    torch has no read-only tensors.
    """
    if values.flags.aligned and not arrow.owns_memory(values):
        shared = values.view()
        with suppress(ValueError):  # numpy's word for memory that is read-only at its owner
            shared.flags.writeable = True
            return shared
    return values.copy()


def _array_of(tensor: torch.Tensor, what: str) -> Array:
    """A numpy view of a tensor, or an error that says how to make one."""
    _check_plain(tensor, what)
    try:
        array: Array = tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"{what} of {tensor.dtype} cannot be read as a numpy array ({error}): "
            f"cast it first, for instance with {what}.float()"
        ) from error
    return array


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except TypeError as error:
        raise UnsupportedTypeError(
            f"torch has no {dtype}: convert it first, with "
            f"r.with_values(r.values.astype({_TORCH_KNOWS.get(dtype.kind, dtype.name)!r}))"
        ) from error


def _numpy_dtype(dtype: torch.dtype | npt.DTypeLike) -> np.dtype[Any]:
    if not isinstance(dtype, torch.dtype):
        return number_dtype(dtype)
    try:
        known: np.dtype[Any] = torch.empty(0, dtype=dtype, device="cpu").numpy().dtype
    except (TypeError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"numpy has no {dtype}: leave dtype out, and cast the tensor with values.to({dtype})"
        ) from error
    return known


# -- checks -------------------------------------------------------------------------------


def _check_ragged(ragged: Ragged, function: str) -> None:
    if not isinstance(ragged, Ragged):
        raise UnsupportedTypeError(f"{function} takes a Ragged; got {_name_of(ragged)}")


def _check_unmasked(ragged: Ragged, what: str) -> None:
    if ragged.mask is not None:
        raise InvalidInputError(
            f"{what} has no mask, and the Ragged has one: drop its masked steps first, "
            "or use to_padded, which gives the mask too"
        )


def _check_plain(tensor: torch.Tensor, what: str) -> None:
    if tensor.device.type != "cpu":
        raise UnsupportedTypeError(
            f"{what} lives on {tensor.device}, and nothing is moved silently: take {what}.cpu()"
        )
    if tensor.requires_grad:
        raise UnsupportedTypeError(
            f"{what} requires grad, which a Ragged cannot carry: take {what}.detach()"
        )


def _check_batch_sizes(sizes: Ints, shape: tuple[int, ...]) -> None:
    """Raise unless the sizes fall from step to step, to 1 or more, and count all of the data."""
    if not shape:
        raise InvalidInputError("packed.data is a single value; it must have a step axis")
    falls = sizes[1:] <= sizes[:-1]
    if not falls.all():
        step = int(falls.argmin())
        raise InvalidInputError(
            f"batch_sizes grow after step {step}, from {sizes[step]} to {sizes[step + 1]}"
        )
    if sizes.size and sizes[-1] < 1:
        raise InvalidInputError(f"batch_sizes must be 1 or more; got {sizes[-1]}")
    if total_steps(sizes) != shape[0]:
        raise InvalidInputError(
            f"batch_sizes count {total_steps(sizes)} steps, and packed.data has {shape[0]}"
        )


def _places(unsorted_indices: torch.Tensor | None, rows: int) -> Ints:
    """Where each row stands among the sorted ones."""
    if unsorted_indices is None:
        return np.arange(rows)
    place = index_array(_array_of(unsorted_indices, "unsorted_indices"), "unsorted_indices")
    if not np.array_equal(np.sort(place), np.arange(rows)):
        raise InvalidInputError(f"unsorted_indices must name each of {rows} rows once")
    return place


def _inverse(order: Ints) -> Ints:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size)
    return inverse


def _name_of(given: object) -> str:
    if isinstance(given, torch.Tensor):
        return f"a tensor of layout {given.layout}"
    return type(given).__name__
