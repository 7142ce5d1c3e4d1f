"""Whether batches of shared training hold as many images as its strategy needs: asked before anything is written.

How long they come out follows from the settings and the data alone, so nobody has to train to find out.
"""

from __future__ import annotations

from typing import Any

from nasforge.errors import UsageError
from nasforge.run.distributed import number_of_workers
from nasforge.run.plan import training_config
from nasforge.run.settings import Settings
from nasforge.strategy import Strategy, WeightSharing


def check_batch_length(strategy: Strategy, settings: Settings, source: Any) -> None:
    """Refuse batches that are too short for the strategy; on several workers, parts of batches.

    Raises:
        UsageError: says how many images there are, how many are needed, and which setting changes it.
    """
    if not isinstance(strategy, WeightSharing):
        return
    asked, least = training_config(settings.training, 1.0).batch_size, strategy.smallest_batch
    held = len(source.split("train").labels)
    if min(asked, held) < least:
        raise UsageError(f"{_needs(settings, least)}, and {_why_short(asked, held, least)}.")
    workers = workers_of(settings, source) if settings.distributed else 1
    if min(asked, held) // workers < least:
        raise UsageError(
            f"{_needs(settings, least)} on each worker, and {workers} workers share batches of {min(asked, held)}; "
            f"give training.batch_size={workers * least} or more, or engine.train_workers=1."
        )


def _needs(settings: Settings, least: int) -> str:
    return f"strategy '{settings.strategy.name}' trains on batches of at least {least} images"


def _why_short(asked: int, held: int, least: int) -> str:
    if asked < least:
        return f"training.batch_size={asked} was given; give training.batch_size={least} or more"
    return f"the train split of the data has {held}; give more data"


def workers_of(settings: Settings, source: Any) -> int:
    """Return how many data-parallel workers train the shared weights of a search.

    Raises:
        UsageError: more were asked for than a batch has images for.
    """
    length = training_config(settings.training, 1.0).batch_size
    lengths = {name: min(length, len(source.split(name).labels)) for name in ("train", "valid")}
    return number_of_workers(settings.engine, settings.workers, lengths)
