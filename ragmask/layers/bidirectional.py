"""Recurrent layers in both directions."""

from typing import Any

import numpy as np

from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import mask_of, side_by_side
from ragmask.layers.layer import Layer
from ragmask.layers.limits import spend_call
from ragmask.layers.recurrent import Recurrent
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec


@register
class Bidirectional(Layer):
    """A recurrent layer, and one that reads rows from their ends; a step's outputs lie together.

    >>> import ragmask as rm
    >>> both = rm.layers.Bidirectional(rm.layers.LSTM(3, return_sequences=True))
    >>> both(rm.Ragged.from_rows([[[1.0], [2.0]], [[3.0]]])).item_shape
    (6,)

    layer : the forward LSTM, GRU or SimpleRNN. backward_layer : of the same kind, by default made
        like it.
    merge_mode : "concat", "sum", "mul", "ave", or None for a list of both.

    With `return_state` it gives the output, then the states of each, and `initial_state` is a list
    of as many: h and c of the forward LSTM, then of the backward one. Weights: the forward layer's,
    then the backward one's.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(
        self,
        layer: Recurrent,
        merge_mode: str | None = "concat",
        backward_layer: Recurrent | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kinds = [
            one.kind if isinstance(one, Recurrent) else type(one).__name__
            for one in ([layer] if backward_layer is None else [layer, backward_layer])
        ]
        if not isinstance(layer, Recurrent) or len(set(kinds)) > 1:
            raise UnsupportedTypeError(
                "Bidirectional takes two LSTMs, two GRUs or two SimpleRNNs; "
                f"got {' and '.join(kinds)}"
            )
        if merge_mode not in ("concat", "sum", "mul", "ave", None):
            raise InvalidInputError(
                f'merge_mode must be "concat", "sum", "mul", "ave" or None; got {merge_mode!r}'
            )
        self.forward_layer = layer
        if backward_layer is None:
            config = {**layer.get_config(), "go_backwards": not layer.go_backwards}
            backward_layer = type(layer)(**{**config, "name": f"backward_{layer.name}"})
        self.backward_layer = backward_layer
        alike = ["return_sequences", "return_state", "zero_output_for_mask"]
        if merge_mode in ("sum", "mul", "ave"):
            alike.append("units")
        for key in alike:
            if getattr(layer, key) != getattr(backward_layer, key):
                raise InvalidInputError(
                    f"layer {self.name!r}: its two {layer.kind}s differ in {key}"
                )
        if layer.go_backwards == backward_layer.go_backwards:
            raise InvalidInputError(
                f"layer {self.name!r}: both {layer.kind}s read in one direction"
            )
        self.merge_mode = merge_mode

    def call(self, inputs: Any, mask: Any = None, initial_state: Any = None) -> Any:
        results = []
        for layer, state in self._layers_and_states(initial_state):
            layer._build_for(inputs)
            spend_call(layer._own_weights.values())
            results.append(layer.run(inputs, state))
        outputs, states = self._outputs_and_states(results)
        return self._with_states(self._merge(outputs), states)

    def compute_output(self, inputs: Spec, initial_state: Any = None) -> Any:
        results = []
        for layer, given in self._layers_and_states(initial_state):
            layer._build_for(inputs)
            results.append(layer.output_and_states(inputs, given))
        outputs, states = self._outputs_and_states(results)
        if self.merge_mode is None:
            return self._with_states(outputs, states)
        merged = outputs[0]
        if self.merge_mode == "concat":
            units = sum(output.shape[-1] or 0 for output in outputs)
            merged = merged.of((*merged.shape[:-1], units))
        elif self.merge_mode == "ave":
            merged = merged.of(merged.shape, np.result_type(merged.dtype, np.float32))
        return self._with_states(merged, states)

    def _layers_and_states(self, initial_state: Any) -> list[tuple[Recurrent, Any]]:
        """Each layer, and the states it begins with."""
        halves: list[Any] = [None, None]
        if initial_state is not None:
            each = self.forward_layer.cell.states
            if not isinstance(initial_state, list | tuple) or len(initial_state) != 2 * each:
                raise InvalidInputError(
                    f"layer {self.name!r}: initial_state is {2 * each} arrays: "
                    f"{' and '.join('hc'[:each])} of its forward {self.forward_layer.kind}, then "
                    "of its backward one"
                )
            halves = [initial_state[:each], initial_state[each:]]
        return list(zip((self.forward_layer, self.backward_layer), halves, strict=True))

    def _outputs_and_states(self, results: list[Any]) -> tuple[list[Any], list[Any]]:
        """What each layer gives, and the states of both, of (outputs, *states) of each."""
        at = 0 if self.forward_layer.return_sequences else 1
        states = [state for _, *of_layer in results for state in of_layer]
        return [result[at] for result in results], states

    def _with_states(self, merged: Any, states: list[Any]) -> Any:
        if not self.forward_layer.return_state:
            return merged
        return [*(merged if isinstance(merged, list) else [merged]), *states]

    def _merge(self, outputs: list[Any]) -> Any:
        forward, backward = outputs
        if self.merge_mode is None:
            return outputs
        if self.merge_mode == "concat":
            joined = side_by_side(outputs)
            return with_mask(joined, mask_of(forward))
        if self.merge_mode == "mul":
            return np.multiply(forward, backward)
        total = np.add(forward, backward)
        return total if self.merge_mode == "sum" else np.multiply(total, np.float32(0.5))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        layer = self.forward_layer
        kept: Any = mask if layer.return_sequences else None
        outputs = [kept, kept] if self.merge_mode is None else [kept]
        if layer.return_state:
            return [*outputs, *[None] * (2 * layer.cell.states)]
        return outputs if self.merge_mode is None else kept
