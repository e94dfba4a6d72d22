"""torch's modules, and ragmask's own for torch, each as the layers that do the same."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ragmask import layers
from ragmask.arrays.protocol import Array
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.torch import nn
from ragmask.interop.torch.memory import check_plain
from ragmask.layers.recurrent import Recurrent

RECURRENT: dict[type[torch.nn.Module], type[Recurrent]] = {
    torch.nn.LSTM: layers.LSTM,
    torch.nn.GRU: layers.GRU,
    torch.nn.RNN: layers.SimpleRNN,
    nn.LSTM: layers.LSTM,
    nn.GRU: layers.GRU,
    nn.RNN: layers.SimpleRNN,
}


class Step(NamedTuple):
    """A layer, the weights it is to have, and the shape of the steps it takes, where it says."""

    layer: layers.Layer
    arrays: list[Array]
    item_shape: tuple[int, ...] | None = None


def steps_of(module: Any, path: str = "") -> Iterator[Step]:
    """The layers of a Sequential, one behind the other; a module met again is the same layers."""
    made: dict[int, list[Step]] = {}
    for name, inner in _flat(module, path):
        kind = type(inner)
        if kind not in _CONVERTERS:
            known = ", ".join(sorted({cls.__name__ for cls in _CONVERTERS}))
            hint = ""
            if kind is torch.nn.Flatten:
                hint = ": it joins steps, of which ragged rows have unequal numbers"
            raise _unsupported(inner, name, f"is none of {known}{hint}")
        if inner._forward_hooks or inner._forward_pre_hooks:
            raise _unsupported(inner, name, "has hooks, which may change what it gives")
        if id(inner) not in made:
            made[id(inner)] = list(_CONVERTERS[kind](inner, name))
        yield from made[id(inner)]


def _flat(module: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential, and of those inside it, by their names in its state_dict."""
    if type(module).forward is not torch.nn.Sequential.forward:
        raise _unsupported(module, path or "0", "has a forward() of its own, which cannot be read")
    for name, inner in module._modules.items():
        full = f"{path}.{name}" if path else name
        if isinstance(inner, torch.nn.Sequential):
            yield from _flat(inner, full)
        else:
            yield full, inner


def recurrent_steps(module: torch.nn.RNNBase, cls: type[Recurrent], name: str) -> Iterator[Step]:
    """One layer for each of its own, Bidirectional where it is."""
    if getattr(module, "nonlinearity", "tanh") != "tanh":
        raise UnsupportedTypeError(
            f"from_torch takes an nn.RNN with nonlinearity='tanh', which SimpleRNN computes; got "
            f"{module.nonlinearity!r}"
        )
    state = _numbers(module)
    item_shape: tuple[int, ...] = (module.input_size,)
    for number in range(module.num_layers):
        sides = (False, True) if module.bidirectional else (False,)
        halves = [cls(**_options(module, name, number, reverse)) for reverse in sides]
        arrays = [
            array
            for half, reverse in zip(halves, sides, strict=True)
            for array in _arrays(half, module, state, number, reverse)
        ]
        layer: layers.Layer = halves[0]
        if module.bidirectional:
            both = f"{name}_bidirectional_l{number}"
            layer = layers.Bidirectional(halves[0], backward_layer=halves[1], name=both)
        yield Step(layer, arrays, item_shape)


def _options(module: torch.nn.RNNBase, name: str, number: int, reverse: bool) -> dict[str, Any]:
    return {
        "units": module.hidden_size,
        "use_bias": module.bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "return_sequences": True,
        "go_backwards": reverse,
        "name": f"{name}_l{number}{'_reverse' if reverse else ''}",
    }


def _arrays(
    layer: Recurrent, module: torch.nn.RNNBase, state: Mapping[str, Any], number: int, reverse: bool
) -> list[Array]:
    weights = layer.weights_class.from_torch(state, number, reverse)
    arrays = [weights.kernel, weights.recurrent_kernel, weights.bias]
    return arrays if module.bias else arrays[:2]


def attention_step(module: torch.nn.MultiheadAttention) -> Step:
    """Of queries, keys and values of one size."""
    wrong = [] if module.bias_k is None else ["add_bias_kv"]
    if module.add_zero_attn:
        wrong.append("add_zero_attn")
    if module.in_proj_weight is None:
        wrong.append("kdim or vdim")
    if wrong:
        raise UnsupportedTypeError(
            f"from_torch takes an nn.MultiheadAttention without {', '.join(wrong)}, which "
            "MultiHeadAttention does not compute"
        )
    state, size, has_bias = _numbers(module), module.embed_dim, module.in_proj_bias is not None
    heads = module.num_heads, size // module.num_heads
    arrays = []
    for part in range(3):  # query, key and value
        own = slice(part * size, (part + 1) * size)
        arrays.append(state["in_proj_weight"][own].t().reshape(size, *heads).numpy())
        if has_bias:
            arrays.append(state["in_proj_bias"][own].reshape(heads).numpy())
    arrays.append(state["out_proj.weight"].t().reshape(*heads, size).numpy())
    if has_bias:
        arrays.append(state["out_proj.bias"].numpy())
    layer = layers.MultiHeadAttention(*heads, use_bias=has_bias, kernel_initializer="zeros")
    return Step(layer, arrays, (size,))


# -- one function a kind of module: (module, its name) -> steps


def _recurrent(module: Any, name: str) -> Iterator[Step]:
    yield from recurrent_steps(module, RECURRENT[type(module)], _named(module, name))


def _embedding(module: Any, name: str) -> Iterator[Step]:
    padding = getattr(module, "padding_idx", None)
    if padding not in (None, 0):
        raise _unsupported(
            module, name, f"has padding_idx={padding}; 0 is known, whose steps are then masked"
        )
    if getattr(module, "max_norm", None) is not None:
        raise _unsupported(module, name, "has max_norm, which changes its weights when it is used")
    mask_zero = getattr(module, "mask_zero", padding == 0)
    layer = layers.Embedding(
        module.num_embeddings,
        module.embedding_dim,
        embeddings_initializer="zeros",
        mask_zero=mask_zero,
        name=_named(module, name),
    )
    yield Step(layer, [_numbers(module, name)["weight"].numpy()], ())


def _linear(module: Any, name: str) -> Iterator[Step]:
    state = _numbers(module, name)
    layer = layers.Dense(
        module.out_features,
        use_bias=module.bias is not None,
        kernel_initializer="zeros",
        name=_named(module, name),
    )
    arrays = [state["weight"].t().numpy()]
    if module.bias is not None:
        arrays.append(state["bias"].numpy())
    yield Step(layer, arrays, (module.in_features,))


def _dropout(module: Any, name: str) -> Iterator[Step]:
    yield Step(layers.Dropout(module.p, name=_named(module, name)), [])


def _identity(module: Any, name: str) -> Iterator[Step]:
    yield from ()


def _activation(function: str, **known: Any) -> Callable[[Any, str], Iterator[Step]]:
    """Of a module whose arguments have these values and no others."""

    def convert(module: Any, name: str) -> Iterator[Step]:
        for argument, value in known.items():
            given = getattr(module, argument)
            if given != value:
                raise _unsupported(module, name, f"has {argument}={given!r}; {value!r} is known")
        yield Step(layers.Activation(function, name=_named(module, name)), [])

    return convert


def _named(module: Any, path: str) -> str:
    """A layer's name: its module's, or where that is a number, its kind before it."""
    if path.rpartition(".")[2].isdigit():
        return f"{type(module).__name__.lower()}_{path}"
    return path


def _numbers(module: Any, path: str = "") -> dict[str, Any]:
    """Its weights by name, if they are float32 on the host."""
    state: dict[str, Any] = dict(module.state_dict())
    for key, weight in state.items():
        full = f"{path}.{key}" if path else key
        check_plain(weight, full)
        if weight.dtype != torch.float32:
            raise UnsupportedTypeError(
                f"{full} is {weight.dtype}, and layers compute in float32: take module.float()"
            )
    return state


def _unsupported(module: Any, name: str, why: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(f"module {name!r} ({type(module).__name__}) {why}")


_CONVERTERS: dict[type[torch.nn.Module], Callable[[Any, str], Iterator[Step]]] = {
    torch.nn.Dropout: _dropout,
    torch.nn.Embedding: _embedding,
    torch.nn.GELU: _activation("gelu", approximate="none"),
    torch.nn.Identity: _identity,
    torch.nn.Linear: _linear,
    torch.nn.ReLU: _activation("relu"),
    torch.nn.Sigmoid: _activation("sigmoid"),
    torch.nn.Softmax: _activation("softmax", dim=-1),
    torch.nn.Tanh: _activation("tanh"),
    nn.Embedding: _embedding,
    **dict.fromkeys(RECURRENT, _recurrent),
}
