"""Shared weights trained by Ray Train end as one process trains them, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import torch.distributed as dist
from ray import cloudpickle

import nasforge
from nasforge.errors import DivergedError, EvaluationError, UsageError
from nasforge.ops import Conv, GlobalPool, Linear, Zero, residual
from nasforge.run.plan import Plan, make_plan
from nasforge.run.progress import Listener, Silent
from nasforge.run.ray_train import checkpoints_of, train_on_ray
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, Setup, set_up
from nasforge.run.shared_training import SharedTraining, make_shared_training
from nasforge.space import Input, SearchSpace, choice, one_of
from nasforge.tasks.classification import Classification
from nasforge.testing.target import MemoryTarget

pytestmark = [pytest.mark.plugins, pytest.mark.slow]

OPTIONS = {
    "bignas": {"lr": 0.02, "children": 1},
    "proxyless": {"lr": 0.02, "arch_lr": 0.01, "warmup": 0.25, "arch_every": 2, "mode": "full"},
}
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()


def plain_space(strategy: str) -> SearchSpace:
    """Declare a space without normalisation, in which parts of a batch do not see each other."""
    if strategy == "bignas":
        x = Conv(choice(4, 8, name="width"), choice(1, 3, name="kernel"), norm=False)(Input(3, 8, 8), name="stem")
    else:
        x = Conv(6, 3, norm=False)(Input(3, 8, 8), name="stem")
        options = [Conv(6, kernel, norm=False)(x, name=f"k{kernel}") for kernel in (1, 3)]
        x = residual(one_of([*options, Zero()(x, name="zero")], name="block"), x, name="sum")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x), name="classifier")}, name="plain")


def world(
    strategy: str = "bignas", epochs: int = 4, task: Any = None, **engine: Any
) -> tuple[Setup, Plan, SharedTraining]:
    given = {
        "strategy": {"name": strategy, **OPTIONS[strategy]},
        "budget": f"{epochs}-epochs",
        "data_options": {"limit": 200},
        "training": {"batch_size": 16},
        "workers": 2,
        "engine": {"train_workers": 2, **engine},
    }
    settings = Settings.read(given)
    setup = set_up(settings, Given(space=plain_space(strategy), target=MemoryTarget(), task=task), Silent())
    images = len(setup.source.split("train").labels)
    plan = make_plan(settings.budget, settings.training, images, shares_weights=True, retrains=False)
    return setup, plan, make_shared_training(setup, plan)


class Heard(Listener):
    """Keeps what was heard, and does something when so many steps were heard."""

    def __init__(self, at: int = -1, do: Any = None) -> None:
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.stages: list[str] = []
        self._at, self._do = at, do

    def stage(self, name: str, total: float | None) -> None:
        self.stages.append(name)

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        assert part == "shared_training"
        assert values["loss"] > 0
        self.steps.append(step)
        if self._do is not None and step >= self._at:
            do, self._do = self._do, None
            do()

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def beginnings(self) -> list[tuple[int, int]]:
        """Return workers and first step of every time the training was begun or gone on with."""
        found = [re.search(r"trained by (\d+) workers? from step (\d+) on", note) for note in self.notes]
        return [(int(match[1]), int(match[2])) for match in found if match]


def trained(world: tuple[Setup, Plan, SharedTraining], folder: Path, heard: Heard, every: float = 20.0) -> Any:
    setup, plan, training = world
    saved: list[Any] = []
    train_on_ray(setup, plan, training, folder / "ray_train", heard, lambda kind, state: saved.append(kind), every)
    assert saved == ["training"]
    assert training.done
    return training.state()


def by_one(strategy: str = "bignas", **given: Any) -> Any:
    _, _, training = world(strategy, **given)
    training.run(Silent(), lambda kind, state: None)
    return training.state()


def assert_same_weights(first: Any, second: Any) -> None:
    assert first["place"][:3] == second["place"][:3]
    assert first["batches"] == second["batches"]
    for name, module in first["modules"].items():
        for key, tensor in module.items():
            torch.testing.assert_close(tensor, second["modules"][name][key], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("strategy", ["bignas", "proxyless"])
def test_two_workers_end_with_the_weights_of_one(strategy: str, cluster: None, tmp_path: Path) -> None:
    """Checkpoints go through a file system object that only fsspec knows."""
    heard = Heard()
    state = trained(world(strategy, checkpoints=f"dir::file://{tmp_path}/kept"), tmp_path, heard)
    whole = by_one(strategy)
    assert_same_weights(state, whole)
    assert heard.steps == list(range(whole["place"][2]))
    assert heard.beginnings() == [(2, 0)]
    assert heard.stages == (["train"] if strategy == "bignas" else ["warmup", "search"])
    kept = list((tmp_path / "kept").rglob("*.safetensors"))
    assert 1 <= len(kept) <= 2
    assert not list(tmp_path.rglob("*.pkl"))


def descendants(word: str) -> list[int]:
    """Return the processes below this one whose command has a word."""
    parents, commands = {}, {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(path.name)] = (path / "cmdline").read_text()
            except (OSError, ValueError):
                continue

    def is_below(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == os.getpid():
                return True
        return False

    return [process for process in commands if word in commands[process] and is_below(process)]


def kill_one_worker() -> None:
    workers = descendants("RayTrainWorker")
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)


def test_a_worker_killed_in_the_middle_costs_no_step(cluster: None, tmp_path: Path) -> None:
    heard = Heard(100, kill_one_worker)
    given = {"epochs": 60, "checkpoints": f"file://{tmp_path}/kept"}
    state = trained(world(task=Slow(), **given), tmp_path, heard, every=0.1)
    assert_same_weights(state, by_one(**given))
    (first, again) = heard.beginnings()
    assert first == (2, 0)
    assert again[0] == 2
    assert 0 < again[1] < state["place"][2]
    assert set(heard.steps) == set(range(state["place"][2]))


class Slow(Classification):  # type: ignore[misc]  # final for all but this test
    """A task whose steps take long enough for somebody to come between."""

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        time.sleep(0.01)
        return super().loss(outputs, targets, smoothing)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_leaves_a_checkpoint_from_which_fewer_workers_go_on(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(world(epochs=60, task=Slow()), tmp_path, Heard(20, interrupt))
    heard = Heard()
    state = trained(world(epochs=60, train_workers=1), tmp_path, heard)
    ((workers, begun),) = heard.beginnings()
    assert workers == 1
    assert 20 < begun < state["place"][2]
    assert_same_weights(state, by_one(epochs=60))


class NotANumber(Classification):  # type: ignore[misc]  # final for all but this test
    """A task that goes wrong on the second worker alone."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.error, self.calls = error, 0

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        self.calls += 1
        wrong = dist.is_initialized() and dist.get_rank() == 1 and self.calls > 3
        if wrong and self.error is not None:
            raise self.error("nothing is right")
        return super().loss(outputs, targets, smoothing) * (float("nan") if wrong else 1.0)


def test_a_loss_that_is_nan_on_one_worker_is_one_sentence(cluster: None, tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(DivergedError, match=r"the loss is nan in step 3 of phase 'train'; lower the learning rate"):
        trained(world(task=NotANumber()), tmp_path, heard)
    assert heard.beginnings() == [(2, 0)]


def test_what_goes_wrong_on_one_worker_is_told_and_not_tried_again(cluster: None, tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(EvaluationError, match=r"worker 1 of .* failed \(ZeroDivisionError: nothing is right\)"):
        trained(world(task=NotANumber(ZeroDivisionError)), tmp_path, heard)
    assert heard.beginnings() == [(2, 0)]


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
import test_ray_train as tests
from pathlib import Path
tests.trained(tests.world(epochs=60, task=tests.Slow()), Path({folder!r}), tests.Heard(), every=0.1)
"""


def test_a_driver_killed_and_started_again_goes_on_from_the_newest_checkpoint(cluster: None, tmp_path: Path) -> None:
    script = DRIVER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while len(list(tmp_path.glob("ray_train/*/step-*/*.safetensors"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    heard = Heard()
    state = trained(world(epochs=60), tmp_path, heard)
    ((workers, begun),) = heard.beginnings()
    assert workers == 2
    assert 0 < begun < state["place"][2]
    assert heard.steps == list(range(begun, state["place"][2]))
    assert_same_weights(state, by_one(epochs=60))


@pytest.mark.parametrize("strategy", ["bignas", "proxyless"])
def test_a_search_with_two_workers_trains_delivers_and_reports(strategy: str, cluster: None, tmp_path: Path) -> None:
    result = nasforge.search(
        space="mbconv_elastic" if strategy == "bignas" else "mbconv",
        strategy={"name": strategy, **({"coarse": 2, "fine": 2} if strategy == "bignas" else {"finalists": 2})},
        target=MemoryTarget(),
        data="digits",
        data_options={"limit": 240},
        budget="1-epochs",
        training={"epochs": 1, "batch_size": 48},
        workers=2,
        out=tmp_path / "run",
    )
    assert result.best is not None
    assert "shared weights are trained by 2 workers from step 0 on." in (tmp_path / "run" / "log.txt").read_text()
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["seconds"]["shared_training"] > 0
    assert (tmp_path / "run" / "model.onnx").exists()
    assert list((tmp_path / "run" / "checkpoints").glob("training-*.safetensors"))


def test_different_paths_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    setup, plan, training = world("proxyless", paths="different")
    with pytest.raises(UsageError, match="strategy 'proxyless' needs all workers on the same path"):
        train_on_ray(setup, plan, training, tmp_path, Silent(), lambda kind, state: None)
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_training_is_its_own_and_stays(tmp_path: Path) -> None:
    setup, _, _ = world(checkpoints=f"file://{tmp_path}/kept")
    engine = setup.settings.engine
    first, again = (checkpoints_of(engine, tmp_path / "a" / "ray_train") for _ in range(2))
    other = checkpoints_of(engine, tmp_path / "b" / "a" / "ray_train")
    assert first.path == again.path
    assert first.path != other.path
