"""Quasi-recurrent layers: convolutions over time, and one gated sum as all that is recurrent.

Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks", 2016,
https://arxiv.org/abs/1611.01576.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["QRNN", "QRNNLayer", "forget_mult"]


def _scan(keep: Tensor, new: Tensor) -> Tensor:
    """Return h of h_t = keep_t h_(t-1) + new_t along dimension 1, from h_(-1) = 0.

    Neighbours are joined to one step each, the sequence of half the length is solved, and the steps
    between are filled in (Blelloch 1990): linear work in 2 log2(steps) operations on whole tensors.
    """
    steps = new.shape[1]
    if steps == 1:
        return new
    even = steps // 2 * 2
    left, right = slice(0, even, 2), slice(1, even, 2)
    second = keep[:, right]
    joined = torch.addcmul(new[:, right], second, new[:, left])
    odd = _scan(second * keep[:, left], joined)
    rest = slice(2, steps, 2)
    between = torch.addcmul(new[:, rest], keep[:, rest], odd[:, : (steps - 1) // 2])
    result = torch.empty_like(new)
    result[:, 0] = new[:, 0]
    result[:, right] = odd
    result[:, rest] = between
    return result


class _Recurrence(torch.autograd.Function):
    """`_scan` with its gradient, which is the same recurrence from the end."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor) -> Tensor:
        states = _scan(keep, new)
        ctx.save_for_backward(keep, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        keep, states = ctx.saved_tensors
        later = F.pad(keep[:, 1:], (0, 0, 0, 1)).flip(1)
        of_new = _Recurrence.apply(later, grads[0].flip(1)).flip(1)
        before = F.pad(states[:, :-1], (0, 0, 1, 0))
        return of_new * before, of_new


def forget_mult(
    x: Tensor,
    f: Tensor,
    first_h: Tensor | None = None,
    batch_first: bool = True,
    backward: bool = False,
) -> Tensor:
    """Return h of h_t = f_t x_t + (1 - f_t) h_(t-1).

    Args:
        x: New values of (batch, steps, features), or (steps, batch, features).
        f: How much of them is taken, 0 to 1, of the same shape.
        first_h: The state before the first step: (batch, features); zero by default.
        batch_first: Which of the shapes it is.
        backward: Whether to go from the last step to the first.
    """
    if not batch_first:
        turned = forget_mult(x.transpose(0, 1), f.transpose(0, 1), first_h, True, backward)
        return turned.transpose(0, 1)
    if backward:
        return forget_mult(x.flip(1), f.flip(1), first_h).flip(1)
    keep, new = 1 - f, f * x
    if first_h is not None:
        begun = torch.addcmul(new[:, 0], keep[:, 0], first_h)
        new = torch.cat([begun[:, None], new[:, 1:]], dim=1)
    states: Any = _Recurrence.apply(keep, new)
    return states


class QRNNLayer(nn.Module):
    """A quasi-recurrent layer in one direction.

    Args:
        input_size: Features of the input.
        hidden_size: Features of the state and the output; by default those of the input.
        save_prev_x: Whether a window of 2 sees the last step of the call before, until `reset`.
        zoneout: Probability that a feature keeps its state for a step, in training.
        window: Steps that the gates see: 1, or 2 (this one and the one before).
        output_gate: Whether a gate is on the output too.
        batch_first: Whether tensors are (batch, steps, features) or (steps, batch, features).
        backward: Whether to read from the last step to the first.
        weight_p: Dropout of the weights, anew at each call in training.

    Raises:
        ValueError: The window is neither 1 nor 2.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        save_prev_x: bool = False,
        zoneout: float = 0.0,
        window: int = 1,
        output_gate: bool = True,
        batch_first: bool = True,
        backward: bool = False,
        weight_p: float = 0.0,
    ) -> None:
        super().__init__()
        if window not in (1, 2):
            raise ValueError(f"a QRNN's window is 1 or 2 steps, not {window}")
        self.input_size, self.hidden_size = input_size, hidden_size or input_size
        self.save_prev_x, self.zoneout, self.window = save_prev_x, zoneout, window
        self.output_gate, self.batch_first, self.backward = output_gate, batch_first, backward
        self.weight_p = weight_p
        gates = 3 if output_gate else 2
        self.linear = nn.Linear(window * input_size, gates * self.hidden_size)
        self.prev_x: Tensor | None = None

    def reset(self) -> None:
        """Forget the last step of the call before."""
        self.prev_x = None

    def forward(self, inp: Tensor, hid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a sequence from a state, zero where none is given.

        Args:
            inp: (batch, steps, input_size), or (steps, batch, input_size).
            hid: (1, batch, hidden_size).

        Returns:
            The outputs of (batch, steps, hidden_size), or (steps, batch, hidden_size), and the
            state after the last step read, of (1, batch, hidden_size).
        """
        x = inp if self.batch_first else inp.transpose(0, 1)
        weight = F.dropout(self.linear.weight, self.weight_p, self.training)
        gates = F.linear(self._windows(x), weight, self.linear.bias)
        value, forget, *output = gates.chunk(3 if self.output_gate else 2, dim=-1)
        forget = forget.sigmoid()
        if self.zoneout:
            forget = forget * (
                torch.empty_like(forget).bernoulli_(1 - self.zoneout)
                if self.training
                else 1 - self.zoneout
            )
        first = None if hid is None else hid[0]
        states = forget_mult(value.tanh(), forget, first, backward=self.backward)
        found = states * output[0].sigmoid() if output else states
        last = states[:, 0 if self.backward else -1]
        return (found if self.batch_first else found.transpose(0, 1)), last[None]

    def _windows(self, x: Tensor) -> Tensor:
        """Join each step with its neighbour: the one before, or the one after when backward."""
        if self.window == 1:
            return x
        beside = x.new_zeros(x.shape[0], 1, x.shape[2])
        if self.save_prev_x:
            if self.prev_x is not None and self.prev_x.shape == beside.shape:
                beside = self.prev_x
            self.prev_x = (x[:, :1] if self.backward else x[:, -1:]).detach()
        parts = [x[:, 1:], beside] if self.backward else [beside, x[:, :-1]]
        return torch.cat([x, torch.cat(parts, dim=1)], dim=-1)

    def extra_repr(self) -> str:
        """Show the window and the direction."""
        return f"window={self.window}, backward={self.backward}, weight_p={self.weight_p}"


class QRNN(nn.Module):
    """A stack of quasi-recurrent layers, used as `nn.GRU` is.

    Args:
        input_size: Features of the input.
        hidden_size: Features of each layer's state in a direction.
        n_layers: How many layers.
        batch_first: See `QRNNLayer`.
        dropout: Dropout between layers.
        bidirectional: Whether each layer reads both ways, its outputs joined.
        save_prev_x: See `QRNNLayer`; not with `bidirectional`.
        zoneout: See `QRNNLayer`.
        window: Of all layers; by default 2 for the first and 1 for the others.
        output_gate: See `QRNNLayer`.
        weight_p: See `QRNNLayer`.

    Raises:
        ValueError: `save_prev_x` with `bidirectional`: what comes after is not known.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        n_layers: int = 1,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        save_prev_x: bool = False,
        zoneout: float = 0.0,
        window: int | None = None,
        output_gate: bool = True,
        weight_p: float = 0.0,
    ) -> None:
        super().__init__()
        if save_prev_x and bidirectional:
            raise ValueError("a QRNN that reads both ways cannot have save_prev_x")
        self.n_dir, self.dropout, self.batch_first = 2 if bidirectional else 1, dropout, batch_first
        self.layers = nn.ModuleList(
            QRNNLayer(
                input_size if layer == 0 else hidden_size * self.n_dir,
                hidden_size,
                save_prev_x=save_prev_x,
                zoneout=zoneout,
                window=window or (2 if layer == 0 else 1),
                output_gate=output_gate,
                batch_first=batch_first,
                backward=direction == 1,
                weight_p=weight_p,
            )
            for layer in range(n_layers)
            for direction in range(self.n_dir)
        )

    def reset(self) -> None:
        """Forget the last steps of the call before."""
        for layer in self.layers:
            layer.reset()  # pyright: ignore[reportCallIssue]

    def forget(self, rows: Tensor) -> None:
        """Forget the last steps of some rows: True for those that begin anew, (batch,)."""
        for layer in self.layers:
            if isinstance(layer.prev_x, Tensor):
                layer.prev_x = layer.prev_x * (~rows)[:, None, None]

    def forward(self, inp: Tensor, hid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a sequence from a state, zero where none is given.

        Args:
            inp: (batch, steps, features), or (steps, batch, features).
            hid: (layers * directions, batch, hidden_size).

        Returns:
            Outputs of the last layer, directions joined, and the state after the sequence.
        """
        states = []
        for first in range(0, len(self.layers), self.n_dir):
            outputs = []
            for place in range(first, first + self.n_dir):
                before = None if hid is None else hid[place : place + 1]
                output, state = self.layers[place](inp, before)
                outputs.append(output)
                states.append(state)
            inp = torch.cat(outputs, dim=-1)
            if first + self.n_dir < len(self.layers):
                inp = F.dropout(inp, self.dropout, self.training)
        return inp, torch.cat(states)
