"""Four numbers at a time, and local arrays that stay in registers."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from ragmask.kernels.jit import cuda_device

_SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", 0))

# What `load_4` reads from shared memory is to be allocated with this alignment.
ALIGNED: Any = None if _SIMULATED else 16


def _load_4(typing_context: Any, array: Any, index: Any) -> Any:
    """The 4 numbers from `array[index]` on. Their address is a multiple of 16, or of their size."""
    four = types.UniTuple(array.dtype, 4)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, align = _address_of_4(context, builder, signature, args)
        numbers = builder.load(address, align=align)
        each = [builder.extract_element(numbers, ir.IntType(32)(place)) for place in range(4)]
        return context.make_tuple(builder, four, each)

    return four(array, types.intp), codegen


def _store_4(typing_context: Any, array: Any, index: Any, four: Any) -> Any:
    """Put 4 numbers at `array[index]`, whose address is a multiple of 16, or of their size."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, align = _address_of_4(context, builder, signature, args)
        numbers = ir.Constant(address.type.pointee, ir.Undefined)
        for place in range(4):
            number = builder.extract_value(args[2], place)
            numbers = builder.insert_element(numbers, number, ir.IntType(32)(place))
        builder.store(numbers, address, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.UniTuple(array.dtype, 4)), codegen


def _address_of_4(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.args[0]
    base = context.make_array(kind)(context, builder, args[0]).data
    place = builder.gep(base, [args[1]])
    four = ir.VectorType(place.type.pointee, 4).as_pointer()
    return builder.bitcast(place, four), min(16, 4 * kind.dtype.bitwidth // 8)


def _load_uncompiled(array: Any, index: Any) -> Any:
    return tuple(array[index : index + 4])


def _store_uncompiled(array: Any, index: Any, four: Any) -> None:
    array[index : index + 4] = four


load_4: Any = _load_uncompiled if _SIMULATED else intrinsic(_load_4)
store_4: Any = _store_uncompiled if _SIMULATED else intrinsic(_store_4)


def unrolled(count: int, body: Callable[..., None]) -> Any:
    """A device function that calls `body(0, ...)` to `body(count - 1, ...)`.

    A loop of as many turns as this the compiler may leave a loop, and a local array in it then
    lies in memory. The number of the turn is a constant here.
    """
    last = count - 1
    if last == 0:

        @cuda_device
        def only(*arguments: Any) -> None:
            body(0, *arguments)

        return only

    before = unrolled(last, body)

    @cuda_device
    def all_turns(*arguments: Any) -> None:
        before(*arguments)
        body(last, *arguments)

    return all_turns
