"""What other libraries' data sets have, and a stream has under another name."""

_COLUMNS = "rm.stream(…, columns=[…]) reads the columns it names"
_NAMES = "stream.schema.names"
_ROWS = "stream[[4, 0]] are rows by number; take(n) and skip(n) are streams of some"
_FORMAT = "batches come as arrays and ragged batches; .map(function) makes of them what you like"
_MIX = 'rm.mix({"a": one, "b": other}, weights={"a": 0.7, "b": 0.3}, seed=0)'
_WHOLE = "stream.to_arrow(), or pl.from_arrow(stream), reads all of it"
_PADDED = '.batch(rows=32), and batch["ids"].to_padded() where padding is wanted'
_COUNT = "stream.num_rows, or .count_batches() of a stream in batches"

_REMEDIES = {
    _COLUMNS: "drop remove_columns select_columns",
    _NAMES: "column_names columns features",
    _ROWS: "select iloc limit slice",
    _FORMAT: "apply set_format set_transform with_format with_transform",
    _MIX: "choose_from_datasets concat concatenate interleave sample_from_datasets zip",
    _WHOLE: "collect to_pandas to_polars to_table",
    _PADDED: "iter iter_batches padded_batch ragged_batch",
    _COUNT: "cardinality count num_examples",
    'rm.stream(…, filter=[("label", "==", 3)]), whose row groups need not be read': "filter where",
    '.rename({"old": "new"})': "rename_column rename_columns",
    '.split({"train": 0.9, "test": 0.1}, seed=0)': "random_split train_test_split",
    '.batch(tokens=16_384, column="ids")': "bucket_by_sequence_length group_by_length",
    'rm.stream(…, cache="FOLDER"), for files that are not local': "cache persist",
    "stream[:5], or .sample(5)": "head show tail",
}
_REMEDY_OF = {name: remedy for remedy, names in _REMEDIES.items() for name in names.split()}


def remedy_for(name: str) -> str | None:
    """What to write instead of a name that a stream has not; None for any other name."""
    return _REMEDY_OF.get(name)
