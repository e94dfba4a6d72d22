"""Models: layers one behind the other, or in a graph of inputs and outputs."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.layers.batch import spec_of
from ragmask.layers.graph import Symbol
from ragmask.layers.inputs import Input, InputLayer
from ragmask.layers.layer import NOTHING, Layer
from ragmask.layers.network import Network
from ragmask.layers.plot import Plot, html_of, plot_of
from ragmask.layers.registry import MODELS
from ragmask.layers.saved.folder import read_model, save_model
from ragmask.layers.saved.reader import read_description
from ragmask.layers.saved.writer import describe
from ragmask.layers.spec import is_shape
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
        the same: one batch, or a list or dict of batches; a list of one is that one. A dict of
        inputs may hold more than the model needs, as a stream's batches do.

    Masks travel inside batches from layer to layer. Where a layer that uses masks gets none because
    another one dropped it, a MaskWarning says which. Raises InvalidInputError for a graph with a
    cycle, or whose outputs need an Input that is not among the inputs.

    A class of your own with a `call` may be a Model too: it holds its layers as attributes, as any
    Layer does, and is made by `super().__init__()`. Such a model cannot be saved.
    """

    def get_config(self) -> dict[str, Any]:
        """What the model is made of, as JSON has it; `from_config` makes it again."""
        return describe(self) if self._is_graph else super().get_config()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A model as `get_config` of another one says; its weights are new."""
        if "format" not in config and cls not in MODELS.values():
            return super().from_config(config)
        made = read_description(config)
        if not isinstance(made, cls):
            raise InvalidInputError(f"it is a {type(made).__name__}, and no {cls.__name__}")
        return made

    def to_json(self, **options: Any) -> str:
        """What the model is made of, without its weights; `model_from_json` makes it again.

        options : as `json.dumps` takes them.
        """
        return json.dumps(self.get_config(), **options)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer of the model, by its name or by its number."""
        if (name is None) is (index is None):
            raise InvalidInputError("get_layer takes a name or an index")
        if name is None:
            layers = self.layers
            if not -len(layers) <= (index or 0) < len(layers):
                raise InvalidInputError(
                    f"model {self.name!r} has {len(layers)} layers; got index {index}"
                )
            return layers[index or 0]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(repr(layer.name) for layer in self.layers)
        raise InvalidInputError(f"model {self.name!r} has no layer {name!r}; it has {names}")

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

    def plot(self) -> Plot:
        """A picture of its layers, and of the masks that flow through them.

        >>> import ragmask as rm
        >>> ids = rm.layers.Input((None,), dtype="int32", name="ids")
        >>> x = rm.layers.Embedding(5000, 16, mask_zero=True)(ids)
        >>> model = rm.layers.Model(ids, rm.layers.LSTM(32)(x), name="reader")
        >>> model.plot()
        Plot('reader', 2 layers)

        A layer's box has its name, its class, the shapes that it gives, and what it does with
        masks, in the words of `summary`; lines with a mask are thick, those without are dashed.
        Notebooks show it; `.save("model.svg")` writes it, and `str` is its SVG.

        A Sequential that is not built yet is drawn without shapes and masks. Raises
        InvalidInputError for a model with a `call` of its own.
        """
        return plot_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    def save(self, path: Any, *, vocabulary: Any = None) -> None:
        """Write a folder: model.json, weights.safetensors, and vocabularies (extra `models`).

        vocabulary : a Vocabulary for the only input, or {input: Vocabulary}: with it
            `ragmask apply` encodes columns of strings.

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
    _entry: Any = None  # the symbol of its input, where it is known

    def __init__(
        self, layers: Sequence[Any] = (), *, name: str | None = None, trainable: bool = True
    ) -> None:
        Layer.__init__(self, name=name, trainable=trainable)
        self._chain = []
        self.vocabularies = {}
        self._set_nothing()
        self._warned = set()
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end. It has a name of its own."""
        if isinstance(layer, Symbol) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if isinstance(layer, InputLayer):
            if self._chain or self._entry is not None:
                raise InvalidInputError(f"model {self.name!r}: an Input comes first")
            self._entry = layer.output
            return
        if not isinstance(layer, Layer):
            raise UnsupportedTypeError(
                f"model {self.name!r} is made of layers; got {type(layer).__name__}"
            )
        for other in self._chain:
            if other.name == layer.name and other is not layer:
                raise InvalidInputError(
                    f"model {self.name!r} has two layers named {layer.name!r}: give one a name="
                )
        entry = self._entry
        if not self._chain and entry is None and layer._row_shape is not None:
            entry = Input(layer._row_shape, layer._input_dtype)
        if entry is not None:  # else it is connected with the others, on the first batch
            output = layer(self._outputs if self._nodes else entry)
            self._set_graph(entry, output)
        self._entry = entry
        self._chain.append(layer)

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away, and give it back."""
        if not self._chain:
            raise InvalidInputError(f"model {self.name!r} has no layers to take away")
        layer = self._chain.pop()
        if self._nodes and self._chain:
            self._set_graph(self._entry, self._nodes[-1].inputs)
        elif self._nodes:
            self._set_nothing()
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make the weights, for batches of this shape: (rows, time, features) or (rows, features).

        Rows and time may be None, and may be any number whatever it says.
        """
        if not is_shape(input_shape) or len(input_shape) < 2:
            raise InvalidInputError(
                f"model {self.name!r} is Sequential and takes one batch, of shape (rows, …); got "
                f"{input_shape!r}"
            )
        self._begin(input_shape[1:], self._first_layer._input_dtype)

    def _build_for(self, inputs: Any, options: Mapping[str, Any] = NOTHING) -> None:
        if self._nodes:
            return
        if isinstance(inputs, list | tuple | dict):
            raise UnsupportedTypeError(
                f"model {self.name!r} is Sequential and takes one batch; got a "
                f"{type(inputs).__name__}"
            )
        spec = spec_of(inputs)
        shape = (None, *spec.item_shape) if spec.has_time else spec.shape[1:]
        self._begin(shape, spec.dtype)

    @property
    def _first_layer(self) -> Layer:
        if not self._chain:
            raise InvalidInputError(f"model {self.name!r} has no layers: add some")
        return self._chain[0]

    def _begin(self, row_shape: Any, dtype: Any) -> None:
        """Connect the layers, for rows of this shape."""
        first = self._first_layer
        if len(row_shape) == 1 and np.dtype(dtype).kind in "biu":  # ids, whatever their width
            row_shape = (None,)
        output = entry = Input(row_shape, dtype)
        for layer in [first, *self._chain[1:]]:
            output = layer(output)
        self._set_graph(entry, output)
        self._entry = entry

    @property
    def layers(self) -> list[Layer]:
        """Its layers, in order."""
        return list({id(layer): layer for layer in self._chain}.values())


MODELS.update(Model=Model, Sequential=Sequential)


def model_from_json(text: str) -> Model:
    """The model that `Model.to_json` described; its weights are new.

    >>> import ragmask as rm
    >>> model = rm.layers.Sequential([rm.layers.Dense(2, name="last")], name="small")
    >>> rm.layers.model_from_json(model.to_json())
    Sequential('small', 1 layer, 0 numbers)
    """
    return Model.from_config(json.loads(text))


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `Model.save` wrote; `model.vocabularies` has the vocabularies saved with it.

    Custom layers are found by the name they were registered under. The folder may come from
    anywhere: no code in it is run. Raises InvalidInputError, naming the layer, for what does not
    fit: an unknown layer, a graph that is none, weights missing, too many, or of other shapes.
    """
    return cast(Model, read_model(path))
