"""A training context that sees which images each update of an optimiser learnt from.

Images are made leaves of the graph, so a backward pass that depends on them leaves a gradient behind; metrics, which
have no graph, count by their targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch

from nasforge.strategy import Batch, Context
from nasforge.tasks.view import ViewMaker


@final
class Update(NamedTuple):
    """One step of an optimiser, and the splits whose images it learnt from."""

    optimiser: str
    splits: frozenset[str]


@final
class WatchedContext:
    """Passes everything on to a context, and notes where gradients come from; see the module.

    Attributes:
        updates: in order.
        taken: the split of every batch asked for, in order.
    """

    def __init__(self, inner: Context) -> None:
        """Take the context."""
        self._inner = inner
        self._batches: list[tuple[Batch, str]] = []
        self._used: set[str] = set()
        self.updates: list[Update] = []
        self.taken: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Return what the context says of the step."""
        return getattr(self._inner, name)

    def train_batch(self) -> Batch:
        """Return the next train batch."""
        return self._noted(self._inner.train_batch(), "train")

    def valid_batch(self) -> Batch:
        """Return the next valid batch."""
        return self._noted(self._inner.valid_batch(), "valid")

    def train_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return views of the next train batch."""
        return self._noted_views(self._inner.train_views(makers), "train")

    def valid_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return views of the next valid batch."""
        return self._noted_views(self._inner.valid_views(makers), "valid")

    def _noted_views(self, views: list[torch.Tensor], split: str) -> list[torch.Tensor]:
        noted = [view.detach().requires_grad_() for view in views]
        self._batches += [(Batch(view, torch.empty(0)), split) for view in noted]
        self.taken.append(split)
        return noted

    def _noted(self, batch: Batch, split: str) -> Batch:
        leaf = Batch(batch.images.detach().requires_grad_(), batch.targets)
        self._batches.append((leaf, split))
        self.taken.append(split)
        return leaf

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the task's loss."""
        return self._inner.loss(outputs, targets, smoothing)

    def metrics(self, outputs: Any, targets: torch.Tensor) -> dict[str, float]:
        """Return the task's metrics; whatever is learnt from them is learnt from their images."""
        self._used |= {split for batch, split in self._batches if batch.targets is targets}
        return self._inner.metrics(outputs, targets)

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients, and note the splits they come from."""
        self._inner.backward(loss)
        for batch, split in self._batches:
            if batch.images.grad is not None:
                self._used.add(split)
                batch.images.grad = None

    def update(self, optimiser: str, rate: float = 1.0) -> None:
        """Step an optimiser."""
        self.updates.append(Update(optimiser, frozenset(self._used)))
        self._used.clear()
        self._inner.update(optimiser, rate)
