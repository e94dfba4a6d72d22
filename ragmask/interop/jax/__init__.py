"""ragmask's ops inside jax's programs: jax.grad and jax.jit work through them.

>>> import jax
>>> import jax.numpy as jnp
>>> from ragmask.interop.jax import temporal_softmax
>>> values, offsets = jnp.array([1.0, 1.0, 3.0, 0.0]), jnp.array([0, 2, 3])
>>> print(temporal_softmax(values, offsets))
[0.5 0.5 1.  0. ]
>>> print(jax.jit(jax.grad(lambda x: temporal_softmax(x, offsets)[0]))(values))
[ 0.25 -0.25  0.    0.  ]

A batch is `values` (n, *item), `offsets` integers (rows + 1,), which row i lies between two
neighbours of, and `mask` bool (n,) or None, True = keep. jax compiles for each shape anew, so let
shapes repeat: offsets may begin after the first step and end before the last. Such a step is in no
row, is never looked at, and gives 0; that is how values are filled up. Rows are filled up as empty
ones, by repeating the last offset.

Values are float16, bfloat16, float32 or float64, and results are of their dtype; the first two are
computed in float32. Results are those of ragmask's ops of the same names, to the bit. A masked step
gets and gives the gradient 0, and so does a step in no row.

jax.value_and_grad, jacrev and vmap work; vmap goes through its batches one after the other. Not
there: second derivatives and forward mode (jvp, jacfwd, hessian), which raise an error.

The ops run on the CPU, on ragmask's own threads, as jax.pure_callback. Arrays on a GPU are copied
to the host for it, and the results back: it is right there, and slow. Shapes and dtypes are
checked as a call is traced, and so are offsets whose numbers are known then. Others are checked
as they come: jax raises what is wrong with them, with the same words, as its own error of a
callback, jax.errors.JaxRuntimeError.

Needs the extra `jax`.
"""

from ragmask.errors import MissingExtraError

try:
    import jax  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.jax needs jax, which is not installed: pip install "ragmask[jax]"'
    ) from error

from ragmask.interop.jax.recurrent import gru, lstm
from ragmask.interop.jax.steps import temporal_pool, temporal_softmax

__all__ = ["gru", "lstm", "temporal_pool", "temporal_softmax"]
