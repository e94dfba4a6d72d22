"""Tables of Ray's as batches of Ragged, of padded tensors or of RaggedTensors."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from ray.data.collate_fn import ArrowBatchCollateFn

from ragmask.arrow import Nulls, check_nulls
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.ray.tables import arrow_table
from ragmask.rows.checks import check_count
from ragmask.streaming.arrange import Budget
from ragmask.streaming.batch import Batch, read_batch
from ragmask.streaming.columns import ragged_column

To = Literal["ragged", "padded", "torch"]


class Collate(ArrowBatchCollateFn):
    """What makes a batch of a table, for `dataset.iter_torch_batches(collate_fn=…)`.

    >>> import pyarrow as pa
    >>> from ragmask.interop.ray import Collate
    >>> table = pa.table({"tokens": [[1, 2], [3]], "label": [0, 1]})
    >>> Collate(to="torch")(table)
    {'tokens': RaggedTensor(2 rows, 3 steps, int64, lengths 1–2), 'label': tensor([0, 1])}
    >>> Collate(to="padded", multiple_of=4)(table)["tokens"]
    tensor([[1, 2, 0, 0],
            [3, 0, 0, 0]])

    to : "ragged" gives a Batch, as streams do; its Ragged columns are views of the block.
        "padded" gives {column: tensor}, and for each ragged column NAME also NAME_mask, bool
        (rows, width), True = keep. "torch" gives {column: RaggedTensor or tensor}. Ray moves
        batches to its device where they are of tensors alone: RaggedTensors have `.to(device)`.
    nulls : "empty" reads a null list as an empty row, "error" raises and names it.
    padding : of "padded", what `ragmask.interop.torch.to_padded` takes: maxlen, padding,
        truncating, value, multiple_of, dtype. They hold for all ragged columns.

    The fields of a column of structs come as "column.field". What torch has no tensors for is left
    as it is: strings are pyarrow arrays, columns with nulls numpy's masked arrays.

    Raises InvalidInputError for what cannot be right; UnsupportedTypeError for what is no table,
    and for rows that were made objects or tensors before they came here.
    """

    def __init__(self, to: To = "ragged", *, nulls: Nulls = "empty", **padding: Any) -> None:
        if to not in ("ragged", "padded", "torch"):
            raise InvalidInputError(f'to must be "ragged", "padded" or "torch"; got {to!r}')
        if padding and to != "padded":
            raise InvalidInputError(f'{", ".join(padding)} is for to="padded"; got to={to!r}')
        check_nulls(nulls)
        self.to, self.nulls, self.padding = to, nulls, padding
        if to != "ragged":
            self.made_of(Batch({"rows": Ragged.from_rows([[0]])}))  # tells here what is wrong

    def __call__(self, batch: Any) -> Any:
        return self.made_of(Batch.from_arrow(arrow_table(batch, "Collate"), self.nulls))

    def made_of(self, batch: Batch) -> Any:
        """A Batch in the form that was asked for."""
        if self.to == "ragged":
            return batch
        from ragmask.interop.torch import RaggedTensor, to_padded, to_tensors

        made: dict[str, Any] = {}
        for name, column in _flat(batch):
            if not isinstance(column, Ragged):
                made |= to_tensors(Batch({name: column}))
            elif self.to == "torch":
                made[name] = RaggedTensor.from_ragged(column)
            else:
                mask = f"{name}_mask"
                if mask in batch:
                    raise InvalidInputError(
                        f"column {mask!r} is there, and the mask of {name!r} would have its name: "
                        "rename the column"
                    )
                made[name], made[mask] = to_padded(column, **self.padding)
        return made


def _flat(batch: Batch) -> Iterator[tuple[str, Any]]:
    """The columns, and the fields of those that have some, by "column.field"."""
    waiting = [(name, batch[name]) for name in batch]
    while waiting:
        name, column = waiting.pop(0)
        if isinstance(column, dict):
            waiting[:0] = [(f"{name}.{field}", part) for field, part in column.items()]
        else:
            yield name, column


def iter_batches(
    data: Any,
    tokens: int,
    column: str | None = None,
    *,
    collate: Collate | None = None,
    window_rows: int = 10_000,
    seed: int | None = None,
    epoch: int = 0,
    prefetch_batches: int = 1,
) -> Iterator[Any]:
    """Batches of at most `tokens` padded steps, of rows of similar lengths.

        for batch in iter_batches(dataset, 4096, "tokens", collate=Collate(to="torch"), seed=0):
            ...

    Ray cuts batches by rows alone. Here it cuts windows, ahead in the background, and rows are
    sorted by length inside each: a batch is a view of its window, converted when its turn comes.

    data : a Dataset or a DataIterator, as `ray.train.get_dataset_shard("train")` gives.
    tokens : the most padded steps of a batch, rows × longest row. A longer row is a batch alone,
        and an empty row counts as one step.
    column : whose steps count; may be left out where just one column is ragged.
    collate : how batches come; by default `Collate()`, as Batches.
    window_rows : the rows among which similar ones are looked for.
    seed, epoch : with a seed, the batches of a window come in random order, another each epoch;
        without, the shortest rows first.

    Workers that train together get shards of equally many rows, and so, here, unequally many
    batches: put the loop under `torch.distributed.algorithms.Join([model])`. Batches of equally
    many rows, by iter_torch_batches, need none.

    Raises InvalidInputError for columns without lengths; UnsupportedTypeError for other data.
    """
    budget = check_count("tokens", tokens, 1), check_count("window_rows", window_rows, 1)
    if not hasattr(data, "iter_batches"):
        raise UnsupportedTypeError(
            f"iter_batches takes a Dataset of Ray, or a shard of one; got {type(data).__name__}"
        )
    key = None if seed is None else (check_count("seed", seed), check_count("epoch", epoch))
    windows = data.iter_batches(
        batch_size=budget[1], batch_format="pyarrow", prefetch_batches=prefetch_batches
    )
    return _cut(windows, budget[0], column, collate or Collate(), key)


def _cut(
    windows: Any, tokens: int, column: str | None, collate: Collate, key: tuple[int, int] | None
) -> Iterator[Any]:
    for number, table in enumerate(windows):
        table = arrow_table(table, "iter_batches")
        if not table.num_rows:
            continue
        batch = Batch.from_arrow(table, collate.nulls)
        budget = Budget(tokens, ragged_column(table.schema, column), bucket=True)
        rows = np.arange(batch.num_rows)
        arranged = budget.arrange(batch._columns, rows, key and (*key, number))
        for item in range(arranged.items):
            part = arranged.take(item, item + 1)
            yield collate.made_of(read_batch(dict(part.columns), batch._fields, batch._metadata))
