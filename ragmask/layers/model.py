"""Models: layers one behind the other, or in a graph of inputs and outputs."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.batches.show import count
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import mask_of
from ragmask.layers.fusion import Fused, fuse
from ragmask.layers.graph import Node, Symbol, sorted_nodes, symbols_in
from ragmask.layers.inputs import Input, InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.saving import save_model
from ragmask.layers.structure import leaves_of, map_structure
from ragmask.layers.summary import summary_of


class MaskWarning(UserWarning):
    """A layer that uses masks got none, since a layer before it dropped it."""


@register
class Model(Layer):
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

    _masks_itself = True
    supports_masking = True

    def __init__(self, inputs: Any, outputs: Any, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.inputs, self.outputs = inputs, outputs
        self.vocabularies: dict[str, Any] = {}  # of inputs that are strings until they are encoded
        self._set_graph()

    def _set_graph(self) -> None:
        for what, structure in (("inputs", self.inputs), ("outputs", self.outputs)):
            leaves: list[Any] = []
            map_structure(leaves.append, structure)
            for leaf in leaves or [structure]:
                if not isinstance(leaf, Symbol):
                    raise UnsupportedTypeError(
                        f"model {self.name!r}: its {what} are Symbols, as Input() gives them; "
                        f"got {type(leaf).__name__}"
                    )
        self._nodes = sorted_nodes(self.outputs)
        entries = list(symbols_in(self.inputs))
        for node in self._nodes:
            if isinstance(node.layer, InputLayer) and node.outputs not in entries:
                raise InvalidInputError(
                    f"model {self.name!r}: its outputs need the input {node.layer.name!r}, which "
                    "is not among its inputs"
                )
        needed = {id(node) for node in self._nodes}
        for entry in entries:
            if not isinstance(entry.node.layer, InputLayer):
                raise InvalidInputError(
                    f"model {self.name!r}: its inputs come from Input(); {entry!r} does not"
                )
            if id(entry.node) not in needed:
                raise InvalidInputError(
                    f"model {self.name!r}: no output needs its input {entry.node.layer.name!r}"
                )
        names = self.input_names
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(
                    f"model {self.name!r}: {names.count(name)} of its inputs are {name!r}"
                )
        self._probe_steps = int(
            np.lcm.reduce([1, *(one.layer._probe_steps for one in self._nodes)])
        )
        self._check_names()
        self._steps: list[Node | Fused] = fuse(self._nodes, self.outputs)
        self._built_for = map_structure(lambda symbol: symbol.shape, self.inputs)
        self._warned: set[str] = set()

    def _check_names(self) -> None:
        names: dict[str, Layer] = {}
        for layer in self.layers:
            if names.setdefault(layer.name, layer) is not layer:
                raise InvalidInputError(
                    f"model {self.name!r} has two layers named {layer.name!r}: give one a name="
                )

    @property
    def layers(self) -> list[Layer]:
        """Its layers, inputs left out, in the order they run in."""
        layers = (node.layer for node in self._nodes)
        unique = {id(layer): layer for layer in layers if not isinstance(layer, InputLayer)}
        return list(unique.values())

    @property
    def sublayers(self) -> list[Layer]:
        return self.layers

    @property
    def input_names(self) -> list[str]:
        return [symbol.node.layer.name for symbol in symbols_in(self.inputs)]

    @property
    def output_names(self) -> list[str]:
        """The keys of a dict of outputs; else the names of the layers that make them."""
        if isinstance(self.outputs, dict):
            return list(self.outputs)
        names = [symbol.node.layer.name for symbol in symbols_in(self.outputs)]
        return [
            f"{name}_{names[:at].count(name)}" if name in names[:at] else name
            for at, name in enumerate(names)
        ]

    def get_layer(self, name: str) -> Layer:
        """The layer of that name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise InvalidInputError(f"model {self.name!r} has no layer {name!r}; it has {names}")

    def call(self, inputs: Any, training: bool = False) -> Any:
        values = dict(self._entries(inputs))
        dropped: dict[int, str] = {}  # symbols that lost their mask, and to which layer
        for step in self._steps:
            node = step.node if isinstance(step, Fused) else step
            if isinstance(node.layer, InputLayer):
                continue
            outputs = self._run(step, node, values, dropped, training)
            self._keep(node, outputs, values, dropped)
        return map_structure(lambda symbol: values[id(symbol)], self.outputs)

    def _run(
        self,
        step: Node | Fused,
        node: Node,
        values: dict[int, Any],
        dropped: dict[int, str],
        training: bool,
    ) -> Any:
        def value(given: Any) -> Any:
            return values[id(given)] if isinstance(given, Symbol) else given

        source = step.inputs if isinstance(step, Fused) else node.inputs
        inputs = map_structure(value, source)
        if isinstance(step, Fused):
            return step.run(inputs)
        if node.layer.uses_mask and node.mask is None:
            self._warn(node, dropped)
        options = {key: map_structure(value, one) for key, one in node.options.items()}
        if training:
            options["training"] = True
        mask = None if node.mask is None else map_structure(value, node.mask)
        args = map_structure(value, node.args)
        return node.layer(inputs, *args, mask=mask, **options)

    def _keep(
        self, node: Node, outputs: Any, values: dict[int, Any], dropped: dict[int, str]
    ) -> None:
        """Remember what a layer gave, and whether a mask was lost on the way."""
        loser = next((dropped[id(one)] for one in node.sources() if id(one) in dropped), None)
        had_mask = any(
            mask_of(values[id(one)]) is not None for one in node.sources() if id(one) in values
        )
        if had_mask and not node.layer._masks_itself:
            loser = node.layer.name
        got, named = (
            list(leaves_of(Ragged | Padded | np.ndarray, outputs)),
            list(symbols_in(node.outputs)),
        )
        if len(got) != len(named):
            raise InvalidInputError(
                f"layer {node.layer.name!r} gave {len(got)} batches, and {len(named)} when the "
                "model was made"
            )
        for symbol, batch in zip(named, got, strict=True):
            values[id(symbol)] = batch
            is_sequence = isinstance(batch, Ragged | Padded) or batch.ndim > 2
            if loser is not None and is_sequence and mask_of(batch) is None:
                dropped[id(symbol)] = loser

    def _warn(self, node: Node, dropped: dict[int, str]) -> None:
        for symbol in symbols_in(node.inputs):
            loser = dropped.get(id(symbol))
            if loser is not None and node.layer.name not in self._warned:
                self._warned.add(node.layer.name)
                warnings.warn(
                    f"layer {node.layer.name!r} uses masks and gets none: layer {loser!r} before "
                    "it dropped the mask; where it leaves time as it is, set its "
                    "supports_masking = True",
                    MaskWarning,
                    stacklevel=7,
                )

    def _entries(self, inputs: Any) -> Iterator[tuple[int, Any]]:
        """(symbol, batch) of every input."""
        wanted = list(symbols_in(self.inputs))
        if isinstance(self.inputs, dict):
            pairs = list(self.inputs.items())
        else:
            pairs = [(symbol.node.layer.name, symbol) for symbol in wanted]
        single = isinstance(self.inputs, Symbol)
        if isinstance(inputs, dict):
            batches = [inputs[name] for name, _ in pairs]
        elif isinstance(inputs, list | tuple) is single:
            raise UnsupportedTypeError(
                f"model {self.name!r} is called on {self._wanted()}; got a {type(inputs).__name__}"
            )
        else:
            batches = [inputs] if single else list(inputs)
        if len(batches) != len(pairs):
            raise InvalidInputError(
                f"model {self.name!r} has {len(pairs)} inputs; it was called on {len(batches)}"
            )
        for (name, symbol), batch in zip(pairs, batches, strict=True):
            _check_entry(self.name, name, symbol, batch)
            yield id(symbol), batch

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask_of(self(inputs, mask=mask))

    def __call__(self, inputs: Any, *args: Any, mask: Any = None, **options: Any) -> Any:
        if isinstance(inputs, Mapping):  # a stream's batch too, which may hold more
            names = self._entry_names()
            for name in names:
                if name not in inputs:
                    raise InvalidInputError(
                        f"model {self.name!r} needs {name!r}; it was called on "
                        f"{', '.join(map(repr, inputs)) or 'nothing'}"
                    )
            inputs = {name: inputs[name] for name in names}
        return super().__call__(inputs, *args, mask=mask, **options)

    def _entry_names(self) -> list[str]:
        return list(self.inputs) if isinstance(self.inputs, dict) else self.input_names

    def _wanted(self) -> str:
        """What it is called on, in words."""
        if isinstance(self.inputs, Symbol):
            return f"one batch, {self.input_names[0]!r}"
        kind = "dict" if isinstance(self.inputs, dict) else "list"
        return f"a {kind} of batches, {', '.join(map(repr, self._entry_names()))}"

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

    def get_config(self) -> dict[str, Any]:
        raise UnsupportedTypeError(
            f"model {self.name!r} is a graph: save it with .save(path), read it with load_model"
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {count(len(self.layers), 'layer')}, "
            f"{count(self.count_params(), 'number')})"
        )


@register
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

    def __init__(self, layers: Sequence[Any] = (), *, name: str | None = None) -> None:
        Layer.__init__(self, name=name)
        self._given_layers: list[Layer] = []
        self.vocabularies = {}
        self._nodes, self._steps, self._warned = [], [], set()
        self._entry: Any = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end."""
        if isinstance(layer, Symbol) and isinstance(layer.node.layer, InputLayer):
            if self._given_layers or self._entry is not None:
                raise InvalidInputError(f"model {self.name!r}: an Input comes first")
            self._entry = layer
            return
        if not isinstance(layer, Layer):
            raise UnsupportedTypeError(
                f"model {self.name!r} is made of layers; got {type(layer).__name__}"
            )
        self._given_layers.append(layer)
        if self._built_for is None and self._entry is None:
            return
        entry = self._entry if self._built_for is None else self.inputs
        try:
            self._connect(entry)
        except BaseException:
            self._given_layers.pop()
            if self._given_layers:
                self._connect(entry)  # as it was
            raise

    def _connect(self, entry: Any) -> None:
        output = entry
        for layer in self._given_layers:
            output = layer(output)
        self.inputs, self.outputs = entry, output
        self._set_graph()

    def _build_for(self, inputs: Any) -> None:
        if self._built_for is not None:
            return
        if not self._given_layers:
            raise InvalidInputError(f"model {self.name!r} has no layers: add some")
        if isinstance(inputs, list | tuple | dict):
            raise UnsupportedTypeError(
                f"model {self.name!r} is Sequential and takes one batch; got a "
                f"{type(inputs).__name__}"
            )
        if not isinstance(inputs, np.ndarray):
            shape = (None, *inputs.item_shape)
        elif inputs.ndim > 2 or (inputs.ndim == 2 and inputs.dtype.kind in "biu"):
            shape = (None, *inputs.shape[2:])
        else:
            shape = inputs.shape[1:]
        self._connect(Input(shape, inputs.dtype))

    @property
    def layers(self) -> list[Layer]:
        """Its layers, in order."""
        return list({id(layer): layer for layer in self._given_layers}.values())


def _check_entry(model: str, name: str, symbol: Symbol, batch: Any) -> None:
    """Raise where a batch's steps have another shape than its Input says."""
    has_time = isinstance(batch, Ragged | Padded)
    given: Any = batch.item_shape if has_time else getattr(batch, "shape", (0,))[1:]
    item_shape = symbol.example.item_shape if isinstance(symbol.example, Ragged) else None
    if item_shape is None:
        fits = not has_time and given == symbol.example.shape[1:]
    else:
        fits = given == item_shape if has_time else len(given) > 0 and given[1:] == item_shape
    if not fits:
        wanted = str(symbol.shape).replace("None", "·")
        hint = ""
        if isinstance(batch, Ragged) and (given, item_shape) == ((), (1,)):
            hint = ": make each number a step of one, x.with_values(x.values[:, None])"
        raise InvalidInputError(
            f"model {model!r}: input {name!r} is of shape {wanted}; "
            f"got {'steps' if has_time else 'rows'} of shape {given}{hint}"
        )
