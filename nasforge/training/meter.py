"""The one place that counts what a search costs: passes, images, multiply-accumulates and seconds, part by part.

Strategies feed nothing: supernets and networks tell of their passes (`nasforge.build.passes`), the loop of its steps
and batches. So two strategies are compared by the same count, whatever they do in a step.

Not counted: what runs while no meter is open, as the retraining and measuring of finalists in a search, with the passes
of its teachers; and, but for their seconds, optimisers, averages (EMA) and heads outside of the networks. Counted too
high: the backward pass of a mixture, which stands for all of its support, candidates that ran without a graph among it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, Final, final

from nasforge.build.passes import watching
from nasforge.errors import UsageError

TRAINING: Final = "training"
RATING: Final = "rating"
BACKWARD_COSTS: Final = 2
"""A backward pass computes gradients of inputs and of weights, each as many multiply-accumulates as forward."""


@final
@dataclass(slots=True)
class Counts:
    """What one part of a search costs.

    Attributes:
        steps: of training.
        batches: drawn from the loaders, and `drawn` images in them.
        views: of images that were made; where none are, images are taken as the loader augments them, once.
        forward: passes of a batch, through a network or a part of it; `forward_images` in all of them.
        backward: passes that a gradient went back through; `backward_images` in all of them.
        forward_macs: multiply-accumulates of all images of all forward passes; of a part of a network those of the
            part, of a mixture those of its support, of a masked pass those that its architectures have alone.
        backward_macs: of the forward passes that a gradient went back through.
        seconds: of the part, by the clock of one process.
    """

    steps: int = 0
    batches: int = 0
    drawn: int = 0
    views: int = 0
    forward: int = 0
    forward_images: int = 0
    forward_macs: int = 0
    backward: int = 0
    backward_images: int = 0
    backward_macs: int = 0
    seconds: float = 0.0

    @property
    def image_macs(self) -> int:
        """Multiply-accumulates of all passes, a backward pass counted as two forward ones."""
        return self.forward_macs + BACKWARD_COSTS * self.backward_macs

    def drew(self, images: int, views: int = 0) -> None:
        """Count a batch that was drawn, and how many views of each of its images were made."""
        self.batches += 1
        self.drawn += images
        self.views += images * views

    def stepped(self, images: int) -> None:
        """Count a step of a training that takes one batch."""
        self.steps += 1
        self.drew(images)

    def ran_forward(self, images: int, image_macs: int) -> None:
        """Count a forward pass."""
        self.forward += 1
        self.forward_images += images
        self.forward_macs += image_macs

    def ran_backward(self, images: int, image_macs: int) -> None:
        """Count a backward pass."""
        self.backward += 1
        self.backward_images += images
        self.backward_macs += image_macs

    def add(self, other: Counts) -> None:
        """Add another's counts."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def values(self) -> list[float]:
        """Return the counts in the order of `NAMES`."""
        return [float(getattr(self, name)) for name in NAMES]

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Counts:
        """Return the counts of plain data; what is not there is zero."""
        seconds = float(values.get("seconds", 0.0))
        return cls(**{name: int(values.get(name, 0)) for name in NAMES if name != "seconds"}, seconds=seconds)

    def to_json(self) -> dict[str, float]:
        """Return plain data, `image_macs` among them."""
        counts = {name: getattr(self, name) for name in NAMES if name != "seconds"}
        return {**counts, "image_macs": self.image_macs, "seconds": round(self.seconds, 3)}


NAMES: Final = tuple(part.name for part in fields(Counts))


@final
@dataclass(slots=True)
class Meter:
    """Counts by part: `training`, `rating`."""

    parts: dict[str, Counts] = field(default_factory=dict)
    _open: list[Counts] = field(default_factory=list, repr=False)

    def of(self, part: str) -> Counts:
        """Return the counts of a part, which is made when first asked for."""
        return self.parts.setdefault(part, Counts())

    @property
    def training(self) -> Counts:
        """What training costs."""
        return self.of(TRAINING)

    @property
    def rating(self) -> Counts:
        """What rating costs: recalibration, validation, proxies."""
        return self.of(RATING)

    @property
    def image_macs(self) -> int:
        """Multiply-accumulates of all parts."""
        return sum(each.image_macs for each in self.parts.values())

    @contextmanager
    def counting(self, part: str) -> Iterator[Counts]:
        """While open, count passes and seconds for a part; one that is opened inside has its own to itself."""
        counts, begun = self.of(part), time.perf_counter()
        token = _METER.set(self)
        self._open.append(counts)
        try:
            with watching(counts):
                yield counts
        finally:
            _METER.reset(token)
            spent = time.perf_counter() - begun
            self._open.pop()
            counts.seconds += spent
            if self._open:
                self._open[-1].seconds -= spent

    @property
    def open_counts(self) -> Counts | None:
        """The counts of the part opened last and not closed yet."""
        return self._open[-1] if self._open else None

    def add(self, other: Meter) -> None:
        """Add another's counts, such as those of another process."""
        for part, counts in other.parts.items():
            self.of(part).add(counts)

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return plain data; parts in which nothing ran are left out."""
        return {part: counts.to_json() for part, counts in sorted(self.parts.items()) if counts.forward or counts.steps}

    @classmethod
    def read(cls, content: Mapping[str, Mapping[str, float]]) -> Meter:
        """Return the meter of plain data."""
        return cls({part: Counts.of(values) for part, values in content.items()})


_METER: Final[ContextVar[Meter | None]] = ContextVar("nasforge_meter", default=None)


def counted_as(part: str) -> AbstractContextManager[Counts | None]:
    """Return a context in which the meter that counts now, if any does, counts for another part."""
    meter = _METER.get()
    return nullcontext() if meter is None else meter.counting(part)


def counting_now() -> Counts | None:
    """Return the counts of the part that is counted for now, None where nobody counts."""
    meter = _METER.get()
    return None if meter is None else meter.open_counts


COST_HEADER: Final = (
    "what", "steps", "images drawn", "forward passes", "backward passes", "image-MACs", "seconds", "of the first",
)  # fmt: skip


def cost_rows(costs: Mapping[str, Counts]) -> list[list[Any]]:
    """Return rows of a table of costs by name below `COST_HEADER`; the last column is image-MACs over the first's."""
    first = next(iter(costs.values())).image_macs if costs else 0
    return [
        [
            name, each.steps, each.drawn, each.forward, each.backward, f"{each.image_macs:.4g}",
            round(each.seconds, 1), f"{each.image_macs / first:.3f}" if first else "",
        ]
        for name, each in costs.items()
    ]  # fmt: skip


def check_equal_cost(
    costs: Mapping[str, Counts | Meter], *, of: Sequence[str] = ("image_macs",), tolerance: float = 0.05
) -> list[list[Any]]:
    """Return the table of costs of what is said to be compared at equal cost, if it is.

    Args:
        costs: by name; of a meter the sum of its parts.
        of: what has to be equal: `image_macs` or attributes of `Counts`, such as `steps` or `drawn`.
        tolerance: how far the largest may be above the smallest, as a share of it.

    Raises:
        UsageError: something differs by more; the sentence says what, by how much, and of whom.
    """
    summed = {name: _summed(each) for name, each in costs.items()}
    for quantity in of:
        found = {name: float(getattr(each, quantity)) for name, each in summed.items()}
        low, high = (edge(found, key=found.__getitem__) for edge in (min, max))
        if found[high] > found[low] * (1 + tolerance):
            raise UsageError(
                f"a comparison at equal {quantity} was claimed: '{high}' took {found[high]:.6g} and '{low}' "
                f"{found[low]:.6g}, {found[high] / found[low] - 1 if found[low] else float('inf'):.1%} more, beyond "
                f"{tolerance:.0%}; change the steps of one of them."
            )
    return cost_rows(summed)


def _summed(cost: Counts | Meter) -> Counts:
    if isinstance(cost, Counts):
        return cost
    total = Counts()
    for each in cost.parts.values():
        total.add(each)
    return total
