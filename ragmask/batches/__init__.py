"""The shapes of a batch that users hold, Ragged, NestedRagged and Padded, over `Rows`."""

from ragmask.batches import nested as nested  # so that Ragged.from_arrow knows it
