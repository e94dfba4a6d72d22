"""Embedding and recurrent layer as one step: the table already multiplied by the input kernel."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask.arrays.host import read_only
from ragmask.kernels.packing import Packed
from ragmask.layers.calls import told
from ragmask.layers.core import Embedding
from ragmask.layers.graph import Node, Symbol, symbols_in
from ragmask.layers.recurrent.layers import KINDS, Recurrent
from ragmask.layers.recurrent.stepping import Result
from ragmask.ops.embeddings import checked_ids
from ragmask.ops.input import Input
from ragmask.ops.recurrent import recur_over_ids
from ragmask.weights.recurrent import RecurrentWeights

# Of a table, which a model keeps beside its weights: 131,071 words for 128 units.
MOST_BYTES = 256 * 2**20


class Fused:
    """Stands for a recurrent layer's node, and runs the Embedding before it too.

    A step's sums begin with `vector @ kernel + bias`, which depends on its id alone: all of them
    are computed once, when the model first runs, and again when weights have changed.
    """

    def __init__(self, embedding: Node, node: Node) -> None:
        self.embedding, self.node = embedding, node
        self.inputs = embedding.inputs
        self._made: tuple[Any, Packed] | None = None  # from what, and what

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None}  # a copy makes its own: it is large, and soon made

    def run(self, ids: Any) -> Any:
        embedding, layer = self.embedding.layer, self.node.layer
        assert isinstance(embedding, Embedding)
        assert isinstance(layer, Recurrent)
        with embedding._noted():
            steps = Input.of(ids, what="ids")
        if not steps.arrays.is_host or _drops(layer):
            return layer(embedding(ids))
        with embedding._noted():
            steps = _looked_up(steps, embedding)
        with layer._noted():
            return layer.given(self._recurred(layer, steps))

    def _recurred(self, layer: Recurrent, ids: Input) -> Result:
        outputs, states = recur_over_ids(
            ids,
            layer.cell_weights,
            self._tables(layer.cell_weights),
            go_backwards=layer.go_backwards,
            zero_output_for_mask=layer.zero_output_for_mask,
            outputs=layer.return_sequences,
        )
        return Result(outputs, states[0], list(states))

    def _tables(self, weights: RecurrentWeights) -> Packed:
        """The recurrent kernel and the table, as the kernel takes them."""
        embedding = self.embedding.layer
        assert isinstance(embedding, Embedding)
        origin = weights, embedding._version
        made = self._made
        if made is None or made[0] != origin:
            self._made = None  # the old table goes before the new one comes
            self._made = made = origin, weights.packed_for_ids(embedding.embeddings)
        return made[1]


def fuse(nodes: Sequence[Node], outputs: Any) -> list[Node | Fused]:
    """The steps that a model of these nodes runs: each recurrent layer fused where it pays.

    That depends on the two layers alone, and not on the batch, so that results do not either.
    """
    uses = Counter(id(symbol) for node in nodes for symbol in node.sources())
    uses.update(id(symbol) for symbol in symbols_in(outputs))
    fused: dict[int, Fused] = {}
    left_out = set()
    for node in nodes:
        source = node.inputs.node if isinstance(node.inputs, Symbol) else None
        if source is not None and uses[id(source.outputs)] == 1 and _fits(source, node):
            fused[id(node)] = Fused(source, node)
            left_out.add(id(source))
    return [fused.get(id(node), node) for node in nodes if id(node) not in left_out]


def _fits(source: Node, node: Node) -> bool:
    embedding, layer = source.layer, node.layer
    if type(embedding) is not Embedding or type(layer) not in KINDS:  # a subclass may do otherwise
        return False
    assert isinstance(layer, Recurrent)
    if layer.stateful or not layer.is_compiled or not _computes_alike(embedding, layer):
        return False
    if any(one.args or one.options or one.mask is not None for one in (source, node)):
        return False
    # Of ids that a layer computes, that layer may lose the mask, which the model then tells.
    is_input = isinstance(source.inputs, Symbol) and source.inputs.node.inputs is None
    return is_input and pays(
        embedding.input_dim, embedding.output_dim, layer.units, layer.record.sums
    )


def _computes_alike(embedding: Embedding, layer: Recurrent) -> bool:
    return embedding.dtype == layer.dtype and layer.dtype != np.float16


def _drops(layer: Recurrent) -> bool:
    """Whether its inputs or states are dropped now, in training."""
    with told(type(layer).call, {}) as known:
        training = known.get("training", False)
    return bool(training and (layer.dropout or layer.recurrent_dropout))


def pays(vocabulary: int, features: int, units: int, sums: int) -> bool:
    """Whether a step's sums are looked up faster than its vector is, and multiplied.

    Of a large vocabulary a row of the table comes from memory, and a product of fewer features
    than half the units is as fast as that.
    """
    row_bytes = -(-units // 16) * sums * 64  # for 16 units at a time: see kernels/packing.py
    return 2 * features >= units and (vocabulary + 1) * row_bytes <= MOST_BYTES


def _looked_up(steps: Input, embedding: Embedding) -> Input:
    """The ids as int64, with the mask that the vectors would have.

    Where that drops a mask, the masked steps' vectors are zeros: so is that of the id behind the
    last.
    """
    vocabulary = len(embedding.embeddings)
    rows = checked_ids(steps.rows, vocabulary)
    numbers, mask = rows.values, None
    if embedding.mask_zero:
        mask = steps.arrays.kept_nonzero(rows.mask, numbers)
    elif rows.mask is not None:
        numbers = read_only(np.where(rows.mask, numbers, vocabulary))
    return steps._replace(rows=rows.over(numbers).masked(mask))
