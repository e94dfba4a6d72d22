"""The packages that ragmask is compared with: the `peers` extra."""

from importlib.util import find_spec

PEERS = (
    "awkward",
    "datasets",
    "duckdb",
    "jax",
    "keras",
    "moto",
    "onnx",
    "onnxruntime",
    "pandas",
    "polars",
    "pyspark",
    "ray",
    "s3fs",
    "tokenizers",
    "torch",
    "torchdata",
)


def missing_packages():
    return [name for name in PEERS if find_spec(name) is None]
