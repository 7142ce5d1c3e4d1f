"""SGD with weight decay on weights alone, not on normalisation and biases."""

from __future__ import annotations

import torch
from torch import nn

from nasforge.training.config import TrainConfig


def make_sgd(module: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return SGD over a module's parameters; those with one axis are not decayed."""
    decayed = [p for p in module.parameters() if p.dim() > 1]
    plain = [p for p in module.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD([g for g in groups if g["params"]], config.lr, config.momentum, nesterov=config.momentum > 0)
