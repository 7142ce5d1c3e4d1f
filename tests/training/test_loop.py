"""Training follows its schedule, counts what it costs, repeats bit for bit and disturbs nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nasforge.errors import DivergedError, SplitError, UsageError
from nasforge.tasks import DataSource, Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import TrainConfig, Training, evaluate, make_sgd, train
from nasforge.training.schedule import constant_ending, warmup_cosine

TASK = Classification()
CONFIG = TrainConfig(epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=200)


def network(seed: int = 0, dropout: float = 0.2) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(),
            nn.Linear(8 * 36, 10),
        )  # fmt: skip


def digest(module: nn.Module) -> str:
    state = module.state_dict()
    return hashlib.sha256(b"".join(state[name].contiguous().numpy().tobytes() for name in sorted(state))).hexdigest()


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def trained_digest() -> str:
    module = network()
    train(module, load(limit=200), TASK, dataclasses.replace(CONFIG, cutout=2, label_smoothing=0.1), seed=4)
    return digest(module)


def test_training_learns(source: DataSource) -> None:
    module = network(dropout=0.0)
    before = evaluate(module, source, TASK, "valid")
    train(module, source, TASK, dataclasses.replace(CONFIG, epochs=12))
    after = evaluate(module, source, TASK, "valid")
    assert after["accuracy"] > 0.7 > 0.3 > before["accuracy"]
    assert after["nll"] < before["nll"]


def test_the_same_seed_gives_the_same_weights_in_another_process() -> None:
    code = f"import sys, runpy; found = runpy.run_path({__file__!r}); sys.stdout.write(found['trained_digest']())"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert other.stdout == trained_digest()


@pytest.mark.parametrize("stops", [[1], [3, 5], [5, 10]])
def test_a_training_stopped_and_loaded_into_new_objects_ends_in_the_same_weights(
    source: DataSource, stops: list[int]
) -> None:
    whole = network()
    train(whole, source, TASK, CONFIG, seed=4)
    state = None
    for seed, stop in enumerate([*stops, None]):
        training = Training(network(seed), source, TASK, CONFIG, seed=4)
        if state is not None:
            training.load_state(state)
        training.run(stop)
        buffer = io.BytesIO()
        torch.save(training.state(), buffer)
        state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    assert training.step == training.total == 10
    assert digest(training.module) == digest(whole)


def test_another_seed_gives_other_weights(source: DataSource) -> None:
    first, second = network(), network()
    train(first, source, TASK, CONFIG, seed=1)
    train(second, source, TASK, CONFIG, seed=2)
    assert digest(first) != digest(second)


def test_training_and_judging_leave_every_global_generator_alone(source: DataSource) -> None:
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global state is what is looked at
    random.seed(11)
    torch_state, python_state = torch.random.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    module = network()
    train(module, source, TASK, CONFIG)
    evaluate(module, source, TASK)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]  # noqa: NPY002


def test_training_does_not_depend_on_the_global_generator(source: DataSource) -> None:
    digests = set()
    for seed in (1, 2):
        module = network()
        torch.manual_seed(seed)
        train(module, source, TASK, CONFIG)
        digests.add(digest(module))
    assert len(digests) == 1


def test_a_report_counts_steps_and_passes_of_images(source: DataSource) -> None:
    report = train(network(), source, TASK, CONFIG)
    assert (report.steps, report.images, report.stopped) == (10, 320, False)
    assert report.seconds > 0
    assert math.isfinite(report.loss)
    small = train(network(), source, TASK, dataclasses.replace(CONFIG, epochs=0.01))
    assert (small.steps, small.images) == (1, 32)


def test_a_single_step_changes_the_weights(source: DataSource) -> None:
    module = network()
    before = digest(module)
    train(module, source, TASK, dataclasses.replace(CONFIG, epochs=0.01))
    assert digest(module) != before


def test_a_hook_hears_every_step_and_may_stop(source: DataSource) -> None:
    heard: list[float] = []

    def on_step(done: float, figures) -> bool | None:
        assert math.isfinite(figures["loss"])
        heard.append(done)
        return len(heard) == 3

    report = train(network(), source, TASK, CONFIG, on_step=on_step)
    assert heard == pytest.approx([0.1, 0.2, 0.3])
    assert (report.steps, report.stopped) == (3, True)
    heard.clear()
    assert train(network(), source, TASK, CONFIG, on_step=lambda done, _: heard.append(done)).stopped is False
    assert heard[-1] == 1.0
    assert train(network(), source, TASK, CONFIG, on_step=lambda done, _: done == 1.0).stopped is False


def test_batches_stopped_early_are_those_of_a_whole_training(source: DataSource) -> None:
    losses: dict[str, list[float]] = {"whole": [], "cut": []}
    train(network(), source, TASK, CONFIG, on_step=lambda _, f: losses["whole"].append(f["loss"]))
    train(
        network(), source, TASK, CONFIG, on_step=lambda _, f: losses["cut"].append(f["loss"]) or len(losses["cut"]) == 4
    )
    assert losses["cut"] == losses["whole"][:4]


class Rates(torch.optim.SGD):
    """Notes the learning rate of every step."""

    seen: list[float]

    def step(self, closure=None):
        self.seen.append(self.param_groups[0]["lr"])
        assert len({group["lr"] for group in self.param_groups}) == 1
        return super().step(closure)


def test_the_learning_rate_rises_then_falls_as_a_cosine(source: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def make(module: nn.Module, config: TrainConfig) -> Rates:
        optimiser = Rates(make_sgd(module, config).param_groups, config.lr)
        optimiser.seen = seen
        return optimiser

    monkeypatch.setattr("nasforge.training.loop.make_sgd", make)
    train(network(), source, TASK, TrainConfig(epochs=8, batch_size=32, lr=0.2, warmup=0.25))
    assert len(seen) == 40
    assert seen[:10] == pytest.approx([0.2 * (n + 0.5) / 10 for n in range(10)])
    assert seen[10:] == pytest.approx([0.1 * (1 + math.cos(math.pi * (n + 0.5) / 30)) for n in range(30)])
    assert all(rate > 0 for rate in seen)


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_schedules_stay_between_zero_and_the_peak(progress: float, warmup: float) -> None:
    assert 0 <= warmup_cosine(progress, warmup) <= 1
    assert 0 <= constant_ending(progress, warmup) <= 1


def test_the_cosine_meets_its_known_values() -> None:
    known = {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.4: (1 + math.sqrt(0.5)) / 2, 0.6: 0.5, 1.0: 0.0}
    for progress, value in known.items():
        assert warmup_cosine(progress, 0.2) == pytest.approx(value, abs=1e-12)
    assert warmup_cosine(0.0, 0.0) == 1.0


def test_the_constant_ending_falls_exponentially_to_its_floor_and_stays() -> None:
    assert constant_ending(0.025, warmup=0.05) == pytest.approx(0.5)
    assert constant_ending(0.05, warmup=0.05) == 1.0
    assert constant_ending(0.15, warmup=0.05, decay=6.0) == pytest.approx(math.exp(-0.6))
    assert [constant_ending(p, floor=0.05) for p in (0.7, 0.9, 1.0)] == [0.05] * 3
    falling = [constant_ending(p / 100) for p in range(5, 101)]
    assert falling == sorted(falling, reverse=True)


class Poisoned(nn.Module):
    """Gives finite outputs until a step, then NaN."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.inner, self.at, self.calls = network(), at, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.inner(x) * (math.nan if self.calls > self.at else 1.0)


def test_a_loss_that_is_no_number_ends_the_training_in_one_sentence(source: DataSource) -> None:
    with pytest.raises(DivergedError) as caught:
        train(Poisoned(3), source, TASK, CONFIG)
    assert "nan in step 3 of 10" in str(caught.value)
    assert "learning rate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_those_before_the_step_that_diverged(source: DataSource) -> None:
    module, kept = Poisoned(3), []
    with pytest.raises(DivergedError):
        train(module, source, TASK, CONFIG, on_step=lambda *_: kept.append(weights(module)) or None)
    assert len(kept) == 3
    assert torch.equal(weights(module), kept[-1])
    assert not torch.equal(kept[0], kept[1])


def test_a_learning_rate_that_is_far_too_high_diverges_with_an_error(source: DataSource) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train(plain, source, TASK, TrainConfig(epochs=10, batch_size=32, lr=1e6, clip=0.0))


class RootOfZero(nn.Module):
    """A finite output with an infinite gradient: the square root at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10, 192))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1).square() @ self.weight.square().t()).sqrt()


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(source: DataSource) -> None:
    module = RootOfZero()
    with pytest.raises(DivergedError, match="gradient"):
        train(module, source, TASK, CONFIG)
    assert torch.equal(module.weight, torch.zeros(10, 192))


def test_gradients_are_clipped_to_the_norm(source: DataSource) -> None:
    before = network(dropout=0.0)
    state = {name: value.detach().clone() for name, value in before.named_parameters()}
    config = TrainConfig(epochs=0.01, lr=1.0, momentum=0.0, weight_decay=0.0, warmup=0.0, clip=0.01)
    train(before, source, TASK, config)
    moved = torch.cat([(value.detach() - state[name]).flatten() for name, value in before.named_parameters()])
    rate = warmup_cosine(0.5, 0.0)
    assert float(moved.norm()) == pytest.approx(0.01 * rate, rel=1e-3)
    free = network(dropout=0.0)
    train(free, source, TASK, dataclasses.replace(config, clip=0.0))
    wild = torch.cat([(value.detach() - state[name]).flatten() for name, value in free.named_parameters()])
    assert float(wild.norm()) > 5 * float(moved.norm())
    assert float(nn.functional.cosine_similarity(moved, wild, dim=0)) == pytest.approx(1.0, abs=1e-4)


def test_norms_and_biases_are_not_decayed() -> None:
    module = network()
    groups = make_sgd(module, TrainConfig(weight_decay=0.3)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    names = {name: decay[id(p)] for name, p in module.named_parameters()}
    assert names == {"0.weight": 0.3, "1.weight": 0.0, "1.bias": 0.0, "5.weight": 0.3, "5.bias": 0.0}
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in groups)
    assert make_sgd(nn.BatchNorm2d(3), TrainConfig(momentum=0.0)).param_groups[0]["nesterov"] is False


def test_a_loss_of_ones_own_takes_the_place_of_the_tasks(source: DataSource) -> None:
    seen = []

    def own(images: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append((images.shape, outputs.shape, targets.shape))
        return outputs.square().mean() + 3.0

    report = train(network(), source, TASK, CONFIG, loss=own)
    assert report.loss > 3.0
    assert seen[0] == ((32, 3, 8, 8), (32, 10), (32,))


def test_a_sealed_source_trains_and_refuses_to_be_tested(source: DataSource) -> None:
    train(network(), source.sealed(), TASK, CONFIG)
    with pytest.raises(SplitError):
        evaluate(network(), source.sealed(), TASK, "test")


@pytest.mark.parametrize(
    "field",
    [
        {"epochs": 0}, {"epochs": math.nan}, {"epochs": math.inf}, {"batch_size": 0}, {"lr": -1.0}, {"momentum": 1.0},
        {"warmup": -0.1}, {"label_smoothing": 1.0}, {"weight_decay": -1e-4}, {"cutout": -1}, {"clip": math.nan},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(field: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=rf"training\.{next(iter(field))} was given"):
        TrainConfig(**field)  # type: ignore[arg-type]


# Judging


def test_metrics_are_exact_means_over_images_for_every_batch_size(source: DataSource) -> None:
    module = network()
    split = source.split("valid")
    with torch.no_grad():
        logits = module.eval()(source.preprocessing.normalise(split.images))
    accuracy = float((logits.argmax(1) == split.labels).double().mean())
    nll = float(nn.functional.cross_entropy(logits.double(), split.labels))
    for batch_size in (1, 7, 13, len(split), 1000):
        found = evaluate(module, source, TASK, "valid", batch_size)
        assert found["accuracy"] == pytest.approx(accuracy, abs=1e-7)
        assert found["nll"] == pytest.approx(nll, abs=1e-5)


@pytest.mark.parametrize("limit", [1, 7, 13, 10_000])
def test_a_limit_judges_on_exactly_so_many_images(source: DataSource, limit: int) -> None:
    seen: list[int] = []
    with torch.no_grad():
        expected = evaluate(nn.Flatten(), source, Counting(seen), "valid", 5, limit)  # type: ignore[arg-type]
    count = min(limit, len(source.split("valid")))
    assert sum(seen) == count
    assert expected["label"] == pytest.approx(float(source.split("valid").labels[:count].double().mean()))


class Counting:
    name = "counting"

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def loss(self, outputs, targets, smoothing=0.0):
        raise AssertionError

    def metrics(self, outputs, targets):
        assert len(outputs) == len(targets)
        self.seen.append(len(targets))
        return {"label": float(targets.double().mean())}


def test_judging_uses_evaluation_mode_and_restores_the_mode_of_every_part(source: DataSource) -> None:
    module = network(dropout=0.9).train()
    module[1].eval()
    state = digest(module)
    first, second = (evaluate(module, source, TASK) for _ in range(2))
    assert first == second
    assert digest(module) == state
    assert [part.training for part in module] == [True, False, True, True, True, True]
    assert module.training


def test_the_mode_is_restored_after_an_error_too(source: DataSource) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        evaluate(module, source, TASK)
    assert module[1].training


def test_a_plain_function_can_be_judged(source: DataSource) -> None:
    found = evaluate(lambda images: torch.zeros(len(images), 10), source, TASK)
    assert found["nll"] == pytest.approx(math.log(10), abs=1e-6)
    share = float((source.split("valid").labels == 0).double().mean())
    assert found["accuracy"] == pytest.approx(share, abs=1e-7)


def test_judging_makes_no_graph(source: DataSource) -> None:
    seen = []

    class Peek(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_grad_enabled())
            return torch.zeros(len(x), 10)

    evaluate(Peek(), source, TASK)
    assert seen
    assert not any(seen)


def test_training_images_are_those_of_the_train_split_alone(source: DataSource) -> None:
    seen: list[torch.Tensor] = []
    config = dataclasses.replace(CONFIG, augment=False, epochs=1)

    def own(images: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.extend(images.detach())
        return TASK.loss(outputs, targets)

    train(network(), source, TASK, config, loss=own)
    known = {image.contiguous().numpy().tobytes() for images, _ in Loader(source, "train", 64) for image in images}
    assert {image.contiguous().numpy().tobytes() for image in seen} <= known
    assert len(seen) == 160
