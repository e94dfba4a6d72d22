"""What the weights of all recurrent cells have in common."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.cuda_array import Library, move_to_device
from ragmask.arrays.host import read_only
from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.files import shown, whole_file
from ragmask.kernels.cells import Cell
from ragmask.kernels.packing import Packed, pack, pack_for_cuda, pack_for_ids
from ragmask.weights.files import read_arrays, safetensors
from ragmask.weights.onnx import check_attributes, joined, of_direction

_NAMES = ("kernel", "recurrent_kernel", "bias")


class RecurrentWeights:
    """kernel (features, gates · units), recurrent_kernel (units, gates · units) and bias.

    The bias is (gates · units,), or (2, gates · units) of a cell whose sums stay apart.
    """

    __slots__ = ("_arrays", "_home", "_on_device", "_packed")
    cell: ClassVar[Cell]
    _onnx_gates: ClassVar[tuple[int, ...]]  # where ONNX has each gate
    _activations: ClassVar[tuple[str, ...]]  # the only ones, as ONNX names them

    def __init__(self, kernel: Any, recurrent_kernel: Any, bias: Any) -> None:
        given = dict(zip(_NAMES, (kernel, recurrent_kernel, bias), strict=True))
        arrays = {name: to_numpy(array, name) for name, array in given.items()}
        self._check(arrays)
        widest = np.result_type(np.float32, *(array.dtype for array in arrays.values()))
        if widest not in (np.float32, np.float64):
            raise UnsupportedTypeError(f"weights of {widest} are not supported: use float64")
        self._arrays = {
            name: read_only(np.array(array, widest, order="C")) for name, array in arrays.items()
        }
        self._packed: dict[np.dtype[Any], Packed] = {}
        self._home: tuple[Library, int] | None = None
        self._on_device: dict[np.dtype[Any], list[Any]] = {}

    @classmethod
    def shapes(cls, features: int, units: int) -> tuple[tuple[int, ...], ...]:
        """Those of the kernel, the recurrent kernel and the bias."""
        columns = cls.cell.gates * units
        biases = () if cls.cell.biases == 1 else (cls.cell.biases,)
        return (features, columns), (units, columns), (*biases, columns)

    def _check(self, arrays: dict[str, Array]) -> None:
        gates, biases = self.cell.gates, self.cell.biases
        for name, array in arrays.items():
            if array.dtype.kind != "f":
                raise UnsupportedTypeError(f"{name} must hold floats; got {array.dtype}")
            if array.ndim != (biases if name == "bias" else 2):
                a_bias = ("one", "two")[biases - 1]
                raise InvalidInputError(
                    f"{name} has shape {array.shape}; kernels have two dimensions, a bias {a_bias}"
                )
        units, columns = arrays["recurrent_kernel"].shape
        if units == 0 or columns != gates * units:
            needed = "(units, units)" if gates == 1 else f"(units, {gates} · units)"
            raise InvalidInputError(
                f"recurrent_kernel has shape {(units, columns)}; {needed} is needed"
            )
        if arrays["kernel"].shape[1] != columns:
            raise InvalidInputError(
                f"kernel has shape {arrays['kernel'].shape}; "
                f"(features, {columns}) goes with {units} units"
            )
        *_, bias_shape = self.shapes(0, units)
        if arrays["bias"].shape != bias_shape:
            raise InvalidInputError(
                f"bias has shape {arrays['bias'].shape}; {bias_shape} goes with {units} units"
            )

    @property
    def kernel(self) -> Array:
        """(features, gates · units), read-only."""
        return self._arrays["kernel"]

    @property
    def recurrent_kernel(self) -> Array:
        """(units, gates · units), read-only."""
        return self._arrays["recurrent_kernel"]

    @property
    def bias(self) -> Array:
        """A number for each column of a kernel, read-only."""
        return self._arrays["bias"]

    @property
    def features(self) -> int:
        """The width of an input step."""
        return len(self.kernel)

    @property
    def units(self) -> int:
        """The width of an output step, and of each state."""
        return len(self.recurrent_kernel)

    @classmethod
    def from_keras(cls, arrays: Sequence[Any]) -> Self:
        """From a Keras layer's `get_weights()`: kernel, recurrent kernel, and bias if any."""
        arrays = list(arrays)
        if len(arrays) not in (2, 3):
            raise InvalidInputError(
                f"a Keras {cls.cell.name} has 2 or 3 arrays: kernel, recurrent kernel, bias; "
                f"got {len(arrays)}"
            )
        if len(arrays) == 2:
            recurrent = to_numpy(arrays[1], "recurrent_kernel")
            *_, bias_shape = cls.shapes(0, len(recurrent) if recurrent.ndim else 0)
            arrays.append(np.zeros(bias_shape, recurrent.dtype))
        return cls(*arrays)

    @classmethod
    def from_torch(
        cls, state_dict: Mapping[str, Any], layer: int = 0, reverse: bool = False
    ) -> Self:
        """From one layer and direction of torch's layer of that name, or of a model that has one.

        torch's matrices are transposed, and its two biases are one here where the cell adds them.
        Raises InvalidInputError where the layer is not there, or is there several times.
        """
        suffix = f"_l{layer}{'_reverse' if reverse else ''}"

        def find(name: str, needed: bool = True) -> Array | None:
            full = name + suffix
            keys = [key for key in state_dict if key == full or key.endswith("." + full)]
            if len(keys) > 1:
                raise InvalidInputError(f"several {cls.cell.name}s have {full}: {', '.join(keys)}")
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
        zeros = np.zeros(len(kernel), kernel.dtype)
        biases = [
            zeros if one is None else one
            for one in (find("bias_ih", False), find("bias_hh", False))
        ]
        bias = np.stack(biases) if cls.cell.apart else biases[0] + biases[1]
        return cls(kernel.T, recurrent_kernel.T, bias)

    @classmethod
    def from_onnx(
        cls,
        W: Any,
        R: Any,
        B: Any = None,
        *,
        direction: int = 0,
        activations: Sequence[str | bytes] | None = None,
        clip: float | None = None,
        layout: int = 0,
    ) -> Self:
        """From the inputs W, R and B of ONNX's operator of that name, and its attributes.

        W : (directions, gates · units, features).
        R : (directions, gates · units, units).
        B : (directions, 2 · gates · units), or None for zeros.
        direction : which one; 1 is the reverse one of a bidirectional operator. One that is
            reverse, alone or not, runs with `go_backwards=True`.
        layout : of X, and not of the weights: 0 and 1 are the same here.

        Raises InvalidInputError, naming the input, for shapes that disagree; UnsupportedTypeError
        for a clip and for activations that are not the operator's own.
        """
        arrays = of_direction(cls.cell, direction, W=W, R=R, B=B)
        check_attributes(cls._activations, direction, activations, clip, layout)
        return cls(*joined(cls.cell, cls._onnx_gates, arrays))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file of the three arrays (extra `models`), atomically."""
        content = safetensors().save(self._arrays)
        with whole_file(path) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. The file holds numbers alone: reading it runs no code."""
        arrays = read_arrays(Path(path))
        if set(arrays) != set(_NAMES):
            raise InvalidInputError(
                f"{shown(path)} must hold {', '.join(_NAMES)}; it has {', '.join(arrays)}"
            )
        return cls(**arrays)

    def packed(self, dtype: npt.DTypeLike) -> Packed:
        """Weights and biases in the CPU kernel's order, float32 or float64, made once for each."""
        dtype = np.dtype(dtype)
        if dtype not in self._packed:
            self._packed[dtype] = pack(self.cell, **self._arrays, dtype=dtype)
        return self._packed[dtype]

    def packed_for_ids(self, vectors: Array) -> Packed:
        """The recurrent kernel, and the input's part for each of these vectors; made anew."""
        return pack_for_ids(self.cell, **self._arrays, vectors=vectors)

    def packed_for_cuda(self, dtype: npt.DTypeLike) -> tuple[Array, Array, Array]:
        """Kernel, recurrent kernel and bias, the sums of a unit side by side; made anew."""
        return pack_for_cuda(self.cell, **self._arrays, dtype=dtype)

    def to_device(self, library: Library = "numba", device: int = 0) -> Self:
        """The same weights with a copy on a CUDA device, for batches that live there.

        library says who allocates, as for `Ragged.to_device`.
        """
        moved = type(self)(**self._arrays)
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
        return type(self), (self.kernel, self.recurrent_kernel, self.bias)

    def __repr__(self) -> str:
        where = "" if self.device == "cpu" else f", on {self.device}"
        what = f"{self.features} features, {self.units} units, {self.kernel.dtype}"
        return f"{type(self).__name__}({what}{where})"
