"""The two shapes of a batch that users hold, Ragged and Padded, over `Rows`."""
