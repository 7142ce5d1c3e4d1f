"""`bignas`: a single-stage supernet whose children need no retraining (Yu et al. 2020).

    step:   biggest child  - cross-entropy with label smoothing on labels
            teacher        - its softmax, detached
            smallest child and n random ones - soft cross-entropy to the teacher, no labels, no dropout
            one optimiser step on the sum of all gradients (the sandwich rule)
    select: coarse - a grid over global settings of depth, width, kernel, expansion and resolution
            fine   - mutations of the best within the limits; all rated after recalibration

Gamma = 0 at the end of each residual block is part of the space. The learning rate falls exponentially to a
constant (constant ending).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.modes import without_dropout
from nasforge.errors import UsageError
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Evaluation, Phase, Problem, Proposal, WeightSharing
from nasforge.training import TrainConfig, make_sgd, soft_cross_entropy
from nasforge.training.path_sgd import merge_views
from nasforge.training.schedule import constant_ending


@final
@dataclass
class BigNAS(WeightSharing):
    """Sandwich rule, in-place distillation, coarse-to-fine selection.

    Attributes:
        children: n, random children of a step.
        distil: whether children learn from the biggest (otherwise from labels).
        sandwich: whether biggest and smallest are in every step (otherwise n + 2 random ones).
        lr: peak learning rate (SGD, Nesterov 0.9).
        weight_decay: acts through the biggest child, once a step.
        label_smoothing: of the biggest child's loss.
        floor: the constant ending, as a share of `lr`.
        clip: largest absolute value of a gradient (AttentiveNAS: 1.0), 0 for none.
        coarse: architectures rated in the coarse phase, at most.
        fine: mutations rated in the fine phase.
    """

    children: int = 2
    distil: bool = True
    sandwich: bool = True
    lr: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    floor: float = 0.05
    clip: float = 1.0
    coarse: int = 24
    fine: int = 24
    retrain: ClassVar[bool] = False
    _queue: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _rated: list[tuple[float, Architecture]] = field(default_factory=list, init=False, repr=False)
    _asked: set[Architecture] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.children < 0 or self.coarse < 1 or self.fine < 0:
            raise UsageError(
                "bignas was given a negative number of children or ratings; expected children >= 0, coarse >= 1, fine >= 0."
            )

    def setup(self, problem: Problem) -> None:
        """Prepare the coarse phase."""
        super().setup(problem)
        self._largest, self._smallest = problem.space.largest(), problem.space.smallest()
        self._queue = coarse_grid(problem, self.coarse)
        self._rated, self._asked = [], set()

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet."""
        self._net = Supernet(problem.space, seed)
        return {"supernet": self._net}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD."""
        return {"weights": make_sgd(modules["supernet"], TrainConfig(lr=self.lr, weight_decay=self.weight_decay))}

    def phases(self) -> list[Phase]:
        """Return the single stage."""
        return [Phase("train")]

    def step(self, context: Context) -> dict[str, float]:
        """Do one sandwich step."""
        images, targets = context.train_batch()
        random = [
            self.problem.space.sample(context.rng) for _ in range(self.children if self.sandwich else self.children + 1)
        ]
        first = self._largest if self.sandwich else self.problem.space.sample(context.rng)
        students = [*random, self._smallest] if self.sandwich else random
        with self._net.recording() as views:
            outputs = self._net(images, first)
            loss = context.loss(outputs, targets, self.label_smoothing)
            context.backward(loss)
            teacher = outputs.detach()
            with without_dropout(self._net):
                for child in students:
                    logits = self._net(images, child)
                    context.backward(
                        soft_cross_entropy(logits, teacher) if self.distil else context.loss(logits, targets)
                    )
        merge_views(views)
        if self.clip:
            torch.nn.utils.clip_grad_value_(self._net.parameters(), self.clip)
        context.update("weights", constant_ending(context.progress, floor=self.floor))
        return {"loss": float(loss.detach())}

    def derive(self) -> list[Architecture]:
        """Return the rated architectures, best first."""
        return [architecture for _, architecture in sorted(self._rated, key=lambda pair: pair[0])]

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose the coarse grid, then mutations of the best three."""
        proposals: list[Proposal] = []
        while len(proposals) < n and len(self._asked) < self.coarse + self.fine:
            proposed = self._queue.pop(0) if self._queue else self._mutated(rng)
            if proposed is None:
                break
            self._asked.add(proposed)
            proposals.append(Proposal(proposed))
        return proposals

    def _mutated(self, rng: np.random.Generator) -> Architecture | None:
        best = sorted(self._rated, key=lambda pair: pair[0])[:3]
        for _ in range(200):
            parent = best[int(rng.integers(len(best)))][1] if best else self.problem.sample(rng)
            child = self.problem.space.mutate(parent, rng)
            if child not in self._asked and self.problem.feasible(child):
                return child
        return None

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Note the ratings."""
        self._rated += [(self.problem.loss(result), result.architecture) for result in results]


def coarse_grid(problem: Problem, count: int) -> list[Architecture]:
    """Return different feasible architectures in which every choice of one name (`kernel`, ...) has one relative setting.

    Settings are lowest, middle and highest option; a grid larger than `count` is thinned by drawing; what the limits
    leave short is filled up with random architectures within them.
    """
    space, rng = problem.space, generator(0, "coarse")
    names = list(dict.fromkeys(_group(space, index) for index in range(len(space.choices))))
    settings = list(itertools.product((0.0, 0.5, 1.0), repeat=len(names)))
    found: dict[Architecture, None] = {}
    for place in rng.permutation(len(settings))[: 40 * count]:
        level = dict(zip(names, settings[int(place)], strict=True))
        row = [
            options[round(level[_group(space, index)] * (len(options) - 1))]
            for index, options in enumerate(space.allowed)
        ]
        architecture = space.repair(row, rng)
        if problem.feasible(architecture):
            found[architecture] = None
        if len(found) >= count:
            break
    for _ in range(20 * count):
        if len(found) >= count:
            break
        found[problem.sample(rng)] = None
    return list(found)


def _group(space: SearchSpace, index: int) -> str:
    return str(space.choices[index].name).rpartition(".")[2]
