"""The one loop: every strategy, of every family, is driven from here.

Set up, train shared weights where the strategy has some, ask and evaluate and tell, measure the best,
train and deliver the winner. Every part leaves behind what it needs to be skipped or continued, so
resuming is running the same function again on the same folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from nasforge.run.asking import Asking, drive
from nasforge.run.chance import chance_warning
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.deliver import INT8_FILE, RETRAINED, Delivery
from nasforge.run.evaluating import Remembering, at_a_time, executor_of, measure_function
from nasforge.run.executors import engine_running
from nasforge.run.finalists import Finalist, measure_finalists
from nasforge.run.folder import RunFolder
from nasforge.run.listening import listening
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener
from nasforge.run.ranking import Best, nothing_found, ranked
from nasforge.run.record import result_document
from nasforge.run.result import write_result
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, Setup, set_up
from nasforge.run.shared_training import SharedTraining, make_shared_training, train_shared
from nasforge.run.spending import cost_of
from nasforge.run.store import STUDY, StudyStore, check_storage, directions_of, open_store
from nasforge.strategy import Evaluation, WeightSharing

SNAPSHOT_EVERY: Final = 50
WriteReport = Callable[[Path], object]


def run_search(
    settings: Settings,
    *,
    config: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    given: Given | None = None,
    write_report: WriteReport | None = None,
) -> SearchResult:
    """Search, and leave a run folder.

    Args:
        settings: what to do.
        config: what `config.yaml` says, interpolations as written; the settings without.
        listener: hears of progress.
        given: objects in the place of names.
        write_report: writes `report.html` of a folder; the report is made above this room.

    Raises:
        UsageError, DataError, IncompatibleError: the search cannot be done as asked.
        InfeasibleError: nothing in the space meets the limits.
        WrongFolderError: the folder is not empty.
        RunFolderError: it is in use, or cannot be written.
    """
    check_storage(settings.storage)
    RunFolder.check(settings.out)
    with listening(listener, settings) as heard, engine_running(settings) as resolved:
        setup = set_up(resolved, given or Given(), heard)
        name = f"{setup.space.name}-{settings.strategy.name}-{settings.target.name}"
        with RunFolder.create(settings.out, name) as folder:
            folder.write_config({**(config or settings.to_json()), "workers": resolved.workers})
            return Search(setup, folder, heard, write_report).run()


@final
class Search:
    """One search in its folder; `run` starts it or carries it on."""

    def __init__(
        self, setup: Setup, folder: RunFolder, listener: Listener, write_report: WriteReport | None = None
    ) -> None:
        """Open what is in the folder."""
        self._setup, self._folder, self._listener, self._write_report = setup, folder, listener, write_report
        self._checkpoints = Checkpoints(folder.file("checkpoints"), listener.note)
        self._begun = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._cut: list[str] = []
        self._plan = setup.plan

    def run(self) -> SearchResult:
        """Search from where the folder stands to the end."""
        self._listener.opened(self._folder.path)
        setup = self._setup
        store = self._open_store()
        try:
            training = self._train_shared() if isinstance(setup.strategy, WeightSharing) else None
            evaluations = self._evaluate(training, store)
            store.keep_copy(self._folder.file(STUDY), evaluations)
            ranking = ranked(evaluations, setup.problem)
            if not ranking:
                raise nothing_found(evaluations, setup.problem)
            with self._timed("measuring"):
                finalists = measure_finalists(setup, ranking, self._listener)
            delivery = Delivery(setup, self._plan, self._folder, self._checkpoints, self._listener, training)
            with self._timed("retraining"):
                delivered = delivery.deliver(finalists, self._elapsed)
        finally:
            store.close()
        return self._finish(evaluations, finalists, delivered, delivery, cost_of(training, evaluations))

    def restore(self, result: SearchResult) -> None:
        """Write the delivered files of a finished search again; what `result.json` says stays."""
        assert result.best is not None, "where nothing was delivered nothing is missing"
        strategy = self._setup.strategy
        inherits = isinstance(strategy, WeightSharing) and not getattr(strategy, "retrain", True)
        training = self._train_shared() if inherits else None
        delivery = Delivery(self._setup, self._plan, self._folder, self._checkpoints, self._listener, training)
        delivery.restore(result.best, self._elapsed)

    def _open_store(self) -> StudyStore:
        setup, settings = self._setup, self._setup.settings
        directions = directions_of(setup.problem.objectives)
        return open_store(
            self._folder,
            settings.storage,
            setup.space,
            directions,
            wait=settings.storage_wait,
            note=self._listener.note,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._seconds[part] = round(time.monotonic() - begun, 3)

    def _train_shared(self) -> SharedTraining:
        training = make_shared_training(self._setup, self._plan)
        state = self._checkpoints.load("training")
        if state is not None:
            training.load_state(state)
        self._begun -= training.elapsed
        if not training.done:
            with self._timed("shared_training"):
                train_shared(
                    self._setup, self._plan, training, self._folder.path, self._listener, self._checkpoints.save
                )
        self._seconds["shared_training"] = round(training.elapsed, 3)
        self._say_cut("shared weights were trained {made:g} of {planned:g} epochs", *training.epochs())
        return training

    def _evaluate(self, training: SharedTraining | None, store: StudyStore) -> list[Evaluation]:
        setup, plan = self._setup, self._plan
        slots = at_a_time(setup)
        least = 1 if setup.settings.distributed else slots
        asking = Asking(setup.strategy, setup.space, setup.settings.seed, slots, plan.evaluations, least)
        stored = store.load()
        snapshot = self._checkpoints.load("asking")
        if snapshot is not None and snapshot["told"] <= len(stored):
            asking.restore(snapshot)
        asking.replay(stored)
        self._begun -= sum(each.seconds for each in stored) / setup.settings.workers
        if stored:
            self._listener.restored(stored)
        self._listener.stage("evaluating", plan.evaluations)
        best = Best(setup.problem, stored)

        def observe(evaluation: Evaluation) -> None:
            store.append(evaluation)
            stored.append(evaluation)
            self._listener.progress(len(stored), best.hear(evaluation))
            self._listener.evaluated(evaluation)
            self._listener.figures("evaluations", evaluation.number, evaluation.metrics)
            if len(stored) % SNAPSHOT_EVERY == 0:
                state = asking.snapshot()
                if state is not None:
                    self._checkpoints.save("asking", state)

        def keep_going() -> bool:
            return plan.evaluated_by is None or self._elapsed() < plan.evaluated_by or not stored

        with self._timed("evaluating"):
            executor = executor_of(setup, measure_function(setup, plan, training), self._listener.note)
            with contextlib.closing(Remembering(executor, setup, stored)) as remembering:
                drive(asking, remembering, observe, keep_going)
        if not keep_going():
            self._say_cut("{made:g} of {planned:g} architectures were evaluated", len(stored), plan.evaluations or 0)
        return stored

    def _say_cut(self, sentence: str, made: float, planned: float) -> None:
        """Note what the clock has cut short, for the log and as a warning of the result."""
        if made < planned:
            said = sentence.format(made=float(f"{made:.3g}"), planned=float(f"{planned:.3g}"))
            self._cut.append(f"{said}: the time ran out; a larger --budget, or one without a clock, gives more.")
            self._listener.note(self._cut[-1])

    def _finish(
        self,
        evaluations: list[Evaluation],
        finalists: list[Finalist],
        delivered: Finalist | None,
        delivery: Delivery,
        cost: Mapping[str, Any],
    ) -> SearchResult:
        if delivered is not None:
            with self._timed("testing"):
                delivery.test(delivered)
        self._seconds["total"] = round(self._elapsed(), 3)
        if delivered is not None:
            self._say_cut("the network was trained {made:g} of {planned:g} epochs", *delivery.epochs(delivered))
        strategy = self._setup.strategy
        warnings = strategy.warnings() if isinstance(strategy, WeightSharing) else []
        warnings += self._warnings(delivered)
        for warning in warnings:
            self._listener.note(f"warning: {warning}")
        warnings += self._cut
        document = result_document(
            self._setup, self._plan, evaluations, finalists, delivered, self._seconds, warnings, cost
        )
        for each in document["winners"]:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in each["metrics"].items())
            self._listener.note(f"best of {each['best_of']}: {each['id']}, {figures}")
        write_result(self._folder.path, document)
        if self._write_report is not None:
            self._write_report(self._folder.path)
        result = SearchResult.read(self._folder.path)
        self._listener.finished(result)
        return result

    def _warnings(self, delivered: Finalist | None) -> list[str]:
        """Return what a reader must know; of accuracies looked up in a table nothing is known."""
        if delivered is None:
            return []
        left = delivered.float_convolutions or ()
        warnings = [f"{len(left)} convolutions of {INT8_FILE} run in float: {'; '.join(left)}."] if left else []
        if self._setup.table is not None and delivered.weights != RETRAINED:
            return warnings
        warning = chance_warning(delivered.metrics.get("accuracy_valid"), self._setup.source)
        return warnings if warning is None else [*warnings, warning]
