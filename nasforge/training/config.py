"""How a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from nasforge.errors import UsageError


@final
@dataclass(frozen=True, slots=True)
class TrainConfig:
    """SGD with Nesterov momentum, linear warm-up, cosine to zero.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        lr: peak learning rate.
        momentum: of SGD.
        weight_decay: not on normalisation and biases.
        warmup: share of the steps with rising learning rate.
        label_smoothing: of the loss.
        augment: shift and, where the data allow, mirror.
        cutout: side of the square cut out of augmented images, pixels; 0 for none.
        clip: largest gradient norm, 0 for none.
        channels_last: memory layout; faster for small convolutions on a processor.
    """

    epochs: float = 30.0
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    label_smoothing: float = 0.0
    augment: bool = True
    cutout: int = 0
    clip: float = 5.0
    channels_last: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "batch_size", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"training.{name} was given {getattr(self, name)}; expected a number above zero.")
        for name in ("momentum", "warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"training.{name} was given {getattr(self, name)}; expected 0 <= {name} < 1.")
        for name in ("weight_decay", "cutout", "clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"training.{name} was given {getattr(self, name)}; expected zero or a number above.")
