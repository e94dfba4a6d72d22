"""Recurrent layers in both directions."""

import copy
from typing import Any

import numpy as np

from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.layers.batch import mask_of, side_by_side
from ragmask.layers.layer import Layer
from ragmask.layers.limits import spend_call
from ragmask.layers.recurrent.rnn import RNN
from ragmask.layers.recurrent.stacks import flat
from ragmask.layers.registry import from_serialized, register
from ragmask.layers.spec import Spec

_ALIKE = "stateful", "return_sequences", "return_state"


@register
class Bidirectional(Layer):
    """A recurrent layer, and one that reads rows from their ends; a step's outputs lie together.

    >>> import ragmask as rm
    >>> both = rm.layers.Bidirectional(rm.layers.LSTM(3, return_sequences=True))
    >>> both(rm.Ragged.from_rows([[[1.0], [2.0]], [[3.0]]])).item_shape
    (6,)

    layer : what the forward layer is made like, of new weights: an LSTM, GRU, SimpleRNN or RNN.
    merge_mode : "concat", "sum", "mul", "ave", or None for a list of both.
    weights : those that it begins with, as `set_weights` takes them.
    backward_layer : by default made like the forward one. Outputs of masked steps are 0.

    With `return_state` it gives the output, then the states of each, and `initial_state` is a list
    of as many: h and c of the forward LSTM, then of the backward one. Weights: the forward layer's,
    then the backward one's.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        layer, backward_layer = from_serialized(layer), from_serialized(backward_layer)
        for one in [layer] if backward_layer is None else [layer, backward_layer]:
            if not isinstance(one, RNN):
                raise UnsupportedTypeError(
                    "Bidirectional takes recurrent layers, LSTM, GRU, SimpleRNN or RNN; "
                    f"got {type(one).__name__}"
                )
        if weights is not None and not isinstance(weights, list | tuple):
            raise UnsupportedTypeError(
                f"layer {self.name!r}: weights is a list of arrays; got {type(weights).__name__}"
            )
        if merge_mode not in ("concat", "sum", "mul", "ave", None):
            raise InvalidInputError(
                f'merge_mode must be "concat", "sum", "mul", "ave" or None; got {merge_mode!r}'
            )
        self.forward_layer = _made_like(
            layer, name=f"forward_{layer.name.removeprefix('forward_')}"
        )
        if backward_layer is None:
            backward_layer = _made_like(
                layer,
                go_backwards=not layer.go_backwards,
                name=f"backward_{layer.name.removeprefix('backward_')}",
            )
        self.backward_layer = backward_layer
        self._check_halves(merge_mode)
        for half in self._halves:
            half.zero_output_for_mask = half.return_sequences
        self.merge_mode, self._first_weights = merge_mode, weights
        self.stateful, self.return_state = layer.stateful, layer.return_state
        self.return_sequences = layer.return_sequences

    def _check_halves(self, merge_mode: str | None) -> None:
        forward, backward = self._halves
        names = {type(half).__name__ for half in self._halves}
        kinds = f"{names.pop()}s" if len(names) == 1 else "layers"
        what = f"layer {self.name!r}: its two {kinds}"
        for key in _ALIKE:
            if getattr(forward, key) != getattr(backward, key):
                raise InvalidInputError(f"{what} differ in {key}")
        if forward.go_backwards == backward.go_backwards:
            raise InvalidInputError(
                f"layer {self.name!r}: both {kinds} read in one direction: one needs go_backwards"
            )
        sizes = [half.features for half in self._halves]
        if merge_mode in ("sum", "mul", "ave") and sizes[0] != sizes[1]:
            raise InvalidInputError(f"{what} differ in units: {sizes[0]} and {sizes[1]}")

    @property
    def _halves(self) -> tuple[RNN, RNN]:
        return self.forward_layer, self.backward_layer

    def build(self, sequences_shape: Any) -> None:
        for half in self._halves:
            half.build(sequences_shape)
        if self._first_weights is not None:
            self.set_weights(self._first_weights)

    @property
    def states(self) -> list[Any] | None:
        """Those of both layers, where they are stateful and were called."""
        forward, backward = self._halves
        if forward.states is None or backward.states is None:
            return None
        return [*forward.states, *backward.states]

    def reset_states(self) -> None:
        """Forget the states of the last call; raises where it is not stateful."""
        if not self.stateful:
            raise MissingAttributeError(
                f"layer {self.name!r} is not stateful: it has no states to reset"
            )
        for half in self._halves:
            half.reset_states()

    reset_state = reset_states

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        results = []
        for half, state in self._layers_and_states(initial_state):
            spend_call(half._own_weights.values())
            half._build_for(sequences)
            results.append(half.run(sequences, state, training))
        outputs = [one.outputs if self.return_sequences else one.last for one in results]
        return self._with_states(self._merge(outputs), [one.states for one in results])

    def compute_output(
        self, sequences: Spec, initial_state: Any = None, training: bool = False
    ) -> Any:
        steps, last, states = zip(
            *(
                half.described(sequences, state)
                for half, state in self._layers_and_states(initial_state)
            ),
            strict=True,
        )
        outputs = list(steps if self.return_sequences else last)
        if self.merge_mode is None:
            return self._with_states(outputs, states)
        merged = outputs[0]
        if self.merge_mode == "concat":
            features = sum(output.shape[-1] or 0 for output in outputs)
            merged = merged.of((*merged.shape[:-1], features))
        return self._with_states(merged, states)

    def _layers_and_states(self, initial_state: Any) -> list[tuple[RNN, Any]]:
        """Each layer, and the states it begins with."""
        halves: list[Any] = [None, None]
        if initial_state is not None:
            each = [len(half.state_size) for half in self._halves]
            if not isinstance(initial_state, list | tuple) or len(initial_state) != sum(each):
                kinds = [type(half).__name__ for half in self._halves]
                names = [" and ".join(half._state_names) for half in self._halves]
                raise InvalidInputError(
                    f"layer {self.name!r}: initial_state is {sum(each)} arrays: {names[0]} of its "
                    f"forward {kinds[0]}, then {names[1]} of its backward {kinds[1]}; got "
                    f"{len(flat(initial_state))}"
                )
            halves = [initial_state[: each[0]], initial_state[each[0] :]]
        return list(zip(self._halves, halves, strict=True))

    def _with_states(self, merged: Any, states: Any) -> Any:
        if not self.return_state:
            return merged
        outputs = merged if isinstance(merged, list) else [merged]
        return [*outputs, *(state for of_half in states for state in of_half)]

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
        return total if self.merge_mode == "sum" else np.multiply(total, total.dtype.type(0.5))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept: Any = mask if self.return_sequences else None
        outputs = [kept, kept] if self.merge_mode is None else [kept]
        if self.return_state:
            states = sum(len(half.state_size) for half in self._halves)
            return [*outputs, *[None] * states]
        return outputs if self.merge_mode is None else kept


def _made_like(given: Any, **changes: Any) -> Any:
    """A layer, or a cell in it, made again of its arguments; its weights are new."""
    if isinstance(given, list | tuple):
        return type(given)(_made_like(one) for one in given)
    if not isinstance(given, Layer):
        return copy.deepcopy(given)
    if type(given).get_config is not Layer.get_config:
        return type(given).from_config({**given.get_config(), **changes})
    config = {key: _made_like(value) for key, value in given._config().items()}
    return type(given)(**{**config, **changes})
