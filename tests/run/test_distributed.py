"""Several processes that train as one do what one process does with the whole batch, and stay equal to the last bit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasforge.errors import UsageError
from nasforge.run.distributed import check_paths_differ, number_of_workers
from nasforge.run.engine import Engine
from nasforge.run.options import make_strategy
from nasforge.run.progress import Silent
from nasforge.run.team import Alone
from nasforge.testing.shared_weights import differences

pytestmark = pytest.mark.plugins

SCRIPT = Path(__file__).with_name("rank_script.py")
TWO = [
    "bignas", "bignas_rmsprop", "bignas_resized", "bignas_different", "bignas_norm", "bignas_clock", "bignas_nan",
    "proxyless", "proxyless_all", "proxyless_resized", "proxyless_norm", "proxyless_unused", "proxyless_nan",
    "proxyless_rl",
]  # fmt: skip
THREE = ["bignas", "proxyless", "proxyless_rl", "bignas_resized", "proxyless_resized"]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}  # logits are float32


def script() -> Any:
    found = importlib.util.spec_from_file_location("rank_script", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """Return what two processes, and then three, left of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    for size, cases in ((2, TWO), (3, THREE)):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(rank), str(size), *cases], env=environment)
            for rank in range(size)
        ]
        assert [process.wait(timeout=200) for process in started] == [0] * size
    return lambda case, size=2: [torch.load(folder / f"{case}.{size}.{rank}.pt") for rank in range(size)]


@pytest.fixture(scope="module")
def alone() -> Iterator[Callable[[str], Any]]:
    """Return the end state of one process that has the whole batches, in float64 as the others."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    module, kept = script(), {}

    def state(case: str) -> Any:
        if case not in kept:
            kept[case] = module.alone(case)
        return kept[case]

    yield state
    torch.set_default_dtype(before)


def distance(first: Any, second: Any) -> float:
    """Return the largest difference of two states of modules, over the tolerance of its type."""
    largest = 0.0
    for name, module in first.items():
        assert module.keys() == second[name].keys()
        for key, tensor in module.items():
            if not tensor.is_floating_point() or key.endswith(("running_mean", "running_var")):
                continue
            assert torch.isfinite(tensor).all()
            far = float((tensor - second[name][key]).abs().max()) if tensor.numel() else 0.0
            largest = max(largest, far / TOLERANCE[tensor.dtype])
    return largest


@pytest.mark.parametrize(
    ("case", "size"),
    [(case, 2) for case in ("bignas", "bignas_rmsprop", "proxyless", "proxyless_all", "proxyless_rl")]
    + [(case, 3) for case in ("bignas", "proxyless", "proxyless_rl")],
)
def test_several_processes_end_with_the_weights_of_one_that_has_the_whole_batches(case, size, ranks, alone):
    # Adam makes a step of full size of an advantage that is rounding alone, so logits that are rewarded differ a little
    whole, limit = alone(case), 500 if case == "proxyless_rl" else 1
    for state in ranks(case, size):
        assert state["place"][:3] == whole["place"][:3]
        assert state["batches"] == whole["batches"]
        assert distance(state["modules"], whole["modules"]) < limit
    initial = script().training_of(case, Alone(), 0, 1).state()
    assert distance({"supernet": initial["modules"]["supernet"]}, whole["modules"]) > 1000
    if case.startswith("proxyless"):
        name, alpha = next((key, value) for key, value in whole["modules"]["paths"].items() if "alphas" in key)
        assert (alpha - initial["modules"]["paths"][name]).abs().max() > 0.01


@pytest.mark.parametrize("case", [case for case in TWO if not case.endswith("nan")])
def test_processes_are_equal_to_the_last_bit_after_many_steps(case, ranks):
    first, *others = ranks(case)
    for state in others:
        assert [differences(first[part], state[part]) for part in ("modules", "optimisers", "place")] == [[], [], []]


@pytest.mark.parametrize("case", ["bignas_norm", "proxyless_norm"])
def test_two_processes_give_the_weights_of_one_that_does_both_halves(case, ranks, alone):
    """Each half is normalised by its own statistics, so the whole batch would give something else."""
    halves = both_halves(case)
    assert distance(ranks(case)[0]["modules"], halves["modules"]) < 1
    assert distance(alone(case)["modules"], halves["modules"]) > 1000


class Recalled(Exception):
    """Ends a training at the update that is to be recorded."""


class Recorder:
    """The team of one process that does one half: known updates are replayed, the next one is recorded."""

    def __init__(self, known: list[list[Any]]) -> None:
        self.alone, self.known, self.count = Alone(), known, 0
        self.recorded: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.alone, name)

    def average(self, optimiser: torch.optim.Optimizer) -> None:
        held = [tensor for group in optimiser.param_groups for tensor in group["params"]]
        if self.count == len(self.known):
            self.recorded = [None if tensor.grad is None else tensor.grad.clone() for tensor in held]
            raise Recalled
        for tensor, gradient in zip(held, self.known[self.count], strict=True):
            tensor.grad = None if gradient is None else gradient.clone()
        self.count += 1


def both_halves(case: str) -> Any:
    """Train in one process: for every update the gradients of both halves of the batch, averaged."""
    module, known = script(), []
    while True:
        gradients = []
        for rank in range(2):
            team = Recorder(known)
            training = module.training_of(case, team, rank, 2)
            try:
                training.run(Silent(), lambda kind, state: None)
            except Recalled:
                gradients.append(team.recorded)
            else:
                return training.state()
        pairs = zip(*gradients, strict=True)
        known.append([None if first is None else (first + second) / 2 for first, second in pairs])


@pytest.mark.parametrize("case", ["bignas_resized", "proxyless_resized"])
def test_the_number_of_processes_changes_at_a_checkpoint_and_nothing_else_does(case, ranks, alone):
    """Two processes stop in the middle, three go on: the order of the data is one process's, and so are the weights."""
    cut = ranks(case, 2)[0]
    assert cut["place"][2] == script().CASES[case]["cut"]
    whole = alone(case)
    for state in ranks(case, 3):
        assert state["batches"] == whole["batches"]
        assert distance(state["modules"], whole["modules"]) < 1


def test_weights_that_no_process_used_stay_as_they_are_to_the_last_bit(ranks, alone):
    """With weight decay and momentum even a zero gradient would move them."""
    case = "proxyless_unused"
    initial = script().training_of(case, Alone(), 0, 1).state()["modules"]["supernet"]
    whole, state = alone(case)["modules"]["supernet"], ranks(case)[0]["modules"]["supernet"]
    unused = [name for name, tensor in whole.items() if torch.equal(tensor, initial[name])]
    used = [name for name in whole if name not in unused]
    assert len(unused) > 2
    assert len(used) > 2
    assert all(torch.equal(state[name], initial[name]) for name in unused)
    assert not any(torch.equal(state[name], initial[name]) for name in used)


def test_running_statistics_are_averaged_at_the_end(ranks):
    module = script()
    own = []
    for rank in range(2):
        training = module.training_of("bignas_norm", Recorder([]), rank, 2)
        training._pace._steps = [1]
        with pytest.raises(Recalled):
            training.run(Silent(), lambda kind, state: None)
        own.append(training.modules["supernet"].state_dict())
    name = next(key for key in own[0] if key.endswith("running_mean"))
    assert not torch.allclose(own[0][name], own[1][name])  # so that an average is needed
    first, second = (state["modules"]["supernet"][name] for state in ranks("bignas_norm"))
    assert torch.equal(first, second)


def test_different_paths_train_other_weights_than_the_same_path(ranks, alone):
    assert distance(ranks("bignas_different")[0]["modules"], alone("bignas_resized")["modules"]) > 1000


@pytest.mark.parametrize("case", ["bignas_nan", "proxyless_nan"])
def test_a_loss_that_is_nan_on_one_process_ends_all_with_one_sentence(case, ranks):
    first, second = ranks(case)
    assert first == second
    assert first.startswith("the loss is nan in step ")
    assert first.endswith("; lower the learning rate.")


def test_the_clock_of_the_first_process_decides_for_all(ranks):
    first, second = ranks("bignas_clock")
    assert first["place"] == second["place"]
    assert first["place"][3] >= 1.0


def test_different_paths_are_refused_to_strategies_that_cannot_have_them():
    for name in ("proxyless", "proxyless_rl"):
        strategy = make_strategy(name, {})
        with pytest.raises(UsageError, match=f"strategy '{name}' needs all workers on the same path"):
            check_paths_differ(strategy, name, "different")
        check_paths_differ(strategy, name, "same")
    check_paths_differ(make_strategy("bignas", {}), "bignas", "different")


def test_more_workers_than_images_are_refused():
    for workers in (1, 8):
        assert number_of_workers(Engine(train_workers=workers), 2, {"train": 17, "valid": 16}) == workers
    with pytest.raises(UsageError, match="train_workers=9 would share batches of 17 images of the valid split"):
        number_of_workers(Engine(train_workers=9), 2, {"train": 18, "valid": 17})


def test_unless_asked_every_worker_has_images_enough_to_normalise_by():
    assert number_of_workers(Engine(), 64, {"train": 128, "valid": 100}) == 6
    assert number_of_workers(Engine(), 2, {"train": 128, "valid": 100}) == 2
    assert number_of_workers(Engine(), 64, {"train": 9, "valid": 9}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", ["bignas", "proxyless"])
def test_two_processes_have_cost_together_what_one_has(
    case: str, ranks: Callable[..., list[Any]], alone: Callable[[str], Any]
) -> None:
    expected = alone(case)["cost"]["training"]
    for state in ranks(case):
        found = state["cost"]["training"]
        for name in ("steps", "drawn", "forward_images", "forward_macs", "backward_images", "backward_macs"):
            assert found[name] == expected[name]
        for name in ("batches", "forward", "backward"):
            assert found[name] == 2 * expected[name]
