"""Learning from teachers' probabilities instead of labels.

A teacher turns the labels of a batch into probabilities, and cross-entropy takes either, so heads, auxiliary heads and
all other parts of a training are the same with a teacher as without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import UsageError


def soft_cross_entropy(logits: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return the mean cross-entropy of logits (N, classes) against the teacher's softmax, which gets no gradient."""
    target = torch.softmax(teacher.detach() / temperature, dim=1)
    return -(target * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()


@final
class Teachers:
    """Frozen networks whose mean probabilities a student follows (MEAL V2, section 3): mean over softmax, not logits.

    No module of torch on purpose, so that `train()` of a student that holds it cannot reach the teachers: they are in
    evaluation mode whenever they are asked, and their statistics stay as they are.

    Args:
        modules: (N, C, H, W), what the student sees -> logits (N, classes), or a list of heads, whose mean is taken.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """Take at least one teacher.

        Raises:
            UsageError: there is none.
        """
        if not modules:
            raise UsageError("no teacher was given to follow; give at least one network.")
        self.modules = tuple(modules)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the mean of the teachers' probabilities, (N, classes), without a gradient."""
        found = [torch.softmax(_logits(module, images), dim=1) for module in self.modules]
        return torch.stack(found).mean(dim=0)

    def log_probabilities(self, images: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities: logits of the ensemble, for a task to judge."""
        return self(images).log()


def _logits(module: nn.Module, images: Tensor) -> Tensor:
    if module.training:
        module.eval()
    found: Any = module(images)
    logits: Tensor = torch.stack(found).mean(dim=0) if isinstance(found, list) else found
    return logits


def soft_targets(probabilities: Tensor, labels: Tensor, hard_weight: float = 0.0) -> Tensor:
    """Return targets (N, classes): probabilities, mixed with the labels (N,) by the share `hard_weight`."""
    if not hard_weight:
        return probabilities
    hard = functional.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    return probabilities.lerp(hard, hard_weight)
