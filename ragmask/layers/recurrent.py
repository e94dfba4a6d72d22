"""LSTM layers."""

from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers
from ragmask.layers.batch import mask_of, reverse, side_by_side
from ragmask.layers.layer import Layer
from ragmask.layers.limits import spend_call
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_floats, check_steps, features_of, shown_shape
from ragmask.ops.lstm import LSTMResult, lstm
from ragmask.rows.checks import check_count
from ragmask.weights import LSTMWeights


@register
class LSTM(Layer):
    """Long short-term memory over the kept steps of each row, with Keras's arguments.

    >>> import ragmask as rm
    >>> batch = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]], []])
    >>> rm.layers.LSTM(3)(batch).shape
    (3, 3)
    >>> rm.layers.LSTM(3, return_sequences=True)(batch).lengths
    array([2, 1, 0])

    units : features of the output.
    return_sequences : an output for each step, with the input's mask; by default the last alone,
        (rows, units).
    return_state : a list: the output, and the last h and c.
    go_backwards : reads rows from their ends; sequences come in the order they were computed in.
    zero_output_for_mask : outputs of masked steps are 0, not the one before them.
    unit_forget_bias : the forget gates' biases begin with 1.

    `layer(x, initial_state=[h, c])`: each (rows, units). A row's outputs before its first kept
    step are 0, whatever the initial state. Weights: kernel (features, 4 · units),
    recurrent_kernel (units, 4 · units), bias (4 · units,); gates i, f, c, o.
    """

    _masks_itself = True
    supports_masking = True
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = check_count("units", units, 1)
        if (activation, recurrent_activation) != ("tanh", "sigmoid"):
            raise UnsupportedTypeError(
                f"layer {self.name!r}: an LSTM's activations are tanh and sigmoid; "
                f"got {activation!r} and {recurrent_activation!r}"
            )
        self.use_bias, self.unit_forget_bias = bool(use_bias), bool(unit_forget_bias)
        self.initializers = kernel_initializer, recurrent_initializer, bias_initializer
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self._packed: tuple[int, LSTMWeights] | None = None  # of which version

    def build(self, input_shape: Any) -> None:
        features, columns = features_of(self.name, input_shape), 4 * self.units
        if len(input_shape) < 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); got an "
                f"array (rows, {features})"
            )
        of_kernel, of_recurrent, of_bias = self.initializers
        self.kernel = self.add_weight("kernel", (features, columns), of_kernel)
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.units, columns), of_recurrent
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight("bias", (columns,), self._first_bias(of_bias))

    def _first_bias(self, initializer: Any) -> Any:
        def bias(shape: tuple[int, ...]) -> Array:
            first = initializers.make(initializer, shape).astype(np.float32)
            if self.unit_forget_bias:
                first[self.units : 2 * self.units] = 1
            return first

        return bias

    @property
    def lstm_weights(self) -> LSTMWeights:
        """Its weights as the op takes them; packed once, until `set_weights`."""
        if self._packed is None or self._packed[0] != self._version:
            columns = self.recurrent_kernel.shape[1]
            bias = np.zeros(columns, np.float32) if self.bias is None else self.bias
            weights = LSTMWeights(self.kernel, self.recurrent_kernel, bias)
            self._packed = self._version, weights
        return self._packed[1]

    def call(self, inputs: Any, mask: Any = None, initial_state: Any = None) -> Any:
        result = self.run(inputs, initial_state, lstm)
        outputs = result.outputs
        if self.return_sequences and self.go_backwards:
            outputs = reverse(outputs)
        return self._returned(outputs, result.h, result.c)

    def run(self, inputs: Any, initial_state: Any, lstm: Any) -> LSTMResult:
        """The op's result, sequences aligned with the input's steps."""
        result: LSTMResult = lstm(
            inputs,
            self.lstm_weights,
            initial_state=initial_state,
            go_backwards=self.go_backwards,
            zero_output_for_mask=self.zero_output_for_mask,
            outputs=self.return_sequences,
        )
        return result

    def _returned(self, outputs: Any, h: Any, c: Any) -> Any:
        output = outputs if self.return_sequences else h
        return [output, h, c] if self.return_state else output

    def compute_output(self, inputs: Spec, initial_state: Any = None) -> Any:
        outputs, state = self.output_and_state(inputs, initial_state)
        return self._returned(outputs, state, state)

    def output_and_state(self, inputs: Spec, initial_state: Any) -> tuple[Spec, Spec]:
        """What is known of the outputs of all steps, and of the last h and c."""
        check_steps(inputs)
        features = len(self.kernel)
        if inputs.item_shape != (features,):
            raise InvalidInputError(
                f"x has steps of shape {inputs.item_shape}; the weights were made for ({features},)"
            )
        check_floats(inputs)
        self._check_state(initial_state)
        return inputs.of_items(self.units), Spec((None, self.units), inputs.dtype)

    def _check_state(self, initial_state: Any) -> None:
        if initial_state is None:
            return
        if not isinstance(initial_state, tuple | list) or len(initial_state) != 2:
            raise InvalidInputError(
                f"initial_state is a pair (h, c), each of shape (rows, {self.units}); "
                f"got {type(initial_state).__name__}"
            )
        for name, state in zip("hc", initial_state, strict=True):
            shape = tuple(np.shape(state)) if not isinstance(state, Spec) else state.input_shape
            if len(shape) != 2 or shape[1] != self.units:
                raise InvalidInputError(
                    f"initial_state's {name} has shape {shown_shape(shape)}; (rows, units) is "
                    f"(·, {self.units})"
                )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = None
        if self.return_sequences and mask is not None:
            kept = mask_of(reverse(with_mask(inputs, mask))) if self.go_backwards else mask
        return [kept, None, None] if self.return_state else kept


@register
class Bidirectional(Layer):
    """An LSTM, and another that reads rows from their ends; outputs of a step lie together.

    >>> import ragmask as rm
    >>> both = rm.layers.Bidirectional(rm.layers.LSTM(3, return_sequences=True))
    >>> both(rm.Ragged.from_rows([[[1.0], [2.0]], [[3.0]]])).item_shape
    (6,)

    layer : the forward LSTM. backward_layer : by default one made like it.
    merge_mode : "concat", "sum", "mul", "ave", or None for a list of both.

    With `return_state` it gives the output, then h and c of each. Weights: the forward layer's,
    then the backward one's.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(
        self,
        layer: LSTM,
        merge_mode: str | None = "concat",
        backward_layer: LSTM | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for given in (layer,) if backward_layer is None else (layer, backward_layer):
            if not isinstance(given, LSTM):
                raise UnsupportedTypeError(f"Bidirectional takes LSTMs; got {type(given).__name__}")
        if merge_mode not in ("concat", "sum", "mul", "ave", None):
            raise InvalidInputError(
                f'merge_mode must be "concat", "sum", "mul", "ave" or None; got {merge_mode!r}'
            )
        self.forward_layer = layer
        if backward_layer is None:
            config = {**layer.get_config(), "go_backwards": not layer.go_backwards}
            backward_layer = LSTM(**{**config, "name": f"backward_{layer.name}"})
        self.backward_layer = backward_layer
        alike = ["return_sequences", "return_state", "zero_output_for_mask"]
        if merge_mode in ("sum", "mul", "ave"):
            alike.append("units")
        for key in alike:
            if getattr(layer, key) != getattr(backward_layer, key):
                raise InvalidInputError(f"layer {self.name!r}: its two LSTMs differ in {key}")
        if layer.go_backwards == backward_layer.go_backwards:
            raise InvalidInputError(f"layer {self.name!r}: both LSTMs read in one direction")
        self.merge_mode = merge_mode

    def call(self, inputs: Any, mask: Any = None, initial_state: Any = None) -> Any:
        results = []
        for layer, state in self._layers_and_states(initial_state):
            layer._build_for(inputs)
            spend_call(layer._own_weights.values())
            results.append(layer.run(inputs, state, lstm))
        outputs = [
            result.outputs if self.forward_layer.return_sequences else result.h
            for result in results
        ]
        states = [state for result in results for state in (result.h, result.c)]
        return self._with_states(self._merge(outputs), states)

    def compute_output(self, inputs: Spec, initial_state: Any = None) -> Any:
        outputs, states = [], []
        for layer, given in self._layers_and_states(initial_state):
            layer._build_for(inputs)
            output, state = layer.output_and_state(inputs, given)
            outputs.append(output if layer.return_sequences else state)
            states += [state, state]
        if self.merge_mode is None:
            return self._with_states(outputs, states)
        merged = outputs[0]
        if self.merge_mode == "concat":
            units = sum(output.shape[-1] or 0 for output in outputs)
            merged = merged.of((*merged.shape[:-1], units))
        elif self.merge_mode == "ave":
            merged = merged.of(merged.shape, np.result_type(merged.dtype, np.float32))
        return self._with_states(merged, states)

    def _layers_and_states(self, initial_state: Any) -> list[tuple[LSTM, Any]]:
        """Each LSTM, and the states it begins with."""
        halves: list[Any] = [None, None]
        if initial_state is not None:
            if not isinstance(initial_state, list | tuple) or len(initial_state) != 4:
                raise InvalidInputError(
                    f"layer {self.name!r}: initial_state is four arrays: h and c of its forward "
                    "LSTM, then of its backward one"
                )
            halves = [initial_state[:2], initial_state[2:]]
        return list(zip((self.forward_layer, self.backward_layer), halves, strict=True))

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
            return [*outputs, None, None, None, None]
        return outputs if self.merge_mode is None else kept
