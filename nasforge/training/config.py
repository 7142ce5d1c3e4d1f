"""How a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, final

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.ops.drop_path import RAMPS
from nasforge.training.schedule import SCHEDULES

ABOVE_ZERO: Final = ("epochs", "batch_size", "lr")
BELOW_ONE: Final = ("momentum", "warmup", "label_smoothing", "dropout", "ema_decay")
AT_LEAST_ZERO: Final = ("weight_decay", "cutout", "clip", "auxiliary_weight")
UP_TO_ONE: Final = ("decay", "decay_every", "drop_path_keep")


@final
@dataclass(frozen=True, slots=True)
class TrainConfig:
    """SGD with Nesterov momentum, linear warm-up, cosine to zero; and what else a recipe may ask for, off by default.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        lr: peak learning rate.
        momentum: of SGD.
        weight_decay: not on normalisation and biases.
        warmup: share of the steps with rising learning rate.
        schedule: of the learning rate behind the warm-up: `cosine` to zero, or `steps` down by `decay`.
        decay: factor of the learning rate at each step down.
        decay_every: share of the training between two steps down.
        label_smoothing: of the loss.
        augment: shift and, where the data allow, mirror.
        cutout: side of the square cut out of augmented images, pixels; 0 for none.
        dropout: chance of a feature to be dropped before the classifier.
        drop_path_keep: share of images that the deepest path keeps at the end (ScheduledDropPath); 1 drops nothing.
        drop_path_ramp: what the chance to be dropped grows with: `time`, `depth`, or `both`.
        auxiliary_weight: of the loss of an auxiliary head, which is trained and thrown away; 0 for none.
        ema_decay: of the exponential moving average of the weights, which is then what is judged and kept; 0 for none.
        hard_weight: share of the label itself in the target where a teacher is followed; 0 follows it alone.
        clip: largest gradient norm, 0 for none.
        channels_last: memory layout; faster for small convolutions on a processor.
    """

    epochs: float = 30.0
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    schedule: Literal["cosine", "steps"] = "cosine"
    decay: float = 0.1
    decay_every: float = 0.5
    label_smoothing: float = 0.0
    augment: bool = True
    cutout: int = 0
    dropout: float = 0.0
    drop_path_keep: float = 1.0
    drop_path_ramp: Literal["both", "time", "depth"] = "both"
    auxiliary_weight: float = 0.0
    ema_decay: float = 0.0
    hard_weight: float = 0.0
    clip: float = 5.0
    channels_last: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ABOVE_ZERO:
            self._check(name, "a number above zero", 0 < getattr(self, name) < math.inf)
        for name in BELOW_ONE:
            self._check(name, f"0 <= {name} < 1", 0 <= getattr(self, name) < 1)
        for name in AT_LEAST_ZERO:
            self._check(name, "zero or a number above", 0 <= getattr(self, name) < math.inf)
        for name in UP_TO_ONE:
            self._check(name, f"0 < {name} <= 1", 0 < getattr(self, name) <= 1)
        self._check(
            "cutout",
            "0 where training.augment=false, for it is a part of the augmentation",
            self.augment or not self.cutout,
        )
        self._check("hard_weight", "0 <= hard_weight <= 1", 0 <= self.hard_weight <= 1)
        for name, known in (("schedule", SCHEDULES), ("drop_path_ramp", RAMPS)):
            if getattr(self, name) not in known:
                raise UsageError(unknown_name_sentence(f"training.{name}", str(getattr(self, name)), known))

    def _check(self, name: str, expected: str, fine: bool) -> None:
        if not fine:
            raise UsageError(f"training.{name} was given {getattr(self, name)}; expected {expected}.")
