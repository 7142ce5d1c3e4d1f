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

from nasforge.build.network import tell_network
from nasforge.errors import UsageError


def soft_cross_entropy(logits: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return the mean cross-entropy of logits (N, classes) against the teacher's softmax, which gets no gradient."""
    target = torch.softmax(teacher.detach() / temperature, dim=1)
    return -(target * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()


def adaptive_alpha_divergence(
    logits: torch.Tensor, teacher: torch.Tensor, low: float = -1.0, high: float = 1.0, clip: float = 5.0
) -> torch.Tensor:
    """Return the mean over images of the larger of two alpha-divergences of teacher from student (AlphaNet, 2021).

    D_a(p, q) = (sum_i q_i (p_i / q_i)^a - 1) / (a (a - 1)) of teacher p and student q; a -> 1 is KL(p, q), a -> 0 is
    KL(q, p). A negative a dislikes a student that is sure where the teacher is not, a positive one a student that
    misses what the teacher sees. In the gradient, -(1/a) sum_i q_i (p_i / q_i)^a grad log q_i, powers of ratios are at
    most `clip`, and so are they in the value (Wang et al. 2021).

    Args:
        logits: of the student, (N, classes).
        teacher: logits of the teacher, which get no gradient.
        low: the smaller alpha.
        high: the larger one.
        clip: largest power of a ratio of probabilities; for alpha 0 and 1 the largest ratio.
    """
    log_q = functional.log_softmax(logits, dim=1)
    log_p = functional.log_softmax(teacher.detach(), dim=1)
    (low_value, low_slope), (high_value, high_slope) = (_alpha(log_p, log_q, alpha, clip) for alpha in (low, high))
    is_low = low_value > high_value
    value, slope = torch.where(is_low, low_value, high_value), torch.where(is_low, low_slope, high_slope)
    return (value + slope - slope.detach()).mean()


def _alpha(log_p: Tensor, log_q: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """Return the divergence of each image, detached, and what has its gradient; both (N,)."""
    q, log_ratio = log_q.detach().exp(), log_p - log_q.detach()
    if alpha in (0.0, 1.0):
        ratio = log_ratio.exp().clamp(max=clip)
        value = (-log_ratio if alpha == 0.0 else ratio * ratio.log()).mul(q).sum(dim=1)
        weights = log_ratio if alpha == 0.0 else ratio  # d KL(q, p) = sum q (log q - log p) d log q
        return value, -(q * weights * log_q).sum(dim=1)
    power = (alpha * log_ratio).exp().clamp(max=clip)
    value = ((q * power).sum(dim=1) - 1.0) / (alpha * (alpha - 1.0))
    return value, -(q * power * log_q).sum(dim=1) / alpha


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
    tell_network(module, images, found)
    logits: Tensor = torch.stack(found).mean(dim=0) if isinstance(found, list) else found
    return logits


def soft_targets(probabilities: Tensor, labels: Tensor, hard_weight: float = 0.0) -> Tensor:
    """Return targets (N, classes): probabilities, mixed with the labels (N,) by the share `hard_weight`."""
    if not hard_weight:
        return probabilities
    hard = functional.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    return probabilities.lerp(hard, hard_weight)
