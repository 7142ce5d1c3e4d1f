"""One place that counts what training costs: steps, passes of images, seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(slots=True)
class Meter:
    """Counts; `images` are passes forward and backward, one for each image and network run."""

    steps: int = 0
    images: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def count(self, images: int) -> None:
        """Count one step over so many images."""
        self.steps += 1
        self.images += images

    @property
    def seconds(self) -> float:
        """Seconds since the meter was made."""
        return time.perf_counter() - self.begun
