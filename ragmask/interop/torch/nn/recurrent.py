"""Recurrent layers: LSTM, GRU and RNN."""

import math
from typing import Any

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import functional
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor
from ragmask.kernels.cells import GRU as GRU_CELL
from ragmask.kernels.cells import LSTM as LSTM_CELL
from ragmask.kernels.cells import RNN as RNN_CELL
from ragmask.kernels.cells import Cell
from ragmask.rows.checks import check_count


class _Recurrent(torch.nn.Module):
    """What LSTM, GRU and RNN have in common."""

    cell: Cell
    order: tuple[int, ...]  # the place of each of ragmask's gates among torch's

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if proj_size:
            raise UnsupportedTypeError(
                f"{name} has no projection: proj_size must be 0; got {proj_size}. Put a Linear "
                "behind it"
            )
        if batch_first:
            raise UnsupportedTypeError(
                f"{name} takes a RaggedTensor, in which steps lie row after row: leave batch_first "
                "out"
            )
        if not 0 <= dropout <= 1:
            raise InvalidInputError(f"dropout is a share, 0 to 1; got {dropout}")
        self.input_size = check_count("input_size", input_size)
        self.hidden_size = check_count("hidden_size", hidden_size, 1)
        self.num_layers = check_count("num_layers", num_layers, 1)
        self.bias, self.dropout, self.bidirectional = (
            bool(bias),
            float(dropout),
            bool(bidirectional),
        )
        columns, directions = self.cell.gates * hidden_size, 1 + self.bidirectional
        for layer in range(num_layers):
            features = input_size if layer == 0 else directions * hidden_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (columns, features),
                "weight_hh": (columns, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (columns,), "bias_hh": (columns,)}
            for direction in range(directions):
                for what, shape in shapes.items():
                    weight = torch.empty(shape, device=device, dtype=dtype)
                    full = f"{what}_l{layer}{'_reverse' * direction}"
                    self.register_parameter(full, torch.nn.Parameter(weight))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As torch draws them: uniform, within 1 / √hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            torch.nn.init.uniform_(weight, -bound, bound)

    def _run(
        self, x: RaggedTensor, states: tuple[Tensor, ...] | None
    ) -> tuple[RaggedTensor, tuple[Tensor, ...]]:
        """The last layer's outputs, and the last states of all layers and directions."""
        check_ragged_tensor(x)
        if tuple(x.item_shape) != (self.input_size,):
            raise InvalidInputError(
                f"x has steps of shape {tuple(x.item_shape)}; input_size is {self.input_size}"
            )
        directions = 1 + self.bidirectional
        if states is not None:
            self._check_states(states, (self.num_layers * directions, len(x), self.hidden_size))
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = x.with_values(torch.nn.functional.dropout(x.values, self.dropout))
            outputs = []
            for direction in range(directions):
                at = layer * directions + direction
                initial = None if states is None else tuple(state[at] for state in states)
                weights = self._weights(layer, direction)
                backwards = direction == 1
                steps, of_layer = functional.recur(self.cell, x, *weights, initial, backwards)
                outputs.append(steps)
                last.append(of_layer)
            x = outputs[0]
            if directions == 2:
                x = x.with_values(torch.cat([one.values for one in outputs], -1))
        return x, tuple(torch.stack(list(state)) for state in zip(*last, strict=True))

    def _weights(self, layer: int, direction: int) -> tuple[Tensor, Tensor, Tensor]:
        """One layer's, one direction's, in ragmask's shapes and order of gates."""
        suffix = f"_l{layer}{'_reverse' * direction}"
        kernel, recurrent = (self._ordered(f"weight_{of}{suffix}").t() for of in ("ih", "hh"))
        columns = kernel.shape[1]
        if not self.bias:
            shape = (2, columns) if self.cell.apart else (columns,)
            return kernel, recurrent, kernel.new_zeros(shape)
        biases = [self._ordered(f"bias_{of}{suffix}") for of in ("ih", "hh")]
        bias = torch.stack(biases) if self.cell.apart else biases[0] + biases[1]
        return kernel, recurrent, bias

    def _ordered(self, name: str) -> Tensor:
        """A parameter in the dtype that is computed in, and with ragmask's order of gates."""
        weight = functional.computed(getattr(self, name))[0]
        if self.order == tuple(range(self.cell.gates)):
            return weight
        gates = weight.chunk(self.cell.gates)
        return torch.cat([gates[gate] for gate in self.order])

    def _check_states(self, states: tuple[Tensor, ...], shape: tuple[int, ...]) -> None:
        for state in states:
            given = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            if given != shape:
                raise InvalidInputError(
                    "hx must have the shape (layers · directions, rows, hidden_size), "
                    f"{shape}; got {given}"
                )

    def extra_repr(self) -> str:
        options = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        words = [f"{name}={now}" for name, (now, usual) in options.items() if now != usual]
        return ", ".join([str(self.input_size), str(self.hidden_size), *words])


class LSTM(_Recurrent):
    """torch.nn.LSTM on ragged rows: no padding, no packing, no sorting; rows may be empty.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> lstm = rt.nn.LSTM(12, 8, num_layers=2, bidirectional=True)
    >>> _ = lstm.load_state_dict(torch.nn.LSTM(12, 8, 2, bidirectional=True).state_dict())
    >>> outputs, (h, c) = lstm(rt.RaggedTensor(torch.ones(5, 12), torch.tensor([0, 3, 3, 5])))
    >>> outputs.item_shape, h.shape
    (torch.Size([16]), torch.Size([4, 3, 8]))

    input_size, hidden_size, num_layers, bias, dropout, bidirectional : torch's, and so are the
        names, shapes and first values of its parameters. dropout is of all layers' outputs but the
        last's, while training. batch_first and proj_size are refused.

    `lstm(x, (h0, c0)) -> (outputs, (h, c))`: x and outputs RaggedTensors of the same rows; the
    states (layers · directions, rows, hidden_size). A masked step leaves the states alone, and its
    output repeats the one before it.
    """

    cell = LSTM_CELL
    order = (0, 1, 2, 3)

    def forward(
        self, x: RaggedTensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[RaggedTensor, tuple[Tensor, Tensor]]:
        if hx is not None and (not isinstance(hx, tuple | list) or len(hx) != 2):
            raise InvalidInputError(f"hx is a pair (h, c); got {type(hx).__name__}")
        outputs, (h, c) = self._run(x, None if hx is None else tuple(hx))
        return outputs, (h, c)


class GRU(_Recurrent):
    """torch.nn.GRU on ragged rows: no padding, no packing, no sorting; rows may be empty.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> gru = rt.nn.GRU(12, 8)
    >>> outputs, h = gru(rt.RaggedTensor(torch.ones(5, 12), torch.tensor([0, 3, 3, 5])))
    >>> h.shape
    torch.Size([1, 3, 8])

    Arguments and parameters are torch's, as for `LSTM`. `gru(x, h0) -> (outputs, h)`.
    """

    cell = GRU_CELL
    order = (1, 0, 2)  # torch has r first

    def forward(self, x: RaggedTensor, hx: Tensor | None = None) -> tuple[RaggedTensor, Tensor]:
        outputs, (h,) = self._run(x, None if hx is None else (hx,))
        return outputs, h


class RNN(_Recurrent):
    """torch.nn.RNN with tanh, on ragged rows: no padding, no packing, no sorting.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> rnn = rt.nn.RNN(12, 8)
    >>> outputs, h = rnn(rt.RaggedTensor(torch.ones(5, 12), torch.tensor([0, 3, 3, 5])))
    >>> outputs.item_shape
    torch.Size([8])

    Arguments and parameters are torch's, as for `LSTM`; a nonlinearity other than tanh is refused.
    `rnn(x, h0) -> (outputs, h)`.
    """

    cell = RNN_CELL
    order = (0,)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",  # torch's place for it
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity != "tanh":
            raise UnsupportedTypeError(
                f"RNN computes tanh: leave nonlinearity out; got {nonlinearity!r}"
            )
        options = bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__(input_size, hidden_size, num_layers, *options)

    def forward(self, x: RaggedTensor, hx: Tensor | None = None) -> tuple[RaggedTensor, Tensor]:
        outputs, (h,) = self._run(x, None if hx is None else (hx,))
        return outputs, h
