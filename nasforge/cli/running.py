"""What commands of long work share: progress, Ctrl-C, the exit code, and the summary of `search` and `resume`."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from nasforge.cli.output import figure, print_json, print_pairs, print_table, print_text

if TYPE_CHECKING:
    from nasforge.cli.console import Terminal
    from nasforge.run.outcome import SearchResult

LIMITS_MISSED = 3
INTERRUPTED = 130
MadeT = TypeVar("MadeT")


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


def run_resumable(start: Callable[[Terminal], MadeT]) -> tuple[MadeT, Terminal] | None:
    """Run `start(listener)`; return what it made and the listener, or None after saying how stopped work goes on."""
    from nasforge.cli.console import Terminal
    from nasforge.run.resumable import ResumableInterrupt

    terminal = Terminal()
    try:
        with terminated_as_interrupted():
            return start(terminal), terminal
    except ResumableInterrupt as stopped:
        terminal.closed()
        terminal.note(f"nasforge: interrupted; go on with: {stopped.command}")
        return None
    finally:
        terminal.closed()


def run_and_print(
    start: Callable[[Terminal], MadeT],
    document: Callable[[MadeT], Any],
    show: Callable[[MadeT, Terminal], None],
    as_json: bool,
) -> int:
    """Run `start(listener)`, print its document or show it, and return the exit code."""
    done = run_resumable(start)
    if done is None:
        return INTERRUPTED
    if as_json:
        print_json(document(done[0]))
    else:
        show(*done)
    return 0


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
        print_finalists(result)
    if result.status == "limit_missed":
        print_text("LIMIT MISSED: no finalist was within the limits as measured.")
    elif not best["verified"]:
        print_text("NOT VERIFIED: " + str(best["provenance"].get("unverified", "the latency was not measured here.")))
    print_pairs({key: figure(value) for key, value in best["metrics"].items()})
    files = {"run": "", "model": "model.onnx", "report": "report.html"}
    print_pairs({key: result.folder / name for key, name in files.items() if (result.folder / name).exists()})


def print_finalists(result: SearchResult) -> None:
    """Print the finalists as the search ranked them; the delivered one is marked.

    Where some were trained again, their rating in the search is told apart from that of the trained network; where the
    search went by a score of untrained networks, that is their accuracy.
    """
    from nasforge.run.result import latency_warning, measurement_noise

    document = result.to_json()
    metric = (document.get("objectives") or [{"metric": "accuracy_valid"}])[0]["metric"]
    final = metric if metric.endswith("_valid") else "accuracy_valid"
    before = f"{metric}_in_search" if final == metric else final
    trained = any(before in each["metrics"] for each in result.finalists)
    rated = (f"{metric} in search", "retrained" if final == metric else f"{final} retrained") if trained else (metric,)
    header = ("finalist", *rated, "predicted_ms", "measured_ms", "error", "params", "macs")
    chosen = (document["best"] or {}).get("id")
    rows = []
    for place, finalist in enumerate(result.finalists, 1):
        name = f"{place} *" if finalist["id"] == chosen else str(place)
        rows.append([name, *_ratings(finalist["metrics"], metric, final, trained), *_costs(finalist["metrics"])])
    print_table(header, rows)
    print_text("* delivered")
    noise = measurement_noise((document["best"] or {}).get("provenance"))
    if noise:
        print_text(f"measured_ms: {noise}")
    warning = latency_warning(document)
    if warning:
        print_text(f"predicted_ms: {warning}")
    print_text()


def _ratings(metrics: Mapping[str, Any], metric: str, final: str, trained: bool) -> list[str]:
    found, before = metrics.get(metric), metrics.get(f"{metric}_in_search")
    if not trained:
        return [_short(found)]
    if final != metric:
        return [_short(found), _short(metrics.get(final))]
    return [_short(found), "-"] if before is None else [_short(before), _short(found)]


def _costs(metrics: Mapping[str, Any]) -> list[str]:
    predicted, measured = metrics.get("latency_ms_predicted"), metrics.get("latency_ms")
    error = f"{(predicted / measured - 1) * 100:+.1f} %" if predicted and measured else "-"
    counts = [f"{metrics.get(key) or 0:,.0f}" for key in ("params", "macs")]
    return [_short(predicted), _short(measured), error, *counts]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
