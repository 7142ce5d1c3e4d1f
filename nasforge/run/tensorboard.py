"""TensorBoard events of a run: figures of shared training, evaluations and retraining, in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from nasforge.run.progress import Listener

FOLDER: Final = "tensorboard"


@final
class TensorBoard(Listener):
    """Writes scalars as `part/name` by step; `tensorboard --logdir runs` shows them.

    A resumed run adds a file, in which steps after the last checkpoint come again.
    """

    def __init__(self) -> None:
        """Start without a file."""
        self._writer: Any = None

    def opened(self, folder: Path) -> None:
        """Open a file of events."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / FOLDER))  # type: ignore[no-untyped-call]  # torch has no types here

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{part}/{name}", value, step)

    def closed(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
