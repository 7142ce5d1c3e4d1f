"""What `search` and `resume` share: progress, Ctrl-C, the summary and the exit code."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nasforge.cli.output import print_json, print_pairs, print_table, print_text

if TYPE_CHECKING:
    from nasforge.run.outcome import SearchResult

LIMITS_MISSED = 3
INTERRUPTED = 130


def run_and_report(start: Callable[[Any], Any], as_json: bool) -> int:
    """Run `start(listener)`, print its result, and return the exit code."""
    from nasforge.cli.console import Terminal

    terminal = Terminal()
    try:
        with terminated_as_interrupted():
            result: SearchResult = start(terminal)
    except KeyboardInterrupt:
        terminal.closed()
        if terminal.folder is None:
            terminal.note("nasforge: interrupted before anything was written.")
        else:
            command = f"nasforge resume {shlex.quote(str(terminal.folder))}"
            terminal.note(f"nasforge: interrupted; go on with: {command}")
        return INTERRUPTED
    finally:
        terminal.closed()
    document = result.to_json()
    if as_json:
        print_json(document)
    else:
        print_summary(result)
    return LIMITS_MISSED if result.status == "limit_missed" else 0


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end jobs, close the run as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_summary(result: SearchResult) -> None:
    """Print the winner's figures, the finalists, and where everything is."""
    document = result.to_json()
    best = document["best"]
    if best is None:
        print_text("no network was found.")
        return
    if result.finalists:
        header = ("finalist", "accuracy_valid", "predicted_ms", "measured_ms", "error", "params", "macs")
        print_table(header, [_row(place, finalist) for place, finalist in enumerate(result.finalists, 1)])
        print_text()
    if result.status == "limit_missed":
        print_text("LIMIT MISSED: no finalist was within the limits as measured.")
    elif not best["verified"]:
        print_text("NOT VERIFIED: " + str(best["provenance"].get("unverified", "the latency was not measured here.")))
    print_pairs({key: f"{value:g}" if isinstance(value, float) else value for key, value in best["metrics"].items()})
    files = {"run": "", "model": "model.onnx", "report": "report.html"}
    print_pairs({key: result.folder / name for key, name in files.items() if (result.folder / name).exists()})


def _row(place: int, finalist: Mapping[str, Any]) -> list[str]:
    metrics = finalist["metrics"]
    predicted, measured = metrics.get("latency_ms_predicted"), metrics.get("latency_ms")
    error = f"{(predicted / measured - 1) * 100:+.1f} %" if predicted and measured else "-"
    texts = [_short(metrics.get("accuracy_valid")), _short(predicted), _short(measured), error]
    return [str(place), *texts, f"{metrics.get('params', 0):,.0f}", f"{metrics.get('macs', 0):,.0f}"]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
