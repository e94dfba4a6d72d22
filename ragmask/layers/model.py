"""Models: layers one behind the other, or in a graph of inputs and outputs."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.layers.batch import spec_of
from ragmask.layers.graph import Symbol
from ragmask.layers.layer import NOTHING, Layer
from ragmask.layers.network import Input, InputLayer, Network
from ragmask.layers.registry import MODELS
from ragmask.layers.saved.folder import read_model, save_model
from ragmask.layers.summary import summary_of

# what Keras's models have, and what to do here
_TRAINED_ELSEWHERE = (
    "train it in torch, module = ragmask.interop.torch.to_torch(model), or train a Keras model on "
    "a stream, keras_model.fit(ragmask.interop.keras.StreamDataset(stream, x=…, y=…)), and make "
    "one of these of it with from_keras"
)
_CALLED = (
    "call it on a batch, model(batch), or run a data set through it with `ragmask apply`; a Keras "
    "model predicts on a stream through ragmask.interop.keras.StreamDataset, and to_torch makes a "
    "torch module of this one"
)
_ELSEWHERE = {
    **dict.fromkeys(("compile", "fit", "evaluate"), _TRAINED_ELSEWHERE),
    **dict.fromkeys(("train_on_batch", "test_on_batch"), _TRAINED_ELSEWHERE),
    **dict.fromkeys(("predict", "predict_on_batch"), _CALLED),
}


class Model(Network):
    """A graph of layers, from `Input`s to outputs, that is itself a layer.

    >>> import ragmask as rm
    >>> ids = rm.layers.Input((None,), dtype="int32", name="ids")
    >>> x = rm.layers.Embedding(5000, 16, mask_zero=True)(ids)
    >>> model = rm.layers.Model(ids, rm.layers.LSTM(32)(x))
    >>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8]])).shape
    (2, 32)

    inputs, outputs : one Symbol each, or lists or dicts of them. The model is called on, and gives,
        the same: one batch, or a list or dict of batches. A dict of inputs may hold more than the
        model needs, as a stream's batches do.

    Masks travel inside batches from layer to layer. Where a layer that uses masks gets none because
    another one dropped it, a MaskWarning says which. Raises InvalidInputError for a graph with a
    cycle, or whose outputs need an Input that is not among the inputs.
    """

    if not TYPE_CHECKING:  # to a type checker, what is missing stays missing

        def __getattr__(self, name: str) -> Any:
            if name in _ELSEWHERE:
                raise MissingAttributeError(
                    f"a {type(self).__name__} of rm.layers has no {name}(): {_ELSEWHERE[name]}"
                )
            return object.__getattribute__(self, name)  # which raises what it raised before

    def summary(self) -> None:
        """Print a table of its layers: outputs, weights, and where masks come from and go.

        made : the layer gives its output a mask that its input had not; passed : the input's own;
        changed : another one; dropped : none, though the input had one; used : the layer looks at
        the mask.
        """
        print(summary_of(self))

    def save(self, path: Any, *, vocabulary: Any = None) -> None:
        """Write a folder: model.json, weights.safetensors, and vocabularies (extra `models`).

        vocabulary : a Vocabulary for the only input, or {input: Vocabulary}: with it `ragmask
        apply` encodes columns of strings.

        The folder appears whole or not at all, and takes the place of a saved model alone. Raises
        InvalidInputError where anything else is there; StreamError, naming the folder, where the
        disk fails, and for the name of a link or of what lies in another saved model's folder.
        """
        save_model(self, path, vocabulary)


class Sequential(Model):
    """Layers one behind the other.

    >>> import ragmask as rm
    >>> model = rm.layers.Sequential(
    ...     [rm.layers.Embedding(5000, 16, mask_zero=True), rm.layers.LSTM(32)]
    ... )
    >>> model(rm.Ragged.from_rows([[711, 632, 71], [73, 8]])).shape
    (2, 32)

    An Input may come first; else the model is built on the first batch it is called on.
    """

    _chain: list[Layer]
    _entry: Any = None

    def __init__(self, layers: Sequence[Any] = (), *, name: str | None = None) -> None:
        Layer.__init__(self, name=name)
        self._chain = []
        self.vocabularies = {}
        self._nodes, self._steps, self._warned = [], [], set()
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end."""
        if isinstance(layer, Symbol) and isinstance(layer.node.layer, InputLayer):
            if self._chain or self._entry is not None:
                raise InvalidInputError(f"model {self.name!r}: an Input comes first")
            self._entry = layer
            return
        if not isinstance(layer, Layer):
            raise UnsupportedTypeError(
                f"model {self.name!r} is made of layers; got {type(layer).__name__}"
            )
        self._chain.append(layer)
        if self._built_for is None and self._entry is None:
            return
        entry = self._entry if self._built_for is None else self.inputs
        try:
            self._connect_layers(entry)
        except BaseException:
            self._chain.pop()
            if self._chain:
                self._connect_layers(entry)  # as it was
            raise

    def _connect_layers(self, entry: Any) -> None:
        output = entry
        for layer in self._chain:
            output = layer(output)
        self.inputs, self.outputs = entry, output
        self._set_graph()

    def _build_for(self, inputs: Any, options: Mapping[str, Any] = NOTHING) -> None:
        if self._built_for is not None:
            return
        if not self._chain:
            raise InvalidInputError(f"model {self.name!r} has no layers: add some")
        if isinstance(inputs, list | tuple | dict):
            raise UnsupportedTypeError(
                f"model {self.name!r} is Sequential and takes one batch; got a "
                f"{type(inputs).__name__}"
            )
        spec = spec_of(inputs)
        if spec.has_time or (len(spec.shape) == 2 and spec.dtype.kind in "biu"):
            self._connect_layers(Input((None, *spec.item_shape), spec.dtype))
        else:
            self._connect_layers(Input(spec.shape[1:], spec.dtype))

    @property
    def layers(self) -> list[Layer]:
        """Its layers, in order."""
        return list({id(layer): layer for layer in self._chain}.values())


MODELS.update(Model=Model, Sequential=Sequential)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `Model.save` wrote; `model.vocabularies` has the vocabularies saved with it.

    Custom layers are found by the name they were registered under. The folder may come from
    anywhere: no code in it is run. Raises InvalidInputError, naming the layer, for what does not
    fit: an unknown layer, a graph that is none, weights missing, too many, or of other shapes.
    """
    return cast(Model, read_model(path))
