"""MLflow hears of a run: its settings, every evaluation, figures of training, and at the end the files.

Nothing here waits for the server: events go into a buffer, from which a thread sends (`nasforge.run.mlflow_sender`). A
server that is away costs one sentence; what could not be sent by the end of the run is said then.
"""

from __future__ import annotations

import importlib.util
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from nasforge.errors import RunFolderError, UsageError
from nasforge.run.atomic import write_json
from nasforge.run.folder import redact
from nasforge.run.mlflow_sender import Buffer, Place, Sender
from nasforge.run.progress import Listener
from nasforge.run.tracking import Tracking

if TYPE_CHECKING:
    from nasforge.run.outcome import SearchResult
    from nasforge.strategy.base import Evaluation

FILE: Final = "mlflow.json"
EVALUATIONS: Final = "evaluations"
EVERY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 60.0
FILES: Final = ("config.yaml", "result.json", "architecture.json", "report.html", "model.onnx", "model.int8.onnx")


def check_installed() -> None:
    """Refuse to track where MLflow is missing.

    Raises:
        UsageError: says what to install.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise UsageError(
            "tracking.mlflow was given, but MLflow is not installed; install it by pip install 'nasforge[mlflow]'."
        )


@final
class MLflow(Listener):
    """Sends a run to MLflow as one run of an experiment; a resumed run goes on in it.

    Figures of steps are thinned to one a second of each part; evaluations are sent without exception.

    Args:
        tracking: has the URI.
        say: hears what a person should know.
    """

    def __init__(self, tracking: Tracking, say: Callable[[str], None] = lambda sentence: None) -> None:
        """Check that MLflow is there; the server is asked for nothing before the run folder exists."""
        check_installed()
        self._tracking, self._say = tracking, say
        self._settings: Mapping[str, Any] = {}
        self._buffer = Buffer()
        self._sender: Sender | None = None
        self._sent_at: dict[str, float] = {}
        self._held: dict[str, tuple[int, Mapping[str, float]]] = {}

    def settled(self, settings: Mapping[str, Any]) -> None:
        """Keep the settings for the parameters."""
        self._settings = settings

    def opened(self, folder: Path) -> None:
        """Begin to send, into the run that the folder names where it has been resumed."""
        asked = str(self._tracking.mlflow)
        if ":***@" in asked:
            raise RunFolderError(
                "the password in tracking.mlflow is not kept in the run folder; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in its place"
            )
        kept = _read(folder)
        uri = kept["uri"] if kept.get("asked") == redact(asked) and "***" not in kept["uri"] else absolute(asked)
        kept = {"run_id": None, "finished": False, "key": uuid.uuid4().hex, **kept}
        kept |= {"asked": redact(asked), "uri": redact(uri)}
        write_json(folder / FILE, kept)

        def keep(**more: Any) -> None:
            kept.update(more)
            write_json(folder / FILE, kept)

        place = Place(
            uri=uri,
            experiment=self._tracking.experiment,
            name=folder.name,
            key=kept["key"],
            params=flattened(self._settings),
            tags={"nasforge.version": version("nasforge"), "nasforge.folder": str(folder.absolute())},
        )
        self._sender = Sender(place, self._buffer, keep)
        self._sender.start()

    def stage(self, name: str, total: float | None) -> None:
        """Send the last figures of the stage before."""
        self._let_go()

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Say what the sender has to say."""
        self._speak()

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Send figures of a step, at most once a second for each part."""
        if part == EVALUATIONS:
            return  # `evaluated` has them, failures too
        now = time.monotonic()
        if now - self._sent_at.get(part, -math.inf) < EVERY_SECONDS:
            self._held[part] = step, dict(values)
            return
        self._sent_at[part] = now
        self._held.pop(part, None)
        self._put(part, step, values)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Send the metrics of an evaluation, its number as the step."""
        failed = {} if evaluation.error is None else {"failed": 1.0}
        self._put(EVALUATIONS, evaluation.number, {**evaluation.metrics, **failed})
        self._speak()

    def restored(self, evaluations: Sequence[Evaluation]) -> None:
        """Send what MLflow does not have of them: the run may have been killed before it was sent."""
        for evaluation in evaluations:
            self.evaluated(evaluation)

    def finished(self, result: SearchResult) -> None:
        """Send the best network's metrics and the files."""
        if self._sender is None:
            kept = _read(result.folder)
            if not kept or kept["finished"]:
                return
            self.opened(result.folder)
        self._let_go()
        best = result.best or {}
        self._put("best", 0, best.get("metrics", {}))
        tags = {"status": result.status, "best_id": best.get("id"), "network_id": best.get("network_id")}
        files = [result.folder / name for name in FILES]
        self._buffer.end(
            "FINISHED",
            {f"nasforge.{key}": str(value) for key, value in tags.items() if value is not None},
            [file for file in files if file.exists()],
        )

    def failed(self, error: BaseException) -> None:
        """Send how the run ended: killed where somebody interrupted it."""
        self._let_go()
        sentence = redact(f"{type(error).__name__}: {error}".strip(": "))
        self._buffer.end("FAILED" if isinstance(error, Exception) else "KILLED", {"nasforge.error": sentence})

    def closed(self) -> None:
        """Wait for what is left to be sent, a minute at most."""
        sender, self._sender = self._sender, None
        if sender is None:
            return
        self._let_go()
        sender.stop(CLOSE_SECONDS)
        left = self._buffer.left()
        if left:
            why = f" ({sender.problem})" if sender.problem else ""
            self._say(
                f"MLflow at {redact(str(self._tracking.mlflow))} did not get {left}{why}; the run folder has all."
            )

    def _put(self, part: str, step: int, values: Mapping[str, float]) -> None:
        self._buffer.put({f"{part}/{name}": float(value) for name, value in values.items()}, step)

    def _let_go(self) -> None:
        held, self._held = self._held, {}
        for part, (step, values) in held.items():
            self._put(part, step, values)
        self._speak()

    def _speak(self) -> None:
        if self._sender is not None and (sentence := self._sender.news()) is not None:
            self._say(sentence)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings by dotted name; what is not set is left out, lists are JSON.

    >>> flattened({"space": {"name": "mbconv", "width": 0.5}, "seed": 0, "out": None})
    {'space.name': 'mbconv', 'space.width': '0.5', 'seed': '0'}
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def absolute(uri: str) -> str:
    """Return a tracking URI that means the same from any folder.

    >>> absolute("http://host:5000"), absolute("sqlite:////var/mlflow.db")
    ('http://host:5000', 'sqlite:////var/mlflow.db')
    """
    head = "sqlite:///"
    if uri.startswith(head) and not uri.startswith(head + "/"):
        return head + str(Path(uri[len(head) :]).absolute())
    return str(Path(uri).absolute()) if ":" not in uri else uri


def _read(folder: Path) -> dict[str, Any]:
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {key: kept[key] for key in ("asked", "uri", "key", "run_id", "finished")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
