"""An LSTM that decides one choice after another: the policy of searches by reinforcement learning.

The softmax heads and embeddings of all kinds of decision are the rows of one matrix each, and a step sees the rows of
the options that it may take. So a step has its own head, options that are not possible have no probability (instead of
being drawn and then corrected, which would make log-probabilities wrong), and any space can be decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nasforge.space import Architecture, SearchSpace

Heads = Literal["kind", "choice"]
HEADS: Final = ("kind", "choice")
Floats = npt.NDArray[Any]


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One decision between several options.

    Attributes:
        taken: row of the option that was taken.
        possible: rows of all options that could be.
    """

    taken: int
    possible: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Encoded:
    """The steps of n architectures, filled up to the longest.

    Attributes:
        taken: (n, steps), row of the option taken.
        possible: (n, steps, rows), whether the option of a row could be taken.
        there: (n, steps), 1 for steps and 0 for filling.
    """

    taken: torch.Tensor
    possible: torch.Tensor
    there: torch.Tensor


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """A controller's weights at one time, laid out for drawing step by step, several times as fast as by torch.

    Attributes:
        space: to decide.
        starts: first row of each choice.
        inputs: (1 + rows, 4 units), what the gates see of the beginning and of each option taken before.
        recurrent: (4 units, units), gates in torch's order: in, forget, cell, out.
        head: (rows, units).
        bias: (rows,).
    """

    space: SearchSpace
    starts: tuple[int, ...]
    inputs: Floats
    recurrent: Floats
    head: Floats
    bias: Floats

    def draw(self, rng: np.random.Generator) -> tuple[Architecture, float]:
        """Draw an architecture; return it with its log-probability."""
        return self._decide(lambda choice, options, logs: _place(np.exp(logs), float(rng.random())))

    def log_probability(self, architecture: Architecture) -> float:
        """Return the log-probability of an architecture."""
        return self._decide(lambda choice, options, logs: options.index(architecture.decisions[choice]))[1]

    def _decide(self, place_of: Callable[[int, tuple[int, ...], Floats], int]) -> tuple[Architecture, float]:
        """Take one step after another: `place_of(choice, options, log-probabilities)` is the place of the option."""
        total, x = 0.0, self.inputs[0]
        hidden = cell = np.zeros(self.head.shape[1], dtype=np.float32)

        def pick(choice: int, options: tuple[int, ...]) -> int:
            nonlocal total, x, hidden, cell
            if len(options) < 2:
                return options[0]
            hidden, cell = self._next(x, hidden, cell)
            logs = self._logs(self.starts[choice], options, hidden)
            place = place_of(choice, options, logs)
            total, x = total + float(logs[place]), self.inputs[1 + self.starts[choice] + options[place]]
            return options[place]

        return self.space.decide(pick), total

    def _next(self, x: Floats, hidden: Floats, cell: Floats) -> tuple[Floats, Floats]:
        gates = x + self.recurrent @ hidden
        units = len(hidden)
        opened = 1.0 / (1.0 + np.exp(-gates))
        kept = opened[units : 2 * units] * cell + opened[:units] * np.tanh(gates[2 * units : 3 * units])
        return opened[3 * units :] * np.tanh(kept), kept

    def _logs(self, start: int, options: tuple[int, ...], hidden: Floats) -> Floats:
        """Return the log-probabilities of the options."""
        first, last = start + options[0], start + options[-1] + 1
        logits = self.head[first:last] @ hidden + self.bias[first:last]
        if len(logits) > len(options):  # some are forbidden
            logits = logits[np.asarray(options) - options[0]]
        logits = logits - logits.max()
        logs: Floats = logits - np.log(np.exp(logits).sum())
        return logs


def _place(chances: Floats, drawn: float) -> int:
    """Return the place in which a number from [0, 1) falls, places being as wide as their chances."""
    ends = np.cumsum(chances)
    return min(int(np.searchsorted(ends, drawn * ends[-1], "right")), len(ends) - 1)


@final
class Controller(nn.Module):
    """One LSTM layer with as many units as its embeddings have; all weights start from U(-span, span).

    A choice that is inactive, or that restriction or an earlier choice leaves one option, is no step: it has no
    log-probability and no entropy.

    Args:
        space: to decide.
        units: of the layer and of the embeddings.
        span: of the initial weights; small ones make the first architectures follow the law `choices`.
        heads: `kind`, a head and embeddings for each kind of decision and number of options, or `choice`, for each
            choice.
        rng: of the initial weights.
    """

    def __init__(self, space: SearchSpace, units: int, span: float, heads: Heads, rng: np.random.Generator) -> None:
        """Draw the weights from `rng`; torch's global generator is left alone."""
        super().__init__()
        self.space = space
        self._starts, rows = _rows(space, heads)
        self.lstm = nn.LSTM(units, units, device="meta").to_empty(device="cpu")  # draws nothing
        self.begin = nn.Parameter(torch.empty(1, units))
        self.embedding = nn.Parameter(torch.empty(rows, units))
        self.head = nn.Parameter(torch.empty(rows, units))
        self.bias = nn.Parameter(torch.empty(rows))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(rng.uniform(-span, span, tuple(parameter.shape))))

    def policy(self) -> Policy:
        """Return what draws architectures with the weights as they are now."""
        with torch.no_grad():
            weights, recurrent, *biases = self.lstm.all_weights[0]
            inputs = torch.cat([self.begin, self.embedding]) @ weights.T + biases[0] + biases[1]
            arrays = [each.detach().numpy().copy() for each in (inputs, recurrent, self.head, self.bias)]
        return Policy(self.space, tuple(self._starts), *arrays)

    def steps(self, architecture: Architecture) -> list[Step]:
        """Return the steps that decide an architecture."""
        found: list[Step] = []

        def pick(choice: int, options: tuple[int, ...]) -> int:
            option, start = architecture.decisions[choice], self._starts[choice]
            if len(options) > 1:
                found.append(Step(start + option, tuple(start + each for each in options)))
            return option

        self.space.decide(pick)
        return found

    def encode(self, architectures: Sequence[Architecture]) -> Encoded:
        """Lay the steps of architectures out for `forward`."""
        batch = [self.steps(each) for each in architectures]
        length = max(1, *map(len, batch))
        taken = torch.zeros(len(batch), length, dtype=torch.long)
        possible = torch.zeros(len(batch), length, len(self.bias), dtype=torch.bool)
        there = torch.zeros(len(batch), length)
        for i, steps in enumerate(batch):
            there[i, : len(steps)] = 1.0
            taken[i, : len(steps)] = torch.tensor([step.taken for step in steps])
            for place, step in enumerate(steps):
                possible[i, place, list(step.possible)] = True
        possible[..., 0] |= there == 0  # places behind the last step, which count for nothing
        return Encoded(taken, possible, there)

    def forward(self, batch: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each architecture, (n,), and its mean entropy over steps, (n,), in nats."""
        begin = self.begin.expand(len(batch.taken), 1, -1)
        hidden, _ = self.lstm(torch.cat([begin, self.embedding[batch.taken[:, :-1]]], 1).transpose(0, 1))
        logits = nn.functional.linear(hidden.transpose(0, 1), self.head, self.bias)
        logs = torch.log_softmax(logits.masked_fill(~batch.possible, float("-inf")), -1)
        own = logs.gather(-1, batch.taken[..., None])[..., 0]
        finite = logs.masked_fill(~batch.possible, 0.0)
        entropies = -(finite.exp() * finite).sum(-1)
        there = batch.there
        return (own * there).sum(1), (entropies * there).sum(1) / there.sum(1).clamp(min=1)


def _rows(space: SearchSpace, heads: Heads) -> tuple[list[int], int]:
    """Return the first row of each choice, and the number of rows."""
    known: dict[tuple[object, ...], int] = {}
    starts, rows = [], 0
    for read in space.choices:
        key = (read.kind, len(read.options)) if heads == "kind" else (read.name,)
        if key not in known:
            known[key] = rows
            rows += len(read.options)
        starts.append(known[key])
    return starts, rows
