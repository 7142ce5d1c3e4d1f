"""SGD and LARS with weight decay on weights alone, not on normalisation and biases."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nasforge.training.config import TrainConfig


def make_sgd(module: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return SGD over a module's parameters; those with one axis are not decayed."""
    return torch.optim.SGD(_groups(module, config), config.lr, config.momentum, nesterov=config.momentum > 0)


def make_lars(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return LARS (You et al. 2017) over a module's parameters; those with one axis are neither decayed nor scaled."""
    from timm.optim.lars import Lars  # timm takes a while to import

    found: torch.optim.Optimizer = Lars(_groups(module, config), lr=config.lr, momentum=config.momentum)
    return found


def _groups(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    decayed = [p for p in module.parameters() if p.dim() > 1]
    plain = [p for p in module.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
