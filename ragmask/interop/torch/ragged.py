"""RaggedTensor: rows of unequal length, as tensors that torch can differentiate."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ragmask.arrays.protocol import LARGEST
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, RowIndexError, UnsupportedTypeError
from ragmask.interop.torch import custom
from ragmask.interop.torch.checks import check_lengths, check_parts, check_width
from ragmask.interop.torch.memory import check_ragged, torch_dtype, writable
from ragmask.rows.checks import Side, check_count, check_side


@dataclass(frozen=True, eq=False, repr=False)
class RaggedTensor:
    """A batch of rows, laid end to end in a tensor.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 2, 3]))
    >>> x
    RaggedTensor(3 rows, 3 steps, float32, lengths 0–2)
    >>> x[0], x.lengths
    (tensor([1., 2.]), tensor([2, 0, 1]))

    values : (n_steps, *item), of any dtype.
    offsets : int64 (rows + 1,), from 0 to n_steps: row i is `values[offsets[i] : offsets[i + 1]]`.
    mask : bool (n_steps,), True = keep, or None. The gradient of a masked step is 0, and so is what
        it adds to others', whatever arrives there.

    All on one device. It is a pytree of its tensors, which torch.compile takes apart and puts
    together again. Rows that are picked, truncated, split or joined are copied; their gradients are
    added up where they came from.

    Raises InvalidInputError, naming the row, for offsets that do not fit; DeviceError for tensors
    on several devices.
    """

    values: torch.Tensor
    offsets: torch.Tensor
    mask: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not torch.compiler.is_compiling():
            check_parts(self.values, self.offsets, self.mask)

    # -- made from

    @classmethod
    def from_ragged(cls, ragged: Ragged) -> "RaggedTensor":
        """A Ragged's rows, without a copy where they lie end to end in memory that may be written.

        >>> import ragmask as rm
        >>> import ragmask.interop.torch as rt
        >>> rt.RaggedTensor.from_ragged(rm.Ragged.from_rows([[1, 2], [3]])).values
        tensor([1, 2, 3])

        As for `to_jagged`, the tensors share the batch's memory, or have one copy of it. Raises
        UnsupportedTypeError for dtypes that torch does not have.
        """
        check_ragged(ragged, "RaggedTensor.from_ragged")
        rows = ragged.compact()
        if not rows._rows.arrays.is_host:
            mask = None if rows.mask is None else torch.as_tensor(rows.mask)
            return made(torch.as_tensor(rows.values), torch.as_tensor(rows.offsets), mask)
        torch_dtype(ragged.dtype)
        mask = None if rows.mask is None else torch.from_numpy(writable(rows.mask))
        values = torch.from_numpy(writable(rows._rows.values))
        return made(values, torch.from_numpy(writable(rows.offsets)), mask)

    @classmethod
    def from_rows(cls, rows: Sequence[torch.Tensor]) -> "RaggedTensor":
        """One tensor a row, (length, *item) each, joined by torch.cat.

        >>> import torch
        >>> import ragmask.interop.torch as rt
        >>> rt.RaggedTensor.from_rows([torch.ones(2), torch.ones(1)]).offsets
        tensor([0, 2, 3])
        """
        if not len(rows):
            raise InvalidInputError("from_rows needs at least one row, to know what a step is")
        for number, row in enumerate(rows):
            if not isinstance(row, torch.Tensor) or row.ndim == 0:
                raise UnsupportedTypeError(
                    f"row {number} must be a tensor (length, *item); got {row!r:.40}"
                )
        lengths = torch.tensor([0, *map(len, rows)], device=rows[0].device)
        return cls(torch.cat(list(rows)), lengths.cumsum(0))

    @classmethod
    def from_padded(
        cls,
        values: torch.Tensor,
        mask: torch.Tensor | None = None,
        *,
        lengths: torch.Tensor | None = None,
    ) -> "RaggedTensor":
        """The rows of (rows, width, *item): the first `lengths` steps of each, or those kept.

        >>> import torch
        >>> import ragmask.interop.torch as rt
        >>> rt.RaggedTensor.from_padded(torch.eye(2), lengths=torch.tensor([1, 2])).values
        tensor([1., 0., 1.])

        mask : bool (rows, width): a row goes from its first kept step to its last, and keeps the
            mask of what lies between, if that has holes. Without mask and lengths rows are full.
        """
        if not isinstance(values, torch.Tensor) or values.ndim < 2:
            raise UnsupportedTypeError(
                "from_padded takes a tensor (rows, width, *item); got "
                f"{tuple(values.shape) if isinstance(values, torch.Tensor) else type(values)}"
            )
        rows, width = values.shape[:2]
        places = torch.arange(width, device=values.device)
        first = torch.zeros(rows, dtype=torch.int64, device=values.device)
        if mask is not None:
            if lengths is not None:
                raise InvalidInputError("pass a mask or lengths, not both")
            if mask.shape != values.shape[:2] or mask.dtype != torch.bool:
                raise InvalidInputError(
                    f"mask must be bool {tuple(values.shape[:2])}; "
                    f"got {mask.dtype} {tuple(mask.shape)}"
                )
            first = torch.where(mask, places, width).amin(1) if width else first
            last = torch.where(mask, places + 1, 0).amax(1) if width else first
            lengths = (last - first).clamp(min=0)
        elif lengths is None:
            lengths = torch.full_like(first, width)
        else:
            check_lengths(lengths, rows, width)
        starts = torch.arange(rows, device=values.device) * width + first
        flat = cls(values.flatten(0, 1), torch.tensor([0, rows * width], device=values.device))
        taken = flat.taken(starts, lengths.to(torch.int64))
        if mask is None:
            return taken
        kept = custom.take_rows(mask.flatten(), starts, lengths)
        if not torch.compiler.is_compiling() and kept.device.type != "meta" and kept.all():
            return taken
        return made(taken.values, taken.offsets, kept)

    # -- what it is

    @property
    def lengths(self) -> torch.Tensor:
        """int64 (rows,)."""
        return self.offsets.diff()

    @property
    def longest(self) -> int:
        """The longest row's length; 0 where there are no rows."""
        return int(self.lengths.max()) if len(self) else 0

    @property
    def n_steps(self) -> int:
        return len(self.values)

    @property
    def item_shape(self) -> torch.Size:
        """The shape of one step."""
        return self.values.shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    @property
    def requires_grad(self) -> bool:
        requires_grad: bool = self.values.requires_grad
        return requires_grad

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        shape = "".join(f"{size} " for size in self.item_shape)
        lengths = self.lengths
        span = f", lengths {lengths.min()}–{lengths.max()}" if len(self) else ""
        notes = f"{', masked' if self.mask is not None else ''}"
        notes += f", {self.device}" if self.device.type != "cpu" else ""
        notes += ", requires grad" if self.requires_grad else ""
        dtype = str(self.dtype).removeprefix("torch.")
        rows, steps = (f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in self._counts())
        return f"RaggedTensor({rows}, {steps}, {shape}{dtype}{span}{notes})"

    def _counts(self) -> list[tuple[int, str]]:
        return [(len(self), "row"), (self.n_steps, "step")]

    # -- to other forms

    def with_values(self, values: torch.Tensor) -> "RaggedTensor":
        """The same rows of as many other values, and the same mask."""
        if not isinstance(values, torch.Tensor) or values.ndim == 0:
            raise UnsupportedTypeError(
                f"values must be a tensor (n_steps, *item); got {type(values).__name__}"
            )
        if len(values) != self.n_steps:
            raise InvalidInputError(
                f"there are {self.n_steps} steps; got {len(values)} values for them"
            )
        return made(values, self.offsets, self.mask)

    def with_mask(self, mask: torch.Tensor | None) -> "RaggedTensor":
        """The same rows with another mask, bool (n_steps,), or none."""
        return RaggedTensor(self.values, self.offsets, mask)

    def to(self, *args: Any, **options: Any) -> "RaggedTensor":
        """Its values as `Tensor.to` gives them; offsets and mask follow to another device."""
        values = self.values.to(*args, **options)
        mask = None if self.mask is None else self.mask.to(values.device)
        return made(values, self.offsets.to(values.device), mask)

    def detach(self) -> "RaggedTensor":
        return self.with_values(self.values.detach())

    def to_ragged(self) -> Ragged:
        """A Ragged over the tensors' own memory. Raises where the values require grad."""
        if self.requires_grad:
            raise UnsupportedTypeError(
                "the values require grad, which a Ragged cannot carry: take x.detach().to_ragged()"
            )
        return Ragged.from_offsets(self.values, self.offsets, self.mask)

    def to_padded(
        self, value: float = 0, *, width: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (rows, width, *item) and their mask (rows, width), rows first, then `value`.

        >>> import torch
        >>> import ragmask.interop.torch as rt
        >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 3]))
        >>> x.to_padded()[0]
        tensor([[1., 2.],
                [3., 0.]])

        width : by default that of the longest row; none may be longer.
        """
        lengths = self.lengths
        if width is None:
            width = self.longest
        else:
            check_width(self, width)
        values = custom.to_padded(self.kept_values(), self.offsets, width, value)
        inside = torch.arange(width, device=self.device) < lengths[:, None]
        if self.mask is not None:
            inside = custom.to_padded(self.mask, self.offsets, width, 0)
        return values, inside

    def kept_values(self) -> torch.Tensor:
        """The values, whose masked steps get no gradient."""
        if self.mask is None or not self.requires_grad:
            return self.values
        kept = self.mask.view(-1, *[1] * len(self.item_shape))
        return torch.where(kept, self.values, self.values.detach())

    # -- some rows, or some of their steps: copies

    def __getitem__(self, rows: Any) -> Any:
        """A row's values for an int; a RaggedTensor for a slice, and for ints or bools of rows.

        Raises IndexError for rows that are not there; UnsupportedTypeError for what names none.
        """
        if isinstance(rows, slice):
            places = range(len(self))[rows]  # torch has no negative steps
            rows = torch.arange(len(places), device=self.device) * places.step + places.start
        elif hasattr(rows, "__index__") and getattr(rows, "ndim", 0) == 0:
            row = operator.index(rows)
            if not -len(self) <= row < len(self):
                raise RowIndexError(f"row {row} of a batch of {len(self)} rows")
            row %= len(self)
            if torch.compiler.is_compiling():  # where a view of unknown size has no gradient
                return self.taken(self.offsets[row : row + 1], self.lengths[row : row + 1]).values
            return self.kept_values()[int(self.offsets[row]) : int(self.offsets[row + 1])]
        else:
            rows = self._row_numbers(rows)
        return self.taken(self.offsets[:-1][rows], self.lengths[rows])

    def _row_numbers(self, rows: Any) -> torch.Tensor:
        """Rows as a tensor of ints or bools that may index others."""
        try:
            numbers = torch.as_tensor(rows, device=self.device)
        except (TypeError, ValueError, RuntimeError):
            numbers = None
        if numbers is None or isinstance(rows, tuple) or numbers.ndim != 1:
            kind = type(rows).__name__ if numbers is None else f"shape {tuple(numbers.shape)}"
            raise UnsupportedTypeError(
                f"rows are picked by an integer, a slice, or integers or bools (rows,); got {kind}"
            )
        are_bools = numbers.dtype == torch.bool
        if are_bools and len(numbers) != len(self):
            raise InvalidInputError(
                f"an index of bools needs one for each of {len(self)} rows; got {len(numbers)}"
            )
        if (numbers.dtype.is_floating_point or numbers.dtype.is_complex) and len(numbers):
            raise UnsupportedTypeError(f"rows are picked by integers; got {numbers.dtype}")
        return numbers if are_bools else numbers.long()

    def truncate(self, maxlen: int, side: Side = "post") -> "RaggedTensor":
        """At most `maxlen` steps of each row; `side` is the end that is cut off."""
        check_side("side", side)
        lengths = self.lengths.clamp(max=min(check_count("maxlen", maxlen), LARGEST))
        starts = self.offsets[1:] - lengths if side == "pre" else self.offsets[:-1]
        return self.taken(starts, lengths)

    def taken(self, starts: torch.Tensor, lengths: torch.Tensor) -> "RaggedTensor":
        """Rows of these starts and lengths in its values, end to end."""
        values = custom.take_rows(self.kept_values(), starts, lengths)
        mask = None if self.mask is None else custom.take_rows(self.mask, starts, lengths)
        return made(values, offsets_of(lengths), mask)


def made(
    values: torch.Tensor, offsets: torch.Tensor, mask: torch.Tensor | None = None
) -> RaggedTensor:
    """Of tensors that fit each other."""
    if torch.compiler.is_compiling():
        return RaggedTensor(values, offsets, mask)
    ragged = object.__new__(RaggedTensor)
    for name, tensor in (("values", values), ("offsets", offsets), ("mask", mask)):
        object.__setattr__(ragged, name, tensor)
    return ragged


def offsets_of(lengths: torch.Tensor) -> torch.Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def check_ragged_tensor(x: Any, what: str = "x") -> None:
    if not isinstance(x, RaggedTensor):
        raise UnsupportedTypeError(
            f"{what} must be a RaggedTensor; got {type(x).__name__}: make one with "
            "RaggedTensor(values, offsets), from_ragged or from_padded"
        )


def _flatten(ragged: RaggedTensor) -> tuple[list[Any], None]:
    return [ragged.values, ragged.offsets, ragged.mask], None


def _flatten_with_keys(ragged: RaggedTensor) -> tuple[list[Any], None]:
    names = "values", "offsets", "mask"
    return [(torch.utils._pytree.GetAttrKey(name), getattr(ragged, name)) for name in names], None


def _unflatten(parts: Iterable[Any], _: Any) -> RaggedTensor:
    """Of whatever a pytree's leaves were made into, tensors or not: nothing is checked."""
    return made(*parts)


torch.utils._pytree.register_pytree_node(
    RaggedTensor,
    _flatten,
    _unflatten,
    serialized_type_name="ragmask.interop.torch.RaggedTensor",
    flatten_with_keys_fn=_flatten_with_keys,
)
