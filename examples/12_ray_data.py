"""Ragged data on a Ray cluster: read, put through a model, and batched for torch.

Glosses of WordNet, written to a folder of Parquet files. Run it: python examples/12_ray_data.py
(needs ray, torch and the models' files: pip install "ragmask[ray,torch,models]")
"""

import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")  # of its own names

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402

import ragmask as rm  # noqa: E402
from ragmask.interop.ray import Collate, apply, apply_stream, iter_batches, read  # noqa: E402
from ragmask.layers import LSTM, Embedding, Input, Model  # noqa: E402
from ragmask.tables import TableModel  # noqa: E402
