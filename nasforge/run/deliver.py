"""Delivering the winner: train it, write its files, measure the file that is delivered, test it once."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, final

from torch import nn

from nasforge.build import build_network
from nasforge.evaluate import SharedEvaluator
from nasforge.evaluate.quantised import run_onnx
from nasforge.rng import integer_seed
from nasforge.run.artifact import FILE as ARCHITECTURE_FILE
from nasforge.run.atomic import write_json
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.evaluating import augmented, judge_of
from nasforge.run.export import export_int8, export_network
from nasforge.run.finalists import MEASURED_FLOAT, Finalist, record_measurement
from nasforge.run.folder import RunFolder
from nasforge.run.interrupt import Interruption
from nasforge.run.load import FILE as MODEL_FILE
from nasforge.run.load import save_model
from nasforge.run.plan import Plan, training_config
from nasforge.run.progress import Listener
from nasforge.run.setup import INHERITED, Setup
from nasforge.run.shared_training import CHECKPOINT_SECONDS, SharedTraining
from nasforge.run.timing import fitting_epochs
from nasforge.run.training import hear
from nasforge.strategy import Evaluation, WeightSharing
from nasforge.training import Training, evaluate

if TYPE_CHECKING:
    from nasforge.space import Architecture

ONNX_FILE: Final = "model.onnx"
INT8_FILE: Final = "model.int8.onnx"
RETRAINED: Final = "retrained from scratch"


@final
class Delivery:
    """The last part of a search."""

    def __init__(
        self,
        setup: Setup,
        plan: Plan,
        folder: RunFolder,
        checkpoints: Checkpoints,
        listener: Listener,
        training: SharedTraining | None,
    ) -> None:
        """Take what the search has."""
        self._setup, self._plan, self._folder = setup, plan, folder
        self._checkpoints, self._listener, self._training = checkpoints, listener, training
        self._limit = setup.settings.limits.latency_ms
        self._modules: dict[int, nn.Module] = {}
        self._epochs: dict[str, float] = {}

    def deliver(self, finalists: Sequence[Finalist], elapsed: Callable[[], float]) -> Finalist | None:
        """Write the files of the first finalist whose delivered file is within the limit as measured.

        Finalists beyond the limit are not trained; where none is within, the fastest is delivered, and misses it.
        Where nothing gives weights (`retrain` is off), the architecture alone is delivered.

        Returns:
            The one whose files are in the folder; None where there is no finalist.
        """
        if self._retrains and not self._setup.settings.retrain:
            return self._architecture_alone(finalists)
        within = [each for each in finalists if each.within(self._limit)]
        if not within:
            within = sorted(finalists, key=lambda each: each.metrics["latency_ms"])[:1]
        delivered: Finalist | None = None
        for begin in range(0, len(within), self._plan.retrained):
            batch = within[begin : begin + self._plan.retrained]
            for place, finalist in enumerate(batch):
                self._give_weights(finalist, elapsed, share=1.0 / (len(batch) - place))
            loss = self._setup.final_objective.loss
            for finalist in sorted(batch, key=lambda each: loss(each.metrics)):
                self._write(finalist)
                self._measure(finalist)
                delivered = finalist
                if finalist.within(self._limit):
                    return finalist
        return delivered

    def restore(self, best: Mapping[str, Any], elapsed: Callable[[], float]) -> None:
        """Write the files of the delivered network again, from its checkpoint; without one it is trained again.

        Args:
            best: as in `result.json`.
            elapsed: seconds since the run began.
        """
        evaluation = Evaluation(-1, self._setup.space.from_json(best["architecture"]), {})
        finalist = Finalist(evaluation, {}, str(best["provenance"].get("weights")))
        if self._retrains and not self._setup.settings.retrain:
            self._write_architecture(finalist)
            return
        self._give_weights(finalist, elapsed, share=1.0)
        self._write(finalist)
        metric = "accuracy_valid"
        before, now = best["metrics"].get(metric), finalist.metrics.get(metric)
        if before != now:
            self._listener.note(f"the weights are not those of before: {metric} is {now:.4g}, and was {before:.4g}.")

    def _write_architecture(self, finalist: Finalist) -> None:
        artifact = self._setup.artifact(finalist.evaluation.architecture)
        write_json(self._folder.file(ARCHITECTURE_FILE), artifact.to_json())

    @property
    def _retrains(self) -> bool:
        return bool(getattr(self._setup.strategy, "retrain", True))

    def _architecture_alone(self, finalists: Sequence[Finalist]) -> Finalist | None:
        within = [each for each in finalists if each.within(self._limit)]
        for finalist in within or sorted(finalists, key=lambda each: each.metrics["latency_ms"]):
            self._write_architecture(finalist)
            where = shlex.quote(str(self._folder.path))
            self._listener.note(f"nothing was trained, as asked; train it by: nasforge train {where}")
            return finalist
        return None

    def _give_weights(self, finalist: Finalist, elapsed: Callable[[], float], share: float) -> None:
        architecture = finalist.evaluation.architecture
        if self._retrains:
            module = self._retrained(architecture, elapsed, share)
            finalist.weights = RETRAINED
        else:
            assert self._training is not None, "only strategies with shared weights do without retraining"
            setup = self._setup
            assert isinstance(setup.strategy, WeightSharing)
            supernet: Any = self._training.modules[setup.strategy.holders(architecture)[0]]
            evaluator = SharedEvaluator(supernet, setup.task, setup.source, augment=augmented(setup))
            module = evaluator.network(architecture)
            finalist.weights = INHERITED
        self._modules[id(finalist)] = module.eval()
        found = evaluate(module, self._setup.source, self._setup.task, "valid")
        judge = judge_of(self._setup)
        found = {f"{name}_valid": value for name, value in found.items()} | (judge(module) if judge else {})
        rated = {"accuracy_valid", self._setup.problem.objectives[0].metric} & finalist.metrics.keys() & found.keys()
        if finalist.weights == RETRAINED:
            finalist.metrics.update({f"{name}_in_search": finalist.metrics[name] for name in sorted(rated)})
        finalist.metrics.update(found)

    def _retrained(self, architecture: Architecture, elapsed: Callable[[], float], share: float) -> nn.Module:
        setup, seed = self._setup, self._setup.settings.seed
        kind = f"retrained-{setup.space.network_id(architecture)}"
        module: nn.Module = build_network(setup.space.lower(architecture), seed=integer_seed(seed, "retrain"))
        kept = self._checkpoints.load(kind)
        config = training_config(setup.settings.training, self._plan.retrain_epochs)
        if kept is not None:
            config = dataclasses.replace(config, epochs=kept["epochs"])
        elif self._plan.ends_by is not None:
            left = max(1.0, self._plan.ends_by - elapsed()) * share
            epochs = fitting_epochs(module, setup.source, setup.task, config, left, setup.teacher)
            config = dataclasses.replace(config, epochs=epochs)
        self._epochs[setup.space.network_id(architecture)] = config.epochs
        training = Training(module, setup.source, setup.task, config, seed, teacher=setup.teacher)
        if kept is not None:
            training.load_state(kept["training"])
        if training.step < training.total:
            self._listener.stage("retraining", 1.0)
            self._train(training, kind, config.epochs)
        return module

    def _train(self, training: Training, kind: str, epochs: float) -> None:
        """Train to the end, with a checkpoint now and then, at the end, and before an interruption is obeyed."""
        listen = hear(self._listener, training.step, kind.replace("retrained-", "retraining/"))
        with Interruption() as interruption:
            while training.step < training.total:
                begun = time.monotonic()

                def on_step(done: float, figures: Mapping[str, float], begun: float = begun) -> bool:
                    listen(done, figures)
                    return interruption.asked or time.monotonic() - begun > CHECKPOINT_SECONDS

                training.run(on_step=on_step)
                self._checkpoints.save(kind, {"training": training.state(), "epochs": epochs})
                interruption.obey()

    def epochs(self, finalist: Finalist) -> tuple[float, float]:
        """Return how many epochs a finalist was trained again, and how many were planned; equal where it was not."""
        planned = self._plan.retrain_epochs
        return self._epochs.get(self._setup.space.network_id(finalist.evaluation.architecture), planned), planned

    def _write(self, finalist: Finalist) -> None:
        setup, module = self._setup, self._modules[id(finalist)]
        artifact = setup.artifact(finalist.evaluation.architecture)
        save_model(self._folder.file(MODEL_FILE), module, artifact, setup.source.classes, setup.source.preprocessing)
        export_network(module, artifact, setup.source, self._folder.file(ONNX_FILE))
        if setup.target.precision == "int8":
            made = export_int8(self._folder.file(ONNX_FILE), self._folder.file(INT8_FILE), setup.source)
            finalist.float_convolutions = made.float_convolutions
            self._listener.note(f"{INT8_FILE}: {made.sentence}.")
        self._write_architecture(finalist)

    def _measure(self, finalist: Finalist) -> None:
        if self._setup.target.available() is not None:
            return
        target, float_file = self._setup.target, self._folder.file(ONNX_FILE)
        if target.precision != "int8":
            record_measurement(finalist, target.measure(float_file))
            return
        rounded, exact = target.measure_beside(self._folder.file(INT8_FILE), float_file)
        record_measurement(finalist, rounded)
        if exact is not None:
            finalist.metrics[MEASURED_FLOAT] = exact.latency_ms
            finalist.measurement_float32 = exact.to_json()

    def test(self, finalist: Finalist) -> None:
        """Open the test split: the only place where a search does, when everything is decided."""
        if id(finalist) not in self._modules:
            return
        setup = self._setup
        source = setup.open_source
        found = evaluate(self._modules[id(finalist)], source, setup.task, "test")
        finalist.metrics.update(found)
        if setup.target.precision == "int8":
            network = run_onnx(self._folder.file(INT8_FILE))
            finalist.metrics["accuracy_int8"] = evaluate(network, source, setup.task, "test")["accuracy"]
