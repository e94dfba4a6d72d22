"""What operators on symbols make: layers that compute with numpy's functions, or take parts out."""

from typing import Any

import numpy as np

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import each, of_one_kind, reverse, shape_of
from ragmask.layers.graph import Symbol
from ragmask.layers.layer import Layer, new_name
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape


@register
class Operation(Layer):
    """A function of numpy's of each number: `a + b`, `x * 2` and `np.exp(x)` of symbols.

    >>> import ragmask as rm
    >>> frames = rm.layers.Input((None, 2), name="frames")
    >>> model = rm.layers.Model(frames, 2 * frames + 1)
    >>> model(rm.Ragged.from_rows([[[1.0, 2.0]]])).to_rows()
    [array([[3., 5.]])]

    function : its name in numpy, such as "add".
    operands : what it is given: None for the next batch, else a number or an array of a step's
        shape.
    keeps_mask : whether its output has the mask; Keras's operators forget it.

    Rows and masks stay; of several batches a step is kept that all of them keep.
    """

    def __init__(
        self,
        function: str,
        operands: Any = (None,),
        keeps_mask: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._masks_itself = self.supports_masking = bool(keeps_mask)
        self.function = _function(function)
        self.operands = [
            one.item() if isinstance(one, np.generic) else one for one in operands
        ]  # a numpy number would change the dtype, and no file has any

    def _filled(self, inputs: Any) -> list[Any]:
        """Its operands, with the batches among them."""
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        wanted = sum(one is None for one in self.operands)
        if len(given) != wanted:
            raise InvalidInputError(f"layer {self.name!r} takes {wanted} batches")
        batches = iter(of_one_kind(given))
        return [next(batches) if one is None else one for one in self.operands]

    def call(self, inputs: Any) -> Any:
        with np.errstate(all="ignore"):  # padding may hold anything
            return self.function(*self._filled(inputs))

    def compute_output(self, inputs: Any) -> Spec:
        given = self._filled(inputs)
        specs = [one for one in given if isinstance(one, Spec)]
        first = specs[0]
        shapes = [_shape_beside(one, first) for one in given]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise InvalidInputError(
                f"its operands do not fit each other: {', '.join(map(shown_shape, shapes))}"
            ) from error
        if first.kind != "dense" and len(shape) > max(len(one.item_shape) for one in specs):
            raise InvalidInputError(f"an operand of shape {shape} does not fit one step")
        ones = [
            np.zeros(1, one.dtype) if isinstance(one, Spec | np.ndarray) else one for one in given
        ]
        with np.errstate(all="ignore"):
            dtype = self.function(*ones).dtype
        if first.kind == "dense":
            return first.of((None, *shape[1:]), dtype)
        return first.of_items(*shape, dtype=dtype).masked(any(one.is_masked for one in specs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = None
        if not self.supports_masking:
            return None
        for one in mask if isinstance(mask, list | tuple) else [mask]:
            if one is not None:
                kept = one if kept is None else np.logical_and(kept, one)
        return kept


def _function(name: Any) -> Any:
    function: Any = getattr(np, name, None) if isinstance(name, str) else None
    if not isinstance(function, np.ufunc) or function.nout > 1 or function.signature is not None:
        raise InvalidInputError(f"{name!r} is no function of numpy's of each number")
    return function


def _shape_beside(operand: Any, first: Spec) -> tuple[int, ...]:
    """Of an operand of a step, or of all rows of arrays."""
    if not isinstance(operand, Spec):
        return np.shape(operand)
    check_one(operand)
    if operand.kind == "dense":
        return (1, *operand.shape[1:])  # type: ignore[arg-type]
    if operand.shape[1] != first.shape[1]:
        raise InvalidInputError(f"its operands are {first.shape[1]} and {operand.shape[1]} wide")
    shape: tuple[int, ...] = operand.item_shape
    return shape


@register
class GetItem(Layer):
    """Steps or features of each row: `x[:, 0]`, `x[:, -1]`, `x[:, 2:]` and `x[..., :3]` of symbols.

    >>> import ragmask as rm
    >>> frames = rm.layers.Input((None, 2), name="frames")
    >>> model = rm.layers.Model(frames, frames[:, -1])
    >>> model(rm.Ragged.from_rows([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]))
    array([[3., 4.],
           [5., 6.]])

    key : an entry for rows, which are all taken, then time, then features: a number,
        [start, stop, step], or "..." .
    keeps_mask : whether its output has the mask; Keras's brackets forget it.

    Of a Ragged a step is counted from its row's own ends, of a Padded and an array from those of
    the array, as Keras counts. Where a row is too short for a step there is an error; slices are
    views, and take the mask with them.
    """

    def __init__(self, key: Any, keeps_mask: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._masks_itself = self.supports_masking = bool(keeps_mask)
        self.key = tuple(_entry(one) for one in key)
        if self.key.count(Ellipsis) > 1:
            raise InvalidInputError("a key has one ... at most")

    def _keys(self, ndim: int) -> list[Any]:
        """One for each axis."""
        left = ndim - len(self.key) + self.key.count(Ellipsis)
        if left < 0:
            raise InvalidInputError(f"a key of {len(self.key)} entries is given for {ndim} axes")
        at = self.key.index(Ellipsis) if Ellipsis in self.key else len(self.key)
        keys = [*self.key[:at], *[slice(None)] * left, *self.key[at + 1 :]]
        if keys[0] != slice(None):
            raise InvalidInputError(
                "rows are taken whole, x[:, …]: how many there are is not known here"
            )
        return keys

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, Ragged | Padded):
            keys = tuple(self._keys(inputs.ndim))
            _check_width(keys[1:], inputs.shape[1:])
            return np.ascontiguousarray(inputs[keys])
        _, time, *items = self._keys(2 + len(inputs.item_shape))
        _check_width(items, inputs.item_shape)
        taken = _steps(inputs, time)
        if items == [slice(None)] * len(items):
            return taken
        cut = (Ellipsis, *items)
        return each(taken, lambda values: np.ascontiguousarray(values[cut]))

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        _, *keys = self._keys(len(inputs.shape))
        known = [1 if size is None else size for size in inputs.shape[1:]]
        _check_width(keys[1:], inputs.shape[2:])
        if inputs.kind == "ragged" or (keys and inputs.shape[1] is None):
            taken = inputs.shape[1:2] if isinstance(keys[0], slice) else ()
            _slice_step(keys[0])
        else:
            _check_width(keys[:1], inputs.shape[1:2])
            if inputs.kind == "padded":
                _slice_step(keys[0])
            taken = np.broadcast_to(0, known[:1])[keys[0]].shape if keys else ()
        items = np.broadcast_to(0, known[1:])[tuple(keys[1:])].shape
        spec = inputs.of((None, *taken, *items))
        if taken or inputs.kind == "dense":
            return spec
        return Spec(spec.shape, spec.dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None or not self.supports_masking:
            return None
        time = self._keys(len(shape_of(inputs)))[1]
        if not isinstance(time, slice):
            return None
        return _steps(mask if isinstance(mask, Ragged) else Padded(mask), time)


def _entry(given: Any) -> Any:
    """An entry of a key, of what a file has of it."""
    if given == "..." or given is Ellipsis:
        return Ellipsis
    if isinstance(given, slice):
        given = [given.start, given.stop, given.step]
    if isinstance(given, list | tuple) and len(given) == 3:
        if all(one is None or _is_number(one) for one in given):
            return slice(*(one if one is None else int(one) for one in given))
    elif _is_number(given):
        return int(given)
    raise _no_key(given)


def _is_number(given: Any) -> bool:
    return hasattr(given, "__index__") and not isinstance(given, bool) and np.ndim(given) == 0


def _no_key(given: Any) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        f"a symbol is indexed by numbers, slices and ..., as in x[:, 0]; got {given!r}"
    )


def _slice_step(key: Any) -> None:
    if isinstance(key, slice) and key.step not in (None, 1, -1):
        raise InvalidInputError(f"time is cut in steps of 1 or -1; got {key.step}")


def _check_width(keys: Any, sizes: Any) -> None:
    """Raise for numbers outside the axes."""
    for key, size in zip(keys, sizes, strict=False):
        if isinstance(key, int) and size is not None and not -size <= key < size:
            raise InvalidInputError(f"there is no {key} in an axis of {size}")


def _steps(batch: Any, key: Any) -> Any:
    """A step of each row, or the steps of a slice."""
    _slice_step(key)
    if isinstance(batch, Padded):
        _check_width([key], batch.shape[1:2])
        values = np.ascontiguousarray(batch.values[:, key])
        if not isinstance(key, slice):
            return values
        return Padded(values, None if batch.mask is None else batch.mask[:, key])
    lengths = batch.lengths
    if not isinstance(key, slice):
        short = np.flatnonzero((lengths <= key) | (lengths < -key))
        if len(short):
            row = int(short[0])
            raise InvalidInputError(f"row {row} has {lengths[row]} steps, and none at {key}")
        return batch.values[batch.starts + (key if key >= 0 else lengths + key)]
    if key.step == -1:
        if key.start is not None or key.stop is not None:
            raise InvalidInputError("time is turned round whole, x[:, ::-1]")
        return reverse(batch)
    first, last = (
        lengths * (default if end is None else (end < 0)) + (0 if end is None else end)
        for end, default in ((key.start, 0), (key.stop, 1))
    )
    first, last = (np.clip(one, 0, lengths) for one in (first, last))
    return Ragged(batch.values, batch.starts + first, np.maximum(last - first, 0), batch.mask)


def _operate(ufunc: np.ufunc, method: str, inputs: Any, options: Any) -> Any:
    """What numpy's operators give for symbols."""
    is_known = getattr(np, ufunc.__name__, None) is ufunc and ufunc.signature is None
    if method != "__call__" or options or not is_known:
        raise UnsupportedTypeError(
            f"numpy.{ufunc.__name__} cannot be computed of a Symbol, which has no values yet: do "
            "it in a layer's call()"
        )
    symbols = [one for one in inputs if isinstance(one, Symbol)]
    operands = [None if isinstance(one, Symbol) else one for one in inputs]
    layer = Operation(ufunc.__name__, operands, name=new_name(ufunc.__name__))
    return layer(symbols if len(symbols) > 1 else symbols[0])


def _pick(symbol: Symbol, key: Any) -> Any:
    """What brackets give for a symbol."""
    return GetItem([_written(one) for one in (key if isinstance(key, tuple) else [key])])(symbol)


def _written(entry: Any) -> Any:
    """An entry of a key as files and configs have it."""
    if isinstance(entry, slice):
        return [entry.start, entry.stop, entry.step]
    if isinstance(entry, list | tuple | str):
        raise _no_key(entry)
    return "..." if entry is Ellipsis else entry


Symbol.operate, Symbol.pick = staticmethod(_operate), staticmethod(_pick)
