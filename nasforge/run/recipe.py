"""Whether a recipe fits what it is for: the space has the places that it names, and somebody follows the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nasforge.build.auxiliary import BOUNDARY
from nasforge.errors import IncompatibleError, UsageError
from nasforge.ops import DropPath
from nasforge.space import SearchSpace
from nasforge.training import TrainConfig

TEACHER: Final = "teacher"


def check_places(config: TrainConfig, space: SearchSpace) -> None:
    """Refuse an auxiliary head without a place, dropped paths where the space marks none, a square as large as images.

    Raises:
        IncompatibleError: names the option and the space.
        UsageError: the square of cutout could blank a whole image.
    """
    for shape in space.input_shapes.values():
        if config.cutout and config.cutout >= min(shape[1:]):
            raise UsageError(
                f"training.cutout={config.cutout} was given for images of {shape[1]} x {shape[2]} pixels, which it "
                "would blank; give less than their side, such as half of it."
            )
    operators = [node.op for node in space.analysis.graph.nodes]
    if config.auxiliary_weight and all(getattr(op, "boundary", None) != BOUNDARY for op in operators):
        raise IncompatibleError(
            f"training.auxiliary_weight={config.auxiliary_weight} was given, and space '{space.name}' names no place "
            f"for an auxiliary head (boundary '{BOUNDARY}'); leave it out, or take a space that does, such as nasnet."
        )
    if config.drop_path_keep < 1.0 and not any(isinstance(op, DropPath) for op in operators):
        raise IncompatibleError(
            f"training.drop_path_keep={config.drop_path_keep} was given, and space '{space.name}' marks no path that "
            "may be dropped (DropPath); leave it out, or take a space that does, such as nasnet."
        )


def check_followed(training: Mapping[str, Any], config: TrainConfig, followed: object) -> None:
    """Refuse settings of distillation that contradict each other.

    Args:
        training: the settings.
        config: as read from them.
        followed: the teachers; None or empty where there are none.

    Raises:
        UsageError: labels are smoothed or mixed in without sense.
    """
    if not followed and training.get("hard_weight"):
        raise UsageError(
            f"training.hard_weight={config.hard_weight} was given without a teacher to mix the labels with; give "
            "--teacher (in a search training.teacher), or leave it out."
        )
    if followed and config.label_smoothing:
        raise UsageError(
            f"training.label_smoothing={config.label_smoothing} was given with a teacher, whose probabilities are "
            "soft already; give training.label_smoothing=0."
        )
