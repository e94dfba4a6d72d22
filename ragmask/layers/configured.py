"""What is made of arguments, and made again of them."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Self

from ragmask.layers.registry import from_serialized, serialized


class Configured:
    """A layer's arguments: as JSON has them, and as they are."""

    name: str
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again: those it was made with, and its name.

        Layers among them are {"class_name": …, "config": …}.
        """
        config: dict[str, Any] = serialized(_defaults_of(type(self).__init__) | self._config())
        return config

    def _config(self) -> dict[str, Any]:
        """The arguments themselves, but for defaults."""
        parameters = inspect.signature(type(self).__init__)
        args, options = self._arguments
        bound = parameters.bind(self, *args, **options).arguments
        config = dict(list(bound.items())[1:])
        for key, parameter in parameters.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                config.update(config.pop(key, {}))
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A layer as `get_config` of another one says; its weights are new.

        >>> import ragmask as rm
        >>> dense = rm.layers.Dense(2, activation="relu", name="last")
        >>> rm.layers.Dense.from_config(dense.get_config())
        Dense('last', units=2, activation='relu')
        """
        return cls(**{key: from_serialized(value) for key, value in config.items()})

    def __repr__(self) -> str:
        default = {**_defaults_of(type(self).__init__), "name": self.name}
        arguments = "".join(
            f", {key}={value!r}"
            for key, value in self._config().items()
            if key not in default or repr(value) != repr(default[key])
        )
        return f"{type(self).__name__}({self.name!r}{arguments})"


@cache
def _defaults_of(make: Callable[..., None]) -> dict[str, Any]:
    """The arguments of a class's `__init__` that have defaults."""
    parameters = inspect.signature(make).parameters
    return {key: one.default for key, one in parameters.items() if one.default is not one.empty}
