"""Arrow to bare arrays. Numbers, timestamps and durations without nulls keep their memory."""

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from ragmask.arrays.host import offsets_of, read_only
from ragmask.arrays.memory import joined
from ragmask.arrays.protocol import Array, Bools, Ints
from ragmask.arrow.convert import (
    build_list,
    chunks_of,
    items_of_rows,
    one_array,
    to_type,
    to_workable,
    validate,
)
from ragmask.arrow.items import read_blocks, read_items, write_items
from ragmask.arrow.lists import (
    ListRows,
    list_rows,
    seen_through,
    steps_of,
    validity,
)
from ragmask.arrow.types import (
    Kind,
    fields_of,
    has_fixed_size,
    is_items,
    is_list,
    is_nested,
    is_plain,
    is_string,
    is_struct,
    item_type,
    kind_of,
    storage_of,
    with_items,
    words_type,
)
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import check_choice, check_count
from ragmask.rows.rows import Rows, host_rows

Nulls = Literal["empty", "error"]


class Form(NamedTuple):
    """How rows are written to Arrow again: their list type, and which of them are null lists.

    The type is None where they did not come from Arrow; valid is bool (rows,), False = null.
    """

    type: Any = None
    valid: Bools | None = None

    def pick(self, rows: Any) -> "Form":
        """That of some of the rows."""
        return self if self.valid is None else Form(self.type, read_only(self.valid[rows]))

    def one_level_less(self) -> "Form":
        """Of lists of lists, that of the lists with one item for each inner list."""
        type_ = None if self.type is None else storage_of(self.type)
        if type_ is None or not is_nested(type_):
            return Form(None, self.valid)
        return Form(with_items(type_, storage_of(item_type(type_)).value_field), self.valid)


def joined_form(forms: list[Form | None], sizes: list[int]) -> Form | None:
    """The form of the rows of several batches in one."""
    if all(form is None for form in forms):
        return None
    known = [form or Form() for form in forms]
    type_ = known[0].type
    same = type_ is not None and all(form.type is not None and form.type == type_ for form in known)
    valid = _joined_masks([form.valid for form in known], sizes)
    return Form(type_ if same else None, valid)


def form_in_time(forms: list[Form | None]) -> Form | None:
    """The form of rows made of several's, one behind the other: null where all of them are."""
    if all(form is None for form in forms):
        return None
    known = [form or Form() for form in forms]
    valids = [form.valid for form in known]
    there = [valid for valid in valids if valid is not None]
    is_null_somewhere = len(there) == len(valids)
    return Form(known[0].type, read_only(np.any(there, axis=0)) if is_null_somewhere else None)


class Fields(dict[str, Any]):
    """The fields of a column of structs by name, each a column of its own.

    `frame` is what they share. Of lists of structs, it is a Rows (later a Ragged) of steps
    without features, whose mask says which structs are there; of single structs, bool (rows,).
    """

    def __init__(self, fields: Any, frame: Any, type_: Any) -> None:
        super().__init__(fields)
        self.frame = frame
        self.type = type_

    def __reduce__(self) -> Any:
        return Fields, (dict(self), self.frame, self.type)


def check_nulls(nulls: str) -> None:
    check_choice("nulls", nulls, "empty", "error")


def refuse_nulls(array: Any) -> None:
    """Raise, naming the first, where a list is null."""
    rows = 0
    for chunk in chunks_of(array):
        valid = validity(chunk)
        if valid is not None:
            raise InvalidInputError(
                f"row {rows + int(valid.argmin())} is null: fill it, or pass "
                'nulls="empty" to read it as an empty row'
            )
        rows += len(chunk)


def arrow_array(source: Any) -> Any:
    """Anything Arrow as an array or chunked array, looked at in full before it is used.

    A table of one column is that column. Rows of plain numbers are looked at where they are read,
    by errors that name the row.
    """
    if not isinstance(source, pa.Array | pa.ChunkedArray):
        try:
            if hasattr(source, "__arrow_c_stream__"):
                source = pa.chunked_array(source)
            elif hasattr(source, "__arrow_c_array__"):
                source = pa.array(source)
        except pa.ArrowException as error:
            raise InvalidInputError(f"this Arrow array cannot be read: {error}") from error
    if not isinstance(source, pa.Array | pa.ChunkedArray):
        raise UnsupportedTypeError(
            f"from_arrow takes Arrow arrays and what offers the Arrow PyCapsule interface; "
            f"got {type(source).__name__}: use Ragged.from_rows for lists and numpy arrays"
        )
    validate(source, full=not is_plain(source.type))
    if is_struct(source.type) and source.type.num_fields == 1:
        # flatten() carries a null struct over to its field, field() would not
        parts = [chunk.flatten()[0] for chunk in chunks_of(source)]
        return pa.chunked_array(parts, source.type.field(0).type)
    return source


def read_rows(source: Any, nulls: Nulls = "empty", items: Any = None) -> Rows:
    """The rows of an array of lists, or of fixed-size lists, of numbers; it is trusted."""
    check_nulls(nulls)
    came = source.type
    array = to_workable(source)
    if items is not None:
        array = as_vectors(array, items)
    kind = kind_of(array.type)
    if kind not in ("ragged", "vector"):
        raise UnsupportedTypeError(
            f"a Ragged cannot hold Arrow's {source.type}: {remedy(array.type, kind)}"
        )
    if nulls == "error":
        refuse_nulls(array)
    parts, rows = _lists(array)
    values, mask = _joined([read_items(part) for part in parts], item_type(array.type))
    form = Form(came, rows.valid)
    return host_rows(read_only(values), rows.starts, rows.lengths, mask, form)


def read_nested(source: Any, nulls: Nulls = "empty") -> tuple[Rows, Rows]:
    """The rows of an array of lists of lists, and the inner rows along them; it is trusted.

    The values of the rows are the lengths of the inner rows. A null inner list is masked in them.
    """
    check_nulls(nulls)
    array = to_workable(source)
    if nulls == "error":
        refuse_nulls(array)
    parts, rows = _lists(array)
    inner = read_rows(pa.chunked_array(parts, item_type(array.type)))
    valid = inner.form.valid
    if nulls == "error" and valid is not None:
        present = valid[steps_of(rows.starts, rows.lengths)]
        if not present.all():
            number = int(present.argmin())
            row = int(np.searchsorted(np.cumsum(rows.lengths), number, side="right"))
            raise InvalidInputError(
                f"row {row} has a null among its lists: fill it, or pass "
                'nulls="empty" to read it as an empty row that is masked'
            )
    form = Form(source.type, rows.valid)
    return host_rows(inner.lengths, rows.starts, rows.lengths, valid, form), inner


def read_fields(array: Any) -> Fields:
    """The fields of lists of structs, which share starts and lengths, or of structs of lists.

    A field that is no number comes as an Arrow array, and so does one of lists in a list.
    """
    if is_struct(array.type):
        parts = [chunk.flatten() for chunk in map(seen_through, chunks_of(array))]
        columns = {
            field.name: pa.chunked_array([part[position] for part in parts], field.type)
            for position, field in enumerate(fields_of(array.type))
        }
        valids = [validity(chunk) for chunk in chunks_of(array)]
        sizes = [len(chunk) for chunk in chunks_of(array)]
        return Fields(columns, _joined_masks(valids, sizes, always=True), array.type)
    parts, rows = _lists(array)
    structs = [seen_through(part) for part in parts]
    sizes = [len(part) for part in structs]
    present = _joined_masks([validity(part) for part in structs], sizes)
    values = np.empty((sum(sizes), 0), np.uint8)
    form = Form(array.type, rows.valid)
    frame = host_rows(read_only(values), rows.starts, rows.lengths, present, form)
    # flatten() carries a null struct over to its fields, field() would not
    split = [part.flatten() for part in structs]
    fields: dict[str, Any] = {}
    for position, field in enumerate(fields_of(item_type(array.type))):
        pieces = [part[position] for part in split]
        if is_items(field.type):
            numbers, mask = _joined([read_items(piece) for piece in pieces], field.type)
            form = Form(pa.large_list(field.with_nullable(True)), rows.valid)
            fields[field.name] = host_rows(
                read_only(numbers), rows.starts, rows.lengths, mask, form
            )
        else:
            whole = one_array(pa.chunked_array(pieces, field.type))
            offsets = offsets_of(rows.lengths)
            own = items_of_rows(rows._replace(items=whole))
            fields[field.name] = pa.LargeListArray.from_arrays(pa.array(offsets), own)
    return Fields(fields, frame, array.type)


def read_strings(source: Any) -> tuple[Any, Ints | None, Ints | None]:
    """The strings of a string or list-of-string array as one Arrow array, and the rows along it.

    They are the rows' own: none lie between rows, or below a null list. starts and lengths are
    None for an array of one string a row.
    """
    array = to_workable(arrow_array(source))
    starts = lengths = None
    if is_list(array.type) or has_fixed_size(array.type):
        array, starts, lengths = read_list_items(array)
    array = seen_through(one_array(array))
    if not is_string(words_type(array.type)) and not pa.types.is_null(array.type):
        raise UnsupportedTypeError(f"words must be strings or lists of strings; got {array.type}")
    return array, starts, lengths


def read_list_items(source: Any) -> tuple[Any, Ints, Ints]:
    """The rows' own items of a list array as one Arrow array, of any type, and the rows in it."""
    array = to_workable(source)
    parts, rows = _lists(array)
    whole = one_array(pa.chunked_array(parts, item_type(array.type)))
    own = items_of_rows(rows._replace(items=whole))
    return own, read_only(offsets_of(rows.lengths)[:-1]), rows.lengths


def read_scalars(array: Any) -> Any:
    """A column of one value a row as it is handed over: numpy, a masked array where there are
    nulls, or Arrow, with dictionaries looked up."""
    if kind_of(array.type) not in ("scalar", "vector"):
        array = one_array(array)
        is_encoded = pa.types.is_dictionary(array.type)
        return to_type(array, array.type.value_type) if is_encoded else array
    parts = [read_blocks(chunk) for chunk in chunks_of(array)]
    values, mask = _joined(parts, array.type)
    return read_only(values) if mask is None else np.ma.MaskedArray(values, ~mask)


def as_one_list(source: Any) -> Any:
    """A column of one item a row as one list of all of them."""
    array = one_array(arrow_array(source))
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array)


def owns_memory(values: Any) -> bool:
    """Whether a numpy array looks into an Arrow buffer, which numpy may believe to be writable."""
    owner = values
    while owner is not None and not isinstance(owner, pa.Buffer):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner is not None


# -- lists --------------------------------------------------------------------------------


def _lists(array: Any) -> tuple[list[Any], ListRows]:
    """The items of every chunk, and all rows, their starts counted along the items end to end."""
    chunks = [_list_rows(chunk) for chunk in chunks_of(array)]
    items = [chunk.items for chunk in chunks] or [pa.nulls(0, item_type(array.type))]
    if len(chunks) == 1:
        rows = chunks[0]
    else:
        before = np.cumsum([0, *(len(chunk.items) for chunk in chunks)])
        moved = [chunk.starts + first for chunk, first in zip(chunks, before, strict=False)]
        nothing = np.empty(0, np.int64)
        rows = ListRows(
            None,
            np.concatenate([nothing, *moved]),
            np.concatenate([nothing, *(chunk.lengths for chunk in chunks)]),
            _joined_masks([c.valid for c in chunks], [len(c.lengths) for c in chunks]),
        )
    starts, lengths = (read_only(a) for a in (rows.starts, rows.lengths))
    return items, ListRows(None, starts, lengths, rows.valid)


def _list_rows(array: Any) -> ListRows:
    if isinstance(array.type, pa.FixedShapeTensorType):
        # its numbers in the order of its permutation, cut along the first axis
        values, mask = read_items(array)
        rows, width, *shape = values.shape
        lengths = np.full(rows, width, np.int64) if mask is None else mask * np.int64(width)
        items = write_items(values.reshape(rows * width, *shape), None)
        return ListRows(items, np.arange(rows, dtype=np.int64) * width, lengths, mask)
    return list_rows(seen_through(array))


def as_vectors(array: Any, items: Any) -> Any:
    """Lists of lists of one size as lists of vectors: `items` is their size, or "vectors"."""
    if not (is_list(array.type) and is_list(item_type(array.type))):
        raise UnsupportedTypeError(
            f"items= is for lists of lists of numbers, and this is {array.type}"
        )
    is_found = isinstance(items, str) and items == "vectors"
    width = (vector_width(array) or 0) if is_found else check_count("items", items)
    type_ = pa.large_list(pa.list_(item_type(item_type(array.type)), width))
    made, before = [], 0
    for chunk in chunks_of(array):
        rows = list_rows(seen_through(chunk))
        own = items_of_rows(rows)
        steps = list_rows(seen_through(own))
        wrong = steps.lengths != width
        if steps.valid is not None:
            wrong &= steps.valid
        if wrong.any():
            step = int(wrong.argmax())
            row = before + int(np.searchsorted(np.cumsum(rows.lengths), step, side="right"))
            told = (
                f"the first has {width}: vectors are of one size, and what is ragged twice is none"
                if is_found
                else f"items= says that there are {width} in each"
            )
            raise InvalidInputError(
                f"row {row} has a step of {steps.lengths[step]} numbers, and {told}"
            )
        starts = offsets_of(rows.lengths)[:-1]
        vectors = to_type(own, type_.value_type)
        made.append(build_list(type_, vectors, starts, rows.lengths, rows.valid))
        before += len(chunk)
    return pa.chunked_array(made, type_)


def vector_width(array: Any) -> int | None:
    """The size of the first list in a list that is there; None where there is none."""
    for chunk in chunks_of(array):
        rows = list_rows(seen_through(chunk))
        steps = list_rows(seen_through(items_of_rows(rows)))
        there = steps.lengths if steps.valid is None else steps.lengths[steps.valid]
        if there.size:
            return int(there[0])
    return None


# -- items --------------------------------------------------------------------------------


def _joined(parts: list[tuple[Array, Bools | None]], type_: Any) -> tuple[Array, Bools | None]:
    """The items of all chunks, end to end. One chunk keeps its memory."""
    if not parts:
        parts = [read_items(pa.nulls(0, type_))]
    if len(parts) == 1:
        return parts[0]
    values = joined([values for values, _ in parts])
    axes = next((mask.ndim for _, mask in parts if mask is not None), 1)
    return values, _joined_masks([mask for _, mask in parts], [p[0].shape[:axes] for p in parts])


def _joined_masks(
    masks: list[Bools | None], sizes: list[Any], always: bool = False
) -> Bools | None:
    if not always and all(mask is None for mask in masks):
        return None
    filled = [
        np.ones(size, np.bool_) if mask is None else mask
        for mask, size in zip(masks, sizes, strict=True)
    ]
    return read_only(joined(filled) if filled else np.empty(0, np.bool_))


def remedy(type_: Any, kind: Kind) -> str:
    """What to do with a type that no Ragged holds."""
    if is_struct(type_):
        names = ", ".join(field.name for field in fields_of(type_))
        return f"it is a struct, or a table of the columns {names}: pass one of them"
    if kind == "struct":
        return "it has several fields a step; rm.stream() gives each as batch['column.field']"
    if kind == "scalar":
        return "it has one value a row and no list; its numpy array is what you want"
    item = item_type(type_) if is_list(type_) or has_fixed_size(type_) else type_
    inner, depth = item, 1
    while is_list(inner) or has_fixed_size(inner):
        inner, depth = item_type(inner), depth + 1
    if is_string(words_type(inner)):
        return "strings become ids first, through a vocabulary: vocabulary.encode(array)"
    if is_nested(type_):
        return (
            "it is ragged twice, which Ragged.from_arrow reads as a NestedRagged; where the inner "
            'lists are of one size, items="vectors" makes them steps of so many features'
        )
    if depth > 2 and is_list(item):
        return (
            f"it is ragged {depth} times, and rows of rows are all it takes: flatten a level, with "
            "pyarrow.compute.list_flatten(array), or with list_flatten of its items"
        )
    return "it takes lists of numbers, bools, times or fixed-size lists of them; cast it first"
