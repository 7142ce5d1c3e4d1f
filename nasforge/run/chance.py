"""Whether a delivered network has learnt anything: told apart from guessing by the number of images it was rated on."""

from __future__ import annotations

import math
from typing import Any, Final

import torch

DEVIATIONS: Final = 1.645  # of a normal law: guessing gets above by luck in one of twenty


def chance_warning(accuracy: float | None, source: Any) -> str | None:
    """Return the warning for a network whose validation accuracy is not above chance; None where it is.

    Chance is one of the classes at random, or always the commonest class of the training images.

    Args:
        accuracy: on the validation images, None where there is none.
        source: the data the network was rated on.
    """
    if accuracy is None:
        return None
    images = len(source.split("valid").labels)
    labels = source.split("train").labels
    commonest = float(torch.bincount(labels).max()) / max(1, len(labels))
    chance = max(1.0 / len(source.classes), commonest)
    bound = chance + DEVIATIONS * math.sqrt(chance * (1.0 - chance) / max(1, images))
    if accuracy > bound:
        return None
    return (
        f"the delivered network is right on {accuracy:.1%} of {images} validation images, and guessing on up to "
        f"{bound:.1%}: it has learnt nothing that shows; raise the limits or the budget, or train longer "
        "(training.epochs)."
    )
