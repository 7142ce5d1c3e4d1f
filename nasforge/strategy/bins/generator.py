"""ShiftNAS's architecture generator: an LSTM that turns a target cost into an architecture, one decision at a time.

Decisions are drawn by Gumbel-softmax with the straight-through gradient (one-hot forward, soft backward), so both the
cost and, through the masks of weight-entangled choices, the task's loss can teach it (Zhang et al. 2023, section 3.3).
Options that restriction or an earlier choice forbids have no probability; inactive choices are fixed at their first
option, which gets no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.hardware.cost import Cost
from nasforge.space import AdditiveCost, Architecture, SearchSpace
from nasforge.space.table import Table

SPAN: Final = 0.1


@final
@dataclass(frozen=True, slots=True)
class Drawn:
    """What was generated for a batch of targets.

    Attributes:
        architectures: one for each target.
        shares: for every choice with more than one option, by index, one-hot rows (batch, options) with a soft
            gradient.
        entropy: mean over rows and asked choices, relative to that of equally likely options, 0..1, a scalar.
        rest: the first option left to each choice, which stands where there is no share.
    """

    architectures: tuple[Architecture, ...]
    shares: dict[int, Tensor]
    entropy: Tensor
    rest: tuple[int, ...]

    def named(self, space: SearchSpace, row: int) -> dict[str, Tensor]:
        """Return the shares of one architecture by the names of choices, (options,) each, as `run_masked` takes."""
        return {str(space.choices[choice].name): share[row] for choice, share in self.shares.items()}


@final
class ArchitectureGenerator(nn.Module):
    """One LSTM cell over the open choices of a space, a linear head and an embedding for each option.

    Args:
        space: to decide.
        units: of the cell and of the embeddings (64 in the paper).
        rng: of the initial weights; torch's global generator is left alone.
    """

    updates: Tensor

    def __init__(self, space: SearchSpace, units: int, rng: np.random.Generator) -> None:
        """Draw the weights from `rng`."""
        super().__init__()
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.space, self.units = space, units
        self._own: dict[int, slice] = {}
        rows = 0
        for choice in space.analysis.order:
            if len(space.allowed[choice]) > 1:
                self._own[choice] = slice(rows, rows := rows + space.sizes[choice])
        self._bound = {
            choice
            for choice in self._own
            if space.choices[choice].relation is not None or len(space.allowed[choice]) < space.sizes[choice]
        }
        self._fixed = np.asarray([options[0] for options in space.allowed])
        self.cell = nn.LSTMCell(units + 1, units, device="meta").to_empty(device="cpu")  # draws nothing
        self.begin = nn.Parameter(torch.empty(1, units))
        self.embedding = nn.Parameter(torch.empty(rows, units))
        self.head = nn.Parameter(torch.empty(rows, units))
        self.bias = nn.Parameter(torch.empty(rows))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(rng.uniform(-SPAN, SPAN, tuple(parameter.shape))))

    def forward(self, targets: Tensor, rng: np.random.Generator, temperature: float = 1.0, noise: float = 1.0) -> Drawn:
        """Draw an architecture for each target.

        Args:
            targets: normalised to 0 (least cost) .. 1 (greatest), (batch,); a gradient may flow to it.
            rng: of the Gumbel noise.
            temperature: of the soft gradient.
            noise: factor of the noise; 0 takes the likeliest option of every choice.
        """
        batch = len(targets)
        hidden = cell = targets.new_zeros(batch, self.units)
        previous, aim = self.begin.expand(batch, -1), (4.0 * targets - 2.0)[:, None]
        uniform = rng.uniform(1e-12, 1.0, (batch, len(self.bias)))
        gumbel = torch.from_numpy(-noise * np.log(-np.log(uniform))).to(self.bias)
        rows = np.tile(self._fixed, (batch, 1))
        shares: dict[int, Tensor] = {}
        entropies: list[Tensor] = []
        for choice, own in self._own.items():
            hidden, cell = self.cell(torch.cat([previous, aim], 1), (hidden, cell))
            logits = functional.linear(hidden, self.head[own], self.bias[own])
            if choice in self._bound:
                logits = logits.masked_fill(
                    torch.from_numpy(~self._possible(choice, rows)).to(logits.device), -math.inf
                )
            share = straight_through(logits + gumbel[:, own], temperature)
            active = self._active(choice, rows)
            if not active.all():
                share = torch.where(torch.from_numpy(active).to(share.device)[:, None], share, _first(share))
            rows[:, choice] = np.where(active, share.detach().argmax(1).cpu().numpy(), -1)
            entropies.append(_entropies(logits)[torch.from_numpy(active).to(logits.device)])
            previous, shares[choice] = share @ self.embedding[own], share
        entropy = torch.cat(entropies).mean()
        return Drawn(tuple(self._architecture(row) for row in rows), shares, entropy, tuple(self._fixed.tolist()))

    def count_update(self, every: int) -> bool:
        """Count an update of the generator; return whether it is the first, or another `every` after it (0: never).

        Counted are updates, in the state that checkpoints keep, and not steps: a generator that learns in some steps
        only would meet every n-th step by luck.
        """
        due = every > 0 and int(self.updates) % every == 0
        self.updates.add_(1)
        return due

    def _possible(self, choice: int, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Return which options restriction and the earlier choice leave each row, (batch, options)."""
        space, read = self.space, self.space.choices[choice]
        possible = np.zeros((len(rows), space.sizes[choice]), dtype=bool)
        possible[:, list(space.allowed[choice])] = True
        if read.relation is not None:
            earlier = rows[:, space.choices.index(read.relation.previous)]
            related = np.asarray(read.relation.allowed, dtype=bool)[np.maximum(earlier, 0)]
            possible &= related | (earlier < 0)[:, None]
        return possible

    def _active(self, choice: int, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Return in which rows the choice is asked, (batch,)."""
        table = self.space.analysis.active[choice]
        where = tuple(np.maximum(rows[:, axis], 0) for axis in table.axes)
        return np.array(np.broadcast_to(np.asarray(table.values, dtype=bool)[where], (len(rows),)))

    def _architecture(self, row: npt.NDArray[np.intp]) -> Architecture:
        """Return the architecture of a row; choices of one option are closed where they are not asked."""
        return self.space.repair(row.tolist(), np.random.default_rng(0))


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """Return one-hot rows of the greatest logits with the gradient of the softmax at a temperature."""
    soft = torch.softmax(logits / temperature, 1)
    hard = functional.one_hot(logits.detach().argmax(1), logits.shape[1]).to(soft)
    return hard - soft.detach() + soft


def prefix_masks(share: Tensor) -> Tensor:
    """Return share @ M, M the lower-triangular matrix of ones: option j keeps the units 0..j (section 3.3).

    The matrix mapping of weight-entangled choices for one unit of width per option; a supernet's masked pass applies
    the same rule channel by channel.

    >>> prefix_masks(torch.eye(3)).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return share @ torch.tril(torch.ones(share.shape[1], share.shape[1], dtype=share.dtype, device=share.device))


def _entropies(logits: Tensor) -> Tensor:
    """Return the entropy of each row of logits over the largest there can be, (batch,); forbidden options count not."""
    logs = torch.log_softmax(logits, 1).clamp(min=-60.0)
    found: Tensor = -(logs.exp() * logs).sum(1) / math.log(logits.shape[1])
    return found


def _first(share: Tensor) -> Tensor:
    found = torch.zeros_like(share)
    found[:, 0] = 1.0
    return found


def additive_fit(space: SearchSpace, cost: Cost, rows: npt.NDArray[np.int16]) -> AdditiveCost:
    """Return the paper's cost model: one number for each option of each choice, fitted to architectures by ridge.

    Args:
        space: of the choices.
        cost: to approximate.
        rows: decisions to fit, (n, choices).
    """
    columns = [np.eye(size)[column] for column, size in zip(np.maximum(rows, 0).T, space.sizes, strict=True)]
    design = np.concatenate(columns, axis=1)
    costs = cost.batch(rows)
    mean, centre = float(costs.mean()), design.mean(axis=0)
    centred = design - centre
    gram = centred.T @ centred + 1e-6 * len(rows) * np.eye(design.shape[1])
    found = np.linalg.solve(gram, centred.T @ (costs - mean))
    ends = np.cumsum([0, *space.sizes]).tolist()
    tables = tuple(Table((i,), found[ends[i] : ends[i + 1]]) for i in range(len(space.sizes)))
    return AdditiveCost(cost.metric, mean - float(centre @ found), tables)


def decoded(
    net: ArchitectureGenerator, aims: Sequence[float], rng: np.random.Generator, noise: float = 1.0
) -> list[Architecture]:
    """Return an architecture for each normalised target, without a graph."""
    with torch.no_grad():
        targets = torch.tensor(aims, dtype=net.bias.dtype, device=net.bias.device)
        return list(net(targets, rng, noise=noise).architectures)
