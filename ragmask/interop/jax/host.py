"""numpy's functions in jax's programs: called on the host, while the program runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.errors import UnsupportedTypeError


def on_host(
    function: Callable[..., Any], options: tuple[Any, ...], results: Any, *arguments: Any
) -> Any:
    """`function(*options, *arguments)`, of numpy arrays and with numpy arrays as its results.

    arguments are trees of jax's arrays; results is a tree of shapes and dtypes, which the arrays
    that it gives back lie in.
    """
    leaves, tree = jax.tree.flatten(arguments)
    shapes, result_tree = jax.tree.flatten(results)
    call = _Call(function, options, tree, tuple(np.dtype(leaf.dtype) for leaf in leaves))
    return jax.tree.unflatten(result_tree, _called(call, shapes, leaves))


@dataclass(frozen=True)
class _Call:
    """What jax calls. Equal to another that does the same: jax compiles once for both."""

    function: Callable[..., Any]
    options: tuple[Any, ...]
    tree: Any
    dtypes: tuple[np.dtype[Any], ...]

    def __call__(self, *leaves: Any) -> list[Array]:
        arrays = map(_from_words, map(np.asarray, leaves), self.dtypes)
        results = self.function(*self.options, *jax.tree.unflatten(self.tree, arrays))
        return [_to_words(array) for array in jax.tree.leaves(results)]


# float64 and int64 pass as pairs of uint32. jax may call on a thread of its own, where the context
# jax.enable_x64() does not hold, and would make 32 bits of their 64 there.


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _called(call: _Call, shapes: list[Any], leaves: list[Any]) -> list[Any]:
    words = [
        jax.lax.bitcast_convert_type(leaf, np.uint32) if _is_wide(leaf.dtype) else leaf
        for leaf in leaves
    ]
    wanted = [
        jax.ShapeDtypeStruct((*like.shape, 2), np.uint32)
        if _is_wide(like.dtype)
        else jax.ShapeDtypeStruct(like.shape, like.dtype)
        for like in shapes
    ]
    results = jax.pure_callback(call, wanted, *words, vmap_method="sequential")
    return [
        jax.lax.bitcast_convert_type(result, like.dtype) if _is_wide(like.dtype) else result
        for result, like in zip(results, shapes, strict=True)
    ]


@_called.defjvp
def _refused(call: _Call, shapes: list[Any], primals: Any, tangents: Any) -> Any:
    raise UnsupportedTypeError(
        "ragmask.interop.jax has first derivatives alone, taken backwards (jax.grad, vjp, jacrev): "
        "these cannot be differentiated again"
    )


def _is_wide(dtype: Any) -> bool:
    return np.dtype(dtype).itemsize == 8


def _from_words(array: Array, dtype: np.dtype[Any]) -> Array:
    return array.view(dtype)[..., 0] if _is_wide(dtype) else array


def _to_words(array: Array) -> Array:
    return array[..., None].view(np.uint32) if _is_wide(array.dtype) else array
