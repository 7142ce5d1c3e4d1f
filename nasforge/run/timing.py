"""How many epochs of training fit into the time that is left."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Final

from torch import nn

from nasforge.training import TrainConfig, train
from nasforge.training.loop import Teacher

MEASURED_STEPS: Final = 8
MARGIN: Final = 0.85


def fitting_epochs(
    module: nn.Module, source: Any, task: Any, config: TrainConfig, seconds: float, teacher: Teacher | None = None
) -> float:
    """Return the epochs of the configuration, or fewer where they would take longer than `seconds`.

    A few steps of a copy are timed; where there is time enough the answer does not depend on the clock.
    """
    batches = max(1, len(source.split("train")) // config.batch_size)
    times: list[float] = []

    def stop(done: float, figures: Any) -> bool:
        import time

        times.append(time.perf_counter())
        return len(times) > MEASURED_STEPS

    probe = dataclasses.replace(config, epochs=max(config.epochs, (MEASURED_STEPS + 2) / batches))
    train(copy.deepcopy(module), source, task, probe, 0, stop, teacher=teacher)
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    fitting = MARGIN * seconds / (step * batches)
    return config.epochs if fitting >= config.epochs else max(1.0, fitting)
