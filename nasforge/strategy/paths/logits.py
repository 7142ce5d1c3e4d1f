"""Logits over the options of every choice of operator: what differentiable and REINFORCE searches learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nasforge.space import Architecture, SearchSpace


@final
class PathLogits(nn.Module):
    """One vector of logits `alpha` for each choice of a space, drawn from N(0, 1e-3).

    Args:
        space: its choices are choices of operator that are always active, or have one option left (see
            `path_training.check_paths`).
        seed: of the initial values.

    Attributes:
        open: numbers of the choices that have more than one option left.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """Make the logits."""
        super().__init__()
        self.space = space
        self.open = tuple(number for number, options in enumerate(space.allowed) if len(options) > 1)
        rng = np.random.default_rng(seed)
        self.alphas = nn.ParameterList(
            nn.Parameter(torch.from_numpy(rng.normal(0.0, 1e-3, len(read.options))).float()) for read in space.choices
        )
        for i, read in enumerate(space.choices):
            taken_away = [option not in space.allowed[i] for option in range(len(read.options))]
            self.register_buffer(f"forbidden{i}", torch.tensor(taken_away), persistent=False)

    def logits(self, choice: int) -> torch.Tensor:
        """Return alpha of a choice, -infinity at options that restriction has taken away."""
        alpha: torch.Tensor = self.alphas[choice]
        return alpha.masked_fill(self.get_buffer(f"forbidden{choice}"), float("-inf"))

    def probabilities(self) -> list[npt.NDArray[np.float64]]:
        """Return softmax(alpha) of every choice."""
        with torch.no_grad():
            return [torch.softmax(self.logits(i).double(), 0).cpu().numpy() for i in range(len(self.alphas))]

    def log_probabilities(self) -> list[npt.NDArray[np.float64]]:
        """Return log softmax(alpha) of every choice."""
        with torch.no_grad():
            return [torch.log_softmax(self.logits(i).double(), 0).cpu().numpy() for i in range(len(self.alphas))]

    def draw(self, rng: np.random.Generator) -> Architecture:
        """Draw every choice from its distribution."""
        drawn = [int(rng.choice(len(p), p=p / p.sum())) for p in self.probabilities()]
        return self.space.repair(drawn, rng)

    def log_probability(self, decisions: Sequence[int]) -> torch.Tensor:
        """Return the differentiable log-probability of decisions."""
        terms = [torch.log_softmax(self.logits(i), 0)[option] for i, option in enumerate(decisions) if option >= 0]
        return torch.stack(terms).sum()

    def entropy(self) -> float:
        """Return the mean entropy over open choices, as a share of the largest possible."""
        shares = []
        for number, p in enumerate(self.probabilities()):
            if number not in self.open:
                continue
            kept = p[p > 0]
            shares.append(float(-(kept * np.log(kept)).sum() / np.log(max(len(p), 2))))
        return float(np.mean(shares)) if shares else 0.0


def zero_options(space: SearchSpace) -> list[frozenset[int]]:
    """Return for every choice the options that choose a zero operator."""
    found: list[set[int]] = [set() for _ in space.choices]
    for node in space.analysis.graph.nodes:
        if node.is_select and len(node.choices) == 1:
            for key, place in node.fields[0].table.items():
                if space.analysis.graph.nodes[node.inputs[place]].op.is_zero:
                    found[node.choices[0]].add(key[0])
    return [frozenset(options) for options in found]
