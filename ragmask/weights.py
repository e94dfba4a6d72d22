"""The weights of an LSTM: checked, read from Keras, torch and safetensors, packed for kernels."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.cuda_array import Library, move_to_device
from ragmask.arrays.host import read_only
from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError, MissingExtraError, UnsupportedTypeError
from ragmask.files import cannot_read, shown, whole_file

_VECTOR_BYTES = 64  # of the kernel's panels, see kernels/cpu/tile.py


class LSTMWeights:
    """kernel (features, 4 · units), recurrent_kernel (units, 4 · units) and bias (4 · units,).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.LSTMWeights(np.zeros((64, 512)), np.zeros((128, 512)), np.zeros(512))
    LSTMWeights(64 features, 128 units, float64)

    The gates stand in the order i, f, g, o (input, forget, cell, output), each `units` columns
    wide: Keras's own shapes and order. Read other layouts with `from_keras` and `from_torch`.

    float32 or float64; float16 is held as float32. Raises InvalidInputError, naming the array,
    for shapes that disagree.
    """

    __slots__ = ("_arrays", "_home", "_on_device", "_packed")

    def __init__(self, kernel: Any, recurrent_kernel: Any, bias: Any) -> None:
        given = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
        arrays = {name: to_numpy(array, name) for name, array in given.items()}
        for name, array in arrays.items():
            if array.dtype.kind != "f":
                raise UnsupportedTypeError(f"{name} must hold floats; got {array.dtype}")
            if array.ndim != (1 if name == "bias" else 2):
                raise InvalidInputError(
                    f"{name} has shape {array.shape}; kernels have two dimensions, a bias one"
                )
        units, columns = arrays["recurrent_kernel"].shape
        if units == 0 or columns != 4 * units:
            raise InvalidInputError(
                f"recurrent_kernel has shape {(units, columns)}; (units, 4 · units) is needed"
            )
        if arrays["kernel"].shape[1] != columns:
            raise InvalidInputError(
                f"kernel has shape {arrays['kernel'].shape}; "
                f"(features, {columns}) goes with {units} units"
            )
        if arrays["bias"].shape != (columns,):
            raise InvalidInputError(
                f"bias has shape {arrays['bias'].shape}; ({columns},) goes with {units} units"
            )
        widest = np.result_type(np.float32, *(array.dtype for array in arrays.values()))
        if widest not in (np.float32, np.float64):
            raise UnsupportedTypeError(f"weights of {widest} are not supported: use float64")
        self._arrays = {
            name: read_only(np.array(array, widest, order="C")) for name, array in arrays.items()
        }
        self._packed: dict[np.dtype[Any], tuple[Array, Array]] = {}
        self._home: tuple[Library, int] | None = None
        self._on_device: dict[np.dtype[Any], list[Any]] = {}

    @property
    def kernel(self) -> Array:
        """(features, 4 · units), read-only."""
        return self._arrays["kernel"]

    @property
    def recurrent_kernel(self) -> Array:
        """(units, 4 · units), read-only."""
        return self._arrays["recurrent_kernel"]

    @property
    def bias(self) -> Array:
        """(4 · units,), read-only."""
        return self._arrays["bias"]

    @property
    def features(self) -> int:
        """The width of an input step."""
        return len(self.kernel)

    @property
    def units(self) -> int:
        """The width of an output step, and of both states."""
        return len(self.recurrent_kernel)

    @classmethod
    def from_keras(cls, arrays: Sequence[Any]) -> "LSTMWeights":
        """From `keras_lstm.get_weights()`: kernel, recurrent kernel, and bias if it has one."""
        arrays = list(arrays)
        if len(arrays) not in (2, 3):
            raise InvalidInputError(
                f"a Keras LSTM has 2 or 3 arrays: kernel, recurrent kernel, bias; got {len(arrays)}"
            )
        if len(arrays) == 2:
            recurrent = to_numpy(arrays[1], "recurrent_kernel")
            arrays.append(np.zeros(recurrent.shape[-1:], recurrent.dtype))
        return cls(*arrays)

    @classmethod
    def from_torch(
        cls, state_dict: Mapping[str, Any], layer: int = 0, reverse: bool = False
    ) -> "LSTMWeights":
        """From one layer and direction of an nn.LSTM's state dict, or of a model's that has one.

        torch's matrices are transposed, and its two biases, which are always added, are one here.
        Raises InvalidInputError where the layer is not there, or is there several times.
        """
        suffix = f"_l{layer}{'_reverse' if reverse else ''}"

        def find(name: str, needed: bool = True) -> Array | None:
            full = name + suffix
            keys = [key for key in state_dict if key == full or key.endswith("." + full)]
            if len(keys) > 1:
                raise InvalidInputError(f"several LSTMs have {full}: {', '.join(keys)}")
            if not keys and needed:
                raise InvalidInputError(
                    f"no {full} in the state dict; it has {', '.join(state_dict) or 'nothing'}"
                )
            return to_numpy(state_dict[keys[0]], keys[0]) if keys else None

        if find("weight_hr", needed=False) is not None:
            raise UnsupportedTypeError("an LSTM with a projection (proj_size) is not supported")
        kernel, recurrent_kernel = find("weight_ih"), find("weight_hh")
        assert kernel is not None
        assert recurrent_kernel is not None
        biases = [find(name, needed=False) for name in ("bias_ih", "bias_hh")]
        bias = sum((one for one in biases if one is not None), np.zeros(len(kernel), kernel.dtype))
        return cls(kernel.T, recurrent_kernel.T, bias)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file of the three arrays (extra `models`), whole or not at all."""
        content = safetensors().save(self._arrays)
        with whole_file(path) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LSTMWeights":
        """Read what `save` wrote. The file holds numbers alone: reading it runs no code."""
        arrays = read_arrays(Path(path))
        if set(arrays) != set(_NAMES):
            raise InvalidInputError(
                f"{shown(path)} must hold {', '.join(_NAMES)}; it has {', '.join(arrays)}"
            )
        return cls(**arrays)

    def packed(self, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Weights and bias in the kernel's order, float32 or float64, made once for each.

        For each block of `lanes` units (16 float32, 8 float64) the gates i, f, g, o, each a panel
        of (features + units, lanes). Units past the last are zeros.
        """
        dtype = np.dtype(dtype)
        if dtype not in self._packed:
            panels = _panels([self.kernel, self.recurrent_kernel, self.bias[None]], dtype)
            self._packed[dtype] = (
                read_only(np.ascontiguousarray(panels[:, :, :-1]).reshape(-1)),
                read_only(np.ascontiguousarray(panels[:, :, -1]).reshape(-1)),
            )
        return self._packed[dtype]

    def packed_for_ids(self, vectors: Array) -> tuple[Array, Array]:
        """The recurrent kernel, and the input's part for each of these vectors; made anew.

        In the kernel's order and the vectors' dtype: panels of (units, lanes), and for each vector,
        and one of zeros behind them, a row of `vector @ kernel + bias`.
        """
        panels = _panels([self.recurrent_kernel], vectors.dtype)
        inputs = _panels([self.kernel, self.bias[None]], vectors.dtype)
        inputs = np.moveaxis(inputs, 2, 0).reshape(self.features + 1, -1)
        steps = np.zeros((len(vectors) + 1, self.features + 1), vectors.dtype)
        steps[:-1, :-1], steps[:, -1] = vectors, 1  # the bias's factor
        table = np.matmul(steps, inputs)
        return read_only(np.ascontiguousarray(panels).reshape(-1)), read_only(table.reshape(-1))

    def packed_for_cuda(self, dtype: npt.DTypeLike) -> tuple[Array, Array, Array]:
        """Kernel, recurrent kernel and bias, the 4 gates of a unit side by side; made anew.

        (features, 4 · units), (units, 4 · units) and (4 · units,): column `4 · unit + gate`.
        """
        arrays = (self.kernel, self.recurrent_kernel, self.bias)
        by_unit = [np.swapaxes(one.reshape(-1, 4, self.units), 1, 2) for one in arrays]
        kernel, recurrent_kernel, bias = (
            np.array(moved, dtype, order="C").reshape(one.shape)
            for moved, one in zip(by_unit, arrays, strict=True)
        )
        return kernel, recurrent_kernel, bias

    def to_device(self, library: Library = "numba", device: int = 0) -> "LSTMWeights":
        """The same weights with a copy on a CUDA device, for batches that live there.

        library says who allocates, as for `Ragged.to_device`.
        """
        moved = LSTMWeights(self.kernel, self.recurrent_kernel, self.bias)
        moved._home = library, device
        moved.on_device(self.kernel.dtype)
        return moved

    @property
    def device(self) -> str:
        """Where batches must live that these weights are for: "cpu", or "cuda:0"."""
        return "cpu" if self._home is None else f"cuda:{self._home[1]}"

    def on_device(self, dtype: npt.DTypeLike) -> list[Any]:
        """What `packed_for_cuda` makes, there; once for each dtype."""
        assert self._home is not None
        dtype = np.dtype(dtype)
        if dtype not in self._on_device:
            self._on_device[dtype] = move_to_device(*self._home, *self.packed_for_cuda(dtype))
        return self._on_device[dtype]

    def __reduce__(self) -> Any:
        return LSTMWeights, (self.kernel, self.recurrent_kernel, self.bias)

    def __repr__(self) -> str:
        where = "" if self.device == "cpu" else f", on {self.device}"
        what = f"{self.features} features, {self.units} units, {self.kernel.dtype}"
        return f"LSTMWeights({what}{where})"


_NAMES = ("kernel", "recurrent_kernel", "bias")


def _panels(matrices: list[Array], dtype: np.dtype[Any]) -> Array:
    """Matrices below each other in the kernel's order: (blocks, 4, their rows, lanes)."""
    matrix = np.concatenate(matrices)
    depth, units = len(matrix), matrix.shape[1] // 4
    lanes = _VECTOR_BYTES // dtype.itemsize
    blocks = -(-units // lanes)
    gates = np.zeros((depth, 4, blocks * lanes), dtype)
    gates[:, :, :units] = matrix.reshape(depth, 4, units)
    return gates.reshape(depth, 4, blocks, lanes).transpose(2, 1, 0, 3)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file; by its bytes, since its name may be no text."""
    reader = safetensors()
    try:
        arrays: dict[str, Array] = reader.load(path.read_bytes())
    except OSError as error:
        raise cannot_read(path, error) from error
    except Exception as error:  # its own classes, and others for dtypes that numpy has not
        raise InvalidInputError(f"{shown(path)} holds no weights: {error}") from error
    return arrays


def safetensors() -> Any:
    """The module that reads and writes files of arrays."""
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise MissingExtraError(
            'reading and writing weights needs safetensors: pip install "ragmask[models]"'
        ) from error
