"""What a model does: it runs layers one after the other, in a graph of inputs and outputs."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragmask.batches.show import count
from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.layers.batch import is_sequence, mask_of
from ragmask.layers.fusion import Fused, fuse
from ragmask.layers.graph import (
    BATCHES,
    Node,
    Symbol,
    from_inside,
    leaves_of,
    map_structure,
    sorted_nodes,
    symbols_in,
)
from ragmask.layers.inputs import InputLayer, check_entry, entry_for, without_list
from ragmask.layers.layer import Layer, layers_inside
from ragmask.layers.spec import Spec


class MaskWarning(UserWarning):
    """A layer that uses masks got none, since a layer before it dropped it."""


class Network(Layer):
    """A graph of layers that is itself a layer."""

    _masks_itself = True
    supports_masking = True
    _inputs: Any
    _outputs: Any
    _nodes: Sequence[Node] = ()
    _chain: list[Layer] | None = None  # its layers, where each is called on what the last one gave

    def __init__(self, inputs: Any = None, outputs: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.vocabularies: dict[str, Any] = {}  # of inputs that are strings until they are encoded
        self._set_nothing()
        if inputs is None and outputs is None and type(self).call is not Network.call:
            self._masks_itself = self.supports_masking = False  # as of any layer of one's own
        else:
            self._set_graph(inputs, outputs)

    @property
    def _is_graph(self) -> bool:
        """Whether it runs a graph, and not a `call` of a class of its own."""
        return bool(self._nodes) or self._chain is not None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for node in self._nodes:  # layers come without what they were called on
            node.layer._calls.append(node)

    @property
    def inputs(self) -> list[Symbol]:
        """The symbols of its inputs, one after the other."""
        self._check_connected()
        return list(symbols_in(self._inputs))

    @property
    def outputs(self) -> list[Symbol]:
        """The symbols of its outputs, one after the other."""
        self._check_connected()
        return list(symbols_in(self._outputs))

    @property
    def input(self) -> Any:
        """Its inputs as the model was made of them: one symbol, or a list or dict of them."""
        self._check_connected()
        return self._inputs

    @property
    def output(self) -> Any:
        """Its outputs as the model was made of them: one symbol, or a list or dict of them."""
        self._check_connected()
        return self._outputs

    @property
    def input_shape(self) -> Any:
        """The shapes of its inputs, with None for rows and time."""
        return map_structure(lambda symbol: symbol.shape, self.input)

    @property
    def output_shape(self) -> Any:
        """The shapes of its outputs, with None for rows and time."""
        return map_structure(lambda symbol: symbol.shape, self.output)

    def _check_connected(self) -> None:
        if not self._nodes:
            raise MissingAttributeError(
                f"model {self.name!r} has no inputs and outputs yet: call it on a batch, or build "
                "it, where it is Sequential; one with a call of its own has none"
            )

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        for what, structure in (("inputs", inputs), ("outputs", outputs)):
            leaves: list[Any] = []
            map_structure(leaves.append, structure)
            for leaf in leaves or [structure]:
                if not isinstance(leaf, Symbol):
                    raise UnsupportedTypeError(
                        f"model {self.name!r}: its {what} are Symbols, as Input() gives them; "
                        f"got {type(leaf).__name__}"
                    )
        inner = [one for one in symbols_in(inputs) if not isinstance(one.node.layer, InputLayer)]
        if inner:  # it begins inside another graph
            instead = {id(one): entry_for(one) for one in inner}
            outputs = from_inside(instead, outputs)
            inputs = map_structure(lambda one: instead.get(id(one), one), inputs)
        inputs, outputs = without_list(inputs), without_list(outputs)
        self._inputs, self._outputs = inputs, outputs
        self._nodes = sorted_nodes(outputs)
        entries = self.inputs
        for node in self._nodes:
            if isinstance(node.layer, InputLayer) and node.outputs not in entries:
                raise InvalidInputError(
                    f"model {self.name!r}: its outputs need the input {node.layer.name!r}, which "
                    "is not among its inputs"
                )
        needed = {id(node) for node in self._nodes}
        for entry in entries:
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
        self._check_names()
        self._steps: list[Node | Fused] = fuse(self._nodes, outputs)
        self._built_for = map_structure(lambda symbol: symbol.shape, self._inputs)
        self._warned: set[str] = set()

    def _set_nothing(self) -> None:
        """It has no graph yet."""
        self._inputs, self._outputs, self._nodes, self._steps = [], [], (), []
        self._built_for = None

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
        if not self._is_graph:
            return super().sublayers
        layers = (node.layer for node in self._nodes)
        unique = {id(layer): layer for layer in layers if not isinstance(layer, InputLayer)}
        return list(unique.values())

    @property
    def sublayers(self) -> list[Layer]:
        return self.layers

    @property
    def layers_inside(self) -> list[Layer]:
        """Its layers, those that they hold, and so on, each once."""
        return layers_inside(self)

    def reset_states(self) -> None:
        """Forget the last states of all stateful layers inside."""
        for layer in self.layers_inside:
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
                layer.reset_states()

    @property
    def input_names(self) -> list[str]:
        return [symbol.node.layer.name for symbol in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The keys of a dict of outputs; else the names of the layers that make them."""
        if isinstance(self._outputs, dict):
            return list(self._outputs)
        names = [symbol.node.layer.name for symbol in self.outputs]
        return [
            f"{name}_{names[:at].count(name)}" if name in names[:at] else name
            for at, name in enumerate(names)
        ]

    def call(self, inputs: Any) -> Any:
        values = dict(self._entries(inputs))
        dropped: dict[int, str] = {}  # symbols that lost their mask, and to which layer
        for step in self._steps:
            node = step.node if isinstance(step, Fused) else step
            if isinstance(node.layer, InputLayer):
                continue
            outputs = self._run_step(step, node, values, dropped)
            self._store(node, outputs, values, dropped)
        return map_structure(lambda symbol: values[id(symbol)], self._outputs)

    def _run_step(
        self,
        step: Node | Fused,
        node: Node,
        values: dict[int, Any],
        dropped: dict[int, str],
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
        mask = None if node.mask is None else map_structure(value, node.mask)
        args = map_structure(value, node.args)
        return node.layer(inputs, *args, mask=mask, **options)

    def _store(
        self, node: Node, outputs: Any, values: dict[int, Any], dropped: dict[int, str]
    ) -> None:
        """Remember what a layer gave, and whether a mask was lost on the way."""
        loser = next((dropped[id(one)] for one in node.sources() if id(one) in dropped), None)
        had_mask = any(
            mask_of(values[id(one)]) is not None for one in node.sources() if id(one) in values
        )
        if had_mask and not node.layer._masks_itself:
            loser = node.layer.name
        for symbol, batch in _by_symbol(node, list(leaves_of(BATCHES, outputs))):
            values[id(symbol)] = batch
            if loser is not None and is_sequence(batch) and mask_of(batch) is None:
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
        if isinstance(self._inputs, Symbol) and isinstance(inputs, list | tuple):
            inputs = inputs[0] if len(inputs) == 1 else inputs
        if isinstance(inputs, dict) and not isinstance(self._inputs, dict):
            inputs = without_list([inputs[name] for name in self.input_names])
        return self._matched(self._inputs, inputs, None)

    def _matched(self, wanted: Any, given: Any, name: str | None) -> Iterator[tuple[int, Any]]:
        """(symbol, batch) of every symbol of a structure, and what is given for it."""
        kind = next((one for one in (Symbol, dict) if isinstance(wanted, one)), list)
        if isinstance(given, dict) != (kind is dict) or isinstance(given, list | tuple) != (
            kind is list
        ):
            of = "" if name is None else f"for {name!r} "
            raise UnsupportedTypeError(
                f"model {self.name!r} is called {of}on {_expected(wanted)}; "
                f"got a {type(given).__name__}"
            )
        if kind is Symbol:
            check_entry(self.name, name or wanted.node.layer.name, wanted, given)
            yield id(wanted), given
            return
        keys = list(wanted) if kind is dict else range(len(wanted))
        if kind is list and len(given) != len(keys):
            raise InvalidInputError(
                f"model {self.name!r} has {len(keys)} inputs; it was called on {len(given)}"
            )
        for key in keys:
            if kind is dict and key not in given:
                raise InvalidInputError(
                    f"model {self.name!r} needs {key!r}; it was called on "
                    f"{', '.join(map(repr, given)) or 'nothing'}"
                )
            yield from self._matched(wanted[key], given[key], str(key) if kind is dict else None)

    def compute_output(self, inputs: Any) -> Any:
        specs = dict(self._entries(inputs))

        def spec(given: Any) -> Any:
            return specs[id(given)] if isinstance(given, Symbol) else given

        for node in self._nodes:
            if not isinstance(node.layer, InputLayer):
                parts = node.inputs, node.args, node.mask, node.options
                with node.layer._noted():
                    outputs = node.layer._output_specs(*map_structure(spec, parts))
                pairs = _by_symbol(node, list(leaves_of(Spec, outputs)))
                specs.update((id(symbol), one) for symbol, one in pairs)
        return map_structure(spec, self._outputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not self._is_graph:
            return super().compute_mask(inputs, mask)
        return mask_of(self(inputs, mask=mask))

    def __call__(self, *args: Any, mask: Any = None, **options: Any) -> Any:
        if not self._is_graph:
            return super().__call__(*args, mask=mask, **options)
        inputs, *rest = args or (options.pop("inputs", None),)
        if isinstance(inputs, Mapping):  # a stream's batch too, which may hold more
            names = self._entry_names()
            for name in names:
                if name not in inputs:
                    raise InvalidInputError(
                        f"model {self.name!r} needs {name!r}; it was called on "
                        f"{', '.join(map(repr, inputs)) or 'nothing'}"
                    )
            inputs = {name: inputs[name] for name in names}
        return super().__call__(inputs, *rest, mask=mask, **options)

    def _entry_names(self) -> list[str]:
        if not self._nodes:
            return []
        return list(self._inputs) if isinstance(self._inputs, dict) else self.input_names

    def _expected_inputs(self) -> str:
        """What it is called on, in words."""
        return _expected(self._inputs)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {count(len(self.layers), 'layer')}, "
            f"{count(self.count_params(), 'number')})"
        )


def _expected(wanted: Any) -> str:
    """What a model of these inputs is called on, in words."""
    if isinstance(wanted, Symbol):
        return f"one batch, {wanted.node.layer.name!r}"
    if isinstance(wanted, dict):
        return f"a dict of batches, {', '.join(map(repr, wanted))}"
    names = (symbol.node.layer.name for symbol in symbols_in(wanted))
    return f"a list of batches, {', '.join(map(repr, names))}"


def _by_symbol(node: Node, batches: list[Any]) -> Iterator[tuple[Symbol, Any]]:
    """Each output of a node, and what its layer gave for it."""
    symbols = list(symbols_in(node.outputs))
    if len(batches) != len(symbols):
        raise InvalidInputError(
            f"layer {node.layer.name!r} gave {len(batches)} batches, and {len(symbols)} when the "
            "model was made"
        )
    return zip(symbols, batches, strict=True)
