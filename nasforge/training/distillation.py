"""Learning from a teacher's probabilities instead of labels."""

from __future__ import annotations

import torch
from torch.nn import functional


def soft_cross_entropy(logits: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return the mean cross-entropy of logits (N, classes) against the teacher's softmax, which gets no gradient."""
    target = torch.softmax(teacher.detach() / temperature, dim=1)
    return -(target * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()
