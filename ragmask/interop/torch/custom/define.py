"""How an op is defined: what is checked whenever it runs or is traced, and what it cannot do."""

import re
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ragmask.errors import DeviceError

Function = TypeVar("Function", bound=Callable[..., Any])


def define(name: str, schema: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """The custom op ragmask::name, of a function of tensors.

    schema : what it takes and gives in torch's words, where the function's types do not say it.
    """

    def of(function: Callable[..., Any]) -> Any:
        names = names_of(function, schema)

        @wraps(function)
        def checked(*arguments: Any) -> Any:
            check_devices(name, names, arguments)
            if forward_ad._current_level >= 0:  # tangents would be lost without a word
                raise NotImplementedError(
                    f"ragmask::{name} has no forward-mode derivative, and one is being taken "
                    "(jvp, jacfwd, dual_level): use backward(), or torch.autograd.grad"
                )
            return function(*arguments)

        return torch.library.custom_op(f"ragmask::{name}", checked, mutates_args=(), schema=schema)

    return of


def fake(op: Any, schema: str | None = None) -> Callable[[Function], Function]:
    """What torch asks where it traces an op: only shapes and dtypes."""

    def register(function: Function) -> Function:
        names = names_of(function, schema)

        @wraps(function)
        def checked(*arguments: Any) -> Any:
            check_devices(op._name, names, arguments)
            return function(*arguments)

        op.register_fake(checked)
        return function

    return register


def no_second(op: Any) -> None:
    """What a gradient's own gradient says."""

    def raises(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError(
            f"{op._qualname} has no gradient: second derivatives through ragmask's ops are not "
            "there; take create_graph=False, or detach what came through them"
        )

    op.register_autograd(raises)


def names_of(function: Callable[..., Any], schema: str | None) -> tuple[str, ...]:
    """Of an op's arguments."""
    if schema is None:
        return tuple(signature(function).parameters)
    return tuple(re.findall(r"(\w+)[,)]", schema.partition("->")[0]))


def check_devices(op: str, names: tuple[str, ...], arguments: tuple[Any, ...]) -> None:
    first: Any = arguments[0]
    for name, tensor in zip(names, arguments, strict=True):
        if isinstance(tensor, Tensor) and tensor.device != first.device:
            raise DeviceError(
                f"{op}: {name} lives on {tensor.device}, and {names[0]} on {first.device}: move "
                "one, with .to()"
            )
