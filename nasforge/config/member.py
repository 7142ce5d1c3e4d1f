"""One member of a sweep, in whatever process a launcher put it: an ordinary run that begins, or goes on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any, Final, final

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from nasforge.config.compose import Composed, composed_of
from nasforge.config.start import resume, write_report
from nasforge.errors import DamagedError, NasforgeError, RunFolderError
from nasforge.report.journal import read_journal
from nasforge.run.folder import CONFIG
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener, Silent
from nasforge.run.search import run_search
from nasforge.run.sweep_folder import SweepResult, is_sweep, record

LOCK: Final = ".lock"
WATCH_SECONDS: Final = 1.0
RELEASE_SECONDS: Final = 15.0
INTERRUPTED: Final = 130
JOBLIB_PROCESS: Final = "LokyProcess"
_busy: Final = Event()


@final
@dataclass(frozen=True, slots=True)
class Runner:
    """The task that Hydra launches for each member. Its listener stays in the process where it was made."""

    listener: Listener

    def __call__(self, config: DictConfig) -> str:
        """Run the member that Hydra composed."""
        return run_member(config, self.listener)

    def __reduce__(self) -> tuple[Any, ...]:
        return Runner, (Silent(),)


def run_member(config: DictConfig, listener: Listener | None = None) -> str:
    """Run what Hydra composed, in the folder that Hydra gives it.

    A member of a sweep that fails is recorded in the sweep's folder, and the sweep goes on.

    Returns:
        The status.

    Raises:
        CompactHydraException: a run that is no member failed.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if not is_sweep(folder.parent):
        try:
            return _run(config, folder, listener).status
        except NasforgeError as error:
            raise CompactHydraException(f"nasforge: {error}") from error
    return _run_of_sweep(config, folder, listener)


def _run_of_sweep(config: DictConfig, folder: Path, listener: Listener | None) -> str:
    sweep, name = folder.parent, folder.name
    try:
        with _ended_with_the_sweep(sweep):
            if any(each.name == name for each in SweepResult.read(sweep).failed):
                _clear(folder)
            record(sweep, name, "running")
            status = _run(config, folder, listener).status
            record(sweep, name, status)
    except KeyboardInterrupt:
        record(sweep, name, "interrupted")
        raise
    except NasforgeError as error:
        record(sweep, name, "failed", str(error))
        return "failed"
    except Exception as error:  # noqa: BLE001 - a defect in one member must not sink the others
        record(sweep, name, "failed", f"unexpected {type(error).__name__}: {error}")
        return "failed"
    return status


def _run(config: DictConfig, folder: Path, listener: Listener | None) -> SearchResult:
    if (folder / CONFIG).exists():
        return _as_soon_as_free(lambda: resume(folder, listener=listener))
    composed = _in_folder(composed_of(config), folder)
    return _as_soon_as_free(
        lambda: run_search(composed.settings, config=composed.written, listener=listener, write_report=write_report)
    )


def _in_folder(composed: Composed, folder: Path) -> Composed:
    return Composed(replace(composed.settings, out=str(folder)), {**composed.written, "out": str(folder)})


def _clear(folder: Path) -> None:
    """Let a run that failed begin anew where every evaluation of it failed, for it would only fail again."""
    try:
        told = read_journal(folder).told
    except DamagedError:
        return
    if all(each.error is not None for each in told):
        shutil.rmtree(folder)
        folder.mkdir()


def _as_soon_as_free(run: Any) -> SearchResult:
    """Run; wait a moment for a process of a sweep that was killed to let go of the folder."""
    until = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            found: SearchResult = run()
        except RunFolderError as error:
            if "is in use" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return found


@contextmanager
def _ended_with_the_sweep(sweep: Path) -> Iterator[None]:
    """Interrupt a process of joblib when the sweep that started it is gone, so that it can be taken up, and end it."""
    if not current_process().name.startswith(JOBLIB_PROCESS) or current_thread() is not main_thread():
        yield
        return
    parent = os.getppid()
    if _holder(sweep) != parent:
        os._exit(INTERRUPTED)  # the sweep was gone before this process was ready
    _watch(parent)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()
        signal.signal(signal.SIGINT, before)


@cache
def _watch(parent: int) -> None:
    """Begin to watch, for as long as this process lives: it may be idle when the sweep dies."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        if _busy.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            until = time.monotonic() + RELEASE_SECONDS
            while _busy.is_set() and time.monotonic() < until:
                time.sleep(WATCH_SECONDS / 10)
        os._exit(INTERRUPTED)  # nobody is left who could give it more to do

    Thread(target=watch, daemon=True, name="nasforge-sweep").start()


def _holder(sweep: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((sweep / LOCK).read_text(encoding="utf-8"))
    return None
