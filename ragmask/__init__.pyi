"""ragmask's public names and where each is defined: one line a name.

Editors and type checkers read this, and `__init__.py` does, to import a name on its first use.
"""

from ragmask import data as data
from ragmask import interop as interop
from ragmask import kernels as kernels
from ragmask import layers as layers
from ragmask.batches.nested import NestedPadded as NestedPadded
from ragmask.batches.nested import NestedRagged as NestedRagged
from ragmask.batches.padded import Padded as Padded
from ragmask.batches.ragged import Ragged as Ragged
from ragmask.batches.sequences import pad_sequences as pad_sequences
from ragmask.errors import DeviceError as DeviceError
from ragmask.errors import InvalidInputError as InvalidInputError
from ragmask.errors import MissingAttributeError as MissingAttributeError
from ragmask.errors import MissingExtraError as MissingExtraError
from ragmask.errors import RagmaskError as RagmaskError
from ragmask.errors import RowIndexError as RowIndexError
from ragmask.errors import StepIndexError as StepIndexError
from ragmask.errors import StreamError as StreamError
from ragmask.errors import UnsupportedTypeError as UnsupportedTypeError
from ragmask.ops.attention import temporal_attention as temporal_attention
from ragmask.ops.concatenate import concatenate as concatenate
from ragmask.ops.conv import temporal_conv as temporal_conv
from ragmask.ops.cumsum import temporal_cumsum as temporal_cumsum
from ragmask.ops.embeddings import embedding as embedding
from ragmask.ops.flip import temporal_flip as temporal_flip
from ragmask.ops.gru import GRUResult as GRUResult
from ragmask.ops.gru import gru as gru
from ragmask.ops.lstm import LSTMResult as LSTMResult
from ragmask.ops.lstm import lstm as lstm
from ragmask.ops.masks import masking as masking
from ragmask.ops.pool import temporal_pool as temporal_pool
from ragmask.ops.repeat import temporal_repeat as temporal_repeat
from ragmask.ops.rnn import RNNResult as RNNResult
from ragmask.ops.rnn import rnn as rnn
from ragmask.ops.softmax import temporal_softmax as temporal_softmax
from ragmask.ops.sort import temporal_argsort as temporal_argsort
from ragmask.ops.sort import temporal_sort as temporal_sort
from ragmask.ops.sort import temporal_topk as temporal_topk
from ragmask.ops.split import temporal_concat as temporal_concat
from ragmask.ops.split import temporal_split as temporal_split
from ragmask.streaming.batch import Batch as Batch
from ragmask.streaming.mix import mix as mix
from ragmask.streaming.open import stream as stream
from ragmask.streaming.stream import Stream as Stream
from ragmask.threads import get_num_threads as get_num_threads
from ragmask.threads import set_num_threads as set_num_threads
from ragmask.vocabulary import Vocabulary as Vocabulary
from ragmask.weights import GRUWeights as GRUWeights
from ragmask.weights import LSTMWeights as LSTMWeights
from ragmask.weights import RNNWeights as RNNWeights

__version__: str
