"""What searches over single paths share: which spaces have paths, warm-up, the weight step, the reference cost.

One operator of each choice runs at a time (Cai, Zhu, Han 2019, section 3.1); what was not drawn gets no gradient,
not a zero one, so neither weight decay nor momentum moves it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from nasforge.build import Supernet
from nasforge.errors import IncompatibleError
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.space.lower import MixOp
from nasforge.space.restriction import activity
from nasforge.strategy.base import Problem
from nasforge.strategy.paths.logits import PathLogits
from nasforge.strategy.weight_sharing import Context, Phase


def check_paths(space: SearchSpace, strategy: str) -> None:
    """Refuse a space that is not made of paths: choices of operator, always active, of candidates of one shape.

    Choices that restriction has left one option decide nothing, and may be of any kind.

    Args:
        space: the space.
        strategy: name of the strategy, for the message.

    Raises:
        IncompatibleError: names the strategy, the space and the choice.
    """
    every = dict(enumerate(space.allowed))
    opened = {number: options for number, options in every.items() if len(options) > 1}
    for number, read in enumerate(space.choices):
        active = activity(space.analysis, number, space.allowed)
        if number in opened and read.kind != "operator":
            article = "an" if read.kind[0] in "aeiou" else "a"
            raise _refusal(strategy, space, read.name, f"decides {article} {read.kind}, not an operator")
        bound = number in opened or read.condition is not None or read.relation is not None
        if not active.all() and bound and (number in opened or active.any()):
            raise _refusal(strategy, space, read.name, "is not asked in every architecture")
    first = space.from_decisions([options[0] for options in every.values()])
    nodes = space.lower(first, opened).nodes if opened else ()
    mixed = {node.op.choice: node for node in nodes if isinstance(node.op, MixOp)}
    for number in opened:
        read = space.choices[number]
        if number not in mixed:
            raise _refusal(strategy, space, read.name, "selects no candidates of its own")
        shapes = sorted({str(kind) for kind in mixed[number].input_types})
        if len(shapes) > 1:
            raise _refusal(strategy, space, read.name, f"has candidates of different shapes ({' and '.join(shapes)})")


def _refusal(strategy: str, space: SearchSpace, choice: str | None, why: str) -> IncompatibleError:
    return IncompatibleError(
        f"strategy '{strategy}' cannot search space '{space.name}': choice '{choice}' {why}; take another strategy, "
        "see `nasforge list --compatible`."
    )


def path_phases(warmup: float) -> list[Phase]:
    """Return the phases `warmup` (weights alone), where there is any, and `search`."""
    search = Phase("search", 1.0 - warmup)
    return [Phase("warmup", warmup), search] if warmup else [search]


def path_optimisers(
    modules: Mapping[str, nn.Module], lr: float, weight_decay: float, arch_lr: float
) -> dict[str, torch.optim.Optimizer]:
    """Return SGD with Nesterov momentum for `supernet`, all decayed, and Adam without first moment for `paths`.

    With beta1 = 0 nothing leaks into the logits of paths that were not drawn: a zero gradient moves nothing.
    """
    supernet, paths = modules["supernet"].parameters(), modules["paths"].parameters()
    return {
        "weights": torch.optim.SGD(supernet, lr, 0.9, nesterov=True, weight_decay=weight_decay),
        "paths": torch.optim.Adam(paths, arch_lr, betas=(0.0, 0.999)),
    }


def weight_step(context: Context, net: Supernet, paths: PathLogits, smoothing: float, warmup: float) -> float:
    """Train the weights of one drawn path on a train batch and return the loss.

    The learning rate falls as a cosine in each phase, from half of the full one in a search after a warm-up.
    """
    peak = 0.5 if warmup and context.phase.name == "search" else 1.0
    images, targets = context.train_batch()
    loss = context.loss(net(images, paths.draw(context.rng)), targets, smoothing)
    context.backward(loss)
    context.update("weights", peak * 0.5 * (1.0 + math.cos(math.pi * context.progress)))
    return float(loss.detach())


def path_step(context: Context, net: Supernet, architecture: Architecture, smoothing: float, rate: float) -> float:
    """Train what one architecture uses on a train batch and return the loss; `weights` is a `PathSGD`.

    Args:
        context: of the step.
        net: the shared weights.
        architecture: whose path runs, alone.
        smoothing: of the labels.
        rate: factor of the learning rate.

    Raises:
        DivergedError: the loss is NaN or infinite.
    """
    images, targets = context.train_batch()
    with net.recording():
        loss = context.loss(net(images, architecture), targets, smoothing)
        context.backward(loss)
    context.update("weights", rate)
    return float(loss.detach())


def is_architecture_turn(context: Context, after: float, every: int) -> bool:
    """Say whether this weight step is followed by an update of the logits: every k-th of a search.

    Args:
        context: of the step.
        after: epochs of the search without updates.
        every: weight steps between two updates.
    """
    if context.phase.name != "search" or context.phase_step < after * context.steps_per_epoch:
        return False
    return (context.phase_step + 1) % every == 0


def reference_cost(problem: Problem) -> float:
    """Return the limit on the reference cost, or without one the median of 100 random architectures."""
    bounds = [limit.bound for limit in problem.constraints if limit.metric == problem.reference_cost]
    rows = problem.space.sample_batch(100, generator(0, "reference"))
    return min(bounds) if bounds else float(np.median(problem.costs[problem.reference_cost].batch(rows)))
