"""What has weights: made, named, copied and replaced."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ragmask.arrays.coerce import number_dtype, to_numpy
from ragmask.arrays.protocol import Array, check_size
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers


class Weighted:
    """A layer's weights, and those of the layers it holds."""

    name: str
    dtype: np.dtype[Any] = np.dtype(np.float32)
    _own_weights: dict[str, Array]
    _is_trainable: bool = True
    _fixed: frozenset[str] = frozenset()  # the names of own weights that are not trained
    _version: int  # how often `set_weights` has changed its weights

    @property
    def sublayers(self) -> list[Any]:
        """The layers it holds."""
        return []

    @property
    def built(self) -> bool:
        """Whether its weights are there."""
        return True

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = None,
        dtype: Any = None,
        *,
        trainable: bool = True,
        name: str | None = None,
        **_: Any,
    ) -> Array:
        """A new weight: an array that only `set_weights` may change.

        shape : a tuple of sizes, or one size; () for a single number.
        initializer : "glorot_uniform", "orthogonal", "random_normal", "zeros", "ones" and the other
            names of Keras's, or a function of a shape. Drawn from the generator that
            `set_random_seed` sets. By default "glorot_uniform" for floats, else "zeros".
        dtype : by default the layer's.

        What else Keras's takes is for training, and left out.
        """
        name = name or f"weight_{len(self._own_weights)}"
        what = f"layer {self.name!r}: its weight {name!r}"
        if name in self._own_weights:
            raise InvalidInputError(f"layer {self.name!r} has a weight {name!r} already")
        if isinstance(shape, str):
            raise UnsupportedTypeError(
                f"{what}: add_weight takes shape, initializer and dtype in this order, and "
                f"name={shape!r} by its name"
            )
        shape = (shape,) if isinstance(shape, int) else tuple(shape or ())
        numbers = number_dtype(self.dtype if dtype is None else dtype)
        check_size(shape, 8)  # bytes, in which numbers are drawn
        if initializer is None:
            initializer = "glorot_uniform" if numbers.kind == "f" else "zeros"
        made = initializers.make(initializer, shape, what)
        weight = np.array(made, numbers, order="C")
        if weight.shape != shape:
            raise InvalidInputError(
                f"layer {self.name!r}: the initializer of {name!r} gave shape {weight.shape}; "
                f"the weight has {shape}"
            )
        weight.flags.writeable = False
        self._own_weights[name] = weight
        if not trainable:
            self._fixed |= {name}
        return weight

    def named_weights(self) -> Iterator[tuple[str, Array]]:
        """("name/weight", array): its own, then those of its layers, each once."""
        yield from self._named_weights(set())

    def _named_weights(self, seen: set[int]) -> Iterator[tuple[str, Array]]:
        """Those of layers that were not seen yet."""
        seen.add(id(self))
        for name, weight in self._own_weights.items():
            yield f"{self.name}/{name}", weight
        for layer in self.sublayers:
            if id(layer) not in seen:
                for name, weight in layer._named_weights(seen):
                    yield f"{self.name}/{name}", weight

    @property
    def weights(self) -> list[Array]:
        """Its arrays, read-only, in Keras's order."""
        return [weight for _, weight in self.named_weights()]

    @property
    def variables(self) -> list[Array]:
        """Its arrays, by Keras's other name."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Array]:
        """Those of its arrays that are trained, where that is done."""
        return self._trained(set(), True)[0]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """Those of its arrays that are not trained, such as averages that a layer keeps."""
        return self._trained(set(), True)[1]

    trainable_variables, non_trainable_variables = trainable_weights, non_trainable_weights

    def _trained(self, seen: set[int], is_trained: bool) -> tuple[list[Array], list[Array]]:
        """The weights that are trained, and those that are not."""
        seen.add(id(self))
        is_trained = is_trained and self._is_trainable
        trained: list[Array] = []
        fixed: list[Array] = []
        for name, weight in self._own_weights.items():
            (trained if is_trained and name not in self._fixed else fixed).append(weight)
        for layer in self.sublayers:
            if id(layer) not in seen:
                more, others = layer._trained(seen, is_trained)
                trained, fixed = trained + more, fixed + others
        return trained, fixed

    def get_weights(self) -> list[Array]:
        """Copies of its arrays, in Keras's order."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Replace all weights: arrays of the shapes that `get_weights` gives."""
        given = [to_numpy(array, "a weight") for array in weights]
        own = list(self.named_weights())
        if len(given) != len(own):
            built = "" if self.built else "; it is not built yet: call it on a batch, or build it"
            raise InvalidInputError(
                f"layer {self.name!r} has {len(own)} weights; got {len(given)}{built}"
            )
        for (name, weight), array in zip(own, given, strict=True):
            if array.shape != weight.shape:
                raise InvalidInputError(
                    f"layer {self.name!r}: weight {name!r} has shape {weight.shape}; "
                    f"got {array.shape}"
                )
            if array.dtype.kind not in "biuf":
                raise UnsupportedTypeError(
                    f"layer {self.name!r}: weight {name!r} is {weight.dtype}; got {array.dtype}"
                )
        for (_, weight), array in zip(own, given, strict=True):
            weight.flags.writeable = True
            weight[...] = array
            weight.flags.writeable = False
        self._weights_changed()

    def _weights_changed(self) -> None:
        """Forget what was computed from the weights."""
        self._version += 1
        for layer in self.sublayers:
            layer._weights_changed()

    def count_params(self) -> int:
        """How many numbers its weights are."""
        return sum(weight.size for weight in self.weights)
