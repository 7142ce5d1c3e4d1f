"""TensorBoard events of a run: figures of shared training, evaluations and retraining, in the run folder.

Events are written by this thread. TensorBoard's own writer has a thread of its own, which prints a traceback where the
disk is full and loses its queue where the process is killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from nasforge.run.progress import Listener

FOLDER: Final = "tensorboard"
FLUSH_SECONDS: Final = 5.0


@final
class TensorBoard(Listener):
    """Writes scalars as `part/name` by step; `tensorboard --logdir runs` shows them.

    A resumed run adds a file, in which steps after the last checkpoint come again.
    """

    def __init__(self) -> None:
        """Start without a file."""
        self._file: Any = None
        self._records: Any = None
        self._flushed = 0.0

    def opened(self, folder: Path) -> None:
        """Open a file of events."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        where = folder / FOLDER
        where.mkdir(exist_ok=True)
        self._file = (where / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        if self._file is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=f"{part}/{name}", simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def _write(self, event: Any) -> None:
        try:
            self._records.write(event.SerializeToString())
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flushed = time.monotonic()
                self._file.flush()
        except OSError:
            self.closed()
            raise

    def closed(self) -> None:
        """Flush and close."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
