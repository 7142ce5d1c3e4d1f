"""The part of the strategies' suite for those that train shared weights: modules, steps, resuming, splits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, final

import pytest
import torch

from nasforge.build import Supernet
from nasforge.errors import SplitError
from nasforge.run.progress import Listener, Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.space import SearchSpace
from nasforge.strategy import WeightSharing
from nasforge.testing.small_spaces import block_space, elastic_space, ensemble_space, path_space
from nasforge.testing.trial import Trial, source
from nasforge.testing.watched import Update, WatchedContext

STATE: Final = "is some state of the strategy outside of its modules, its optimisers and `snapshot`?"


class SharedWeightsTests(ABC):
    """Tests of strategies that share weights; others skip them.

    Attributes:
        name: entry point of the strategy.
        options: it is made with, so that the tests are quick.
        evaluations: of one search, at most.
        steps: of one training; enough for every phase to learn something.
        limits: how many random limits are tried.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    evaluations: ClassVar[int] = 24
    steps: ClassVar[int] = 12
    limits: ClassVar[int] = 6

    @property
    @abstractmethod
    def trial(self) -> Trial:
        """What is needed to make and drive the strategy."""

    def declare(self) -> SearchSpace:
        """Return the space to search, for 8 x 8 images of ten classes; override it for one of your own."""
        from nasforge.run.compatible import why_incompatible
        from nasforge.run.options import make_strategy

        strategy = make_strategy(self.name, self.options)
        small = (elastic_space(), path_space(), ensemble_space(), block_space())
        return next(space for space in small if why_incompatible(strategy, space, self.name) is None)

    def _training(self, seed: int = 1) -> tuple[WeightSharing, SharedTraining]:
        if not isinstance(self.trial.make(), WeightSharing):
            pytest.skip("the strategy shares no weights")
        return self.trial.training(seed=seed)

    def test_modules_optimisers_and_phases_fit_together(self) -> None:
        """`supernet` is there, optimisers step parameters of the modules, each once, phases have names and shares."""
        strategy, training = self._training()
        supernet = training.modules["supernet"]
        assert isinstance(supernet, Supernet)
        assert supernet.space.fingerprint == strategy.problem.space.fingerprint
        own = {id(p) for module in training.modules.values() for p in module.parameters()}
        stepped = [id(p) for o in training.optimisers.values() for group in o.param_groups for p in group["params"]]
        assert stepped
        assert set(stepped) <= own
        assert len(set(stepped)) == len(stepped)
        phases = strategy.phases()
        assert phases
        assert len({phase.name for phase in phases}) == len(phases)
        assert all(phase.share > 0 for phase in phases)

    def test_initial_modules_follow_from_the_seed(self) -> None:
        """The same seed gives the same tensors, whatever torch's own generator says."""
        _, first = self._training()
        torch.manual_seed(99)
        _, second = self._training()
        assert differences(first.state()["modules"], second.state()["modules"]) == []

    def test_training_changes_the_shared_weights_and_gives_finite_figures(self) -> None:
        """Steps learn: weights move, every optimiser steps, figures are numbers."""
        _, training = self._training()
        before = self.trial.through_disk(training.state())
        held = {name: [p.clone() for p in _held(optimiser)] for name, optimiser in training.optimisers.items()}
        heard = Heard()
        training.run(heard, lambda kind, state: None)
        after = training.state()
        assert differences(before["modules"]["supernet"], after["modules"]["supernet"])
        for name, optimiser in training.optimisers.items():
            moved = any(not torch.equal(*pair) for pair in zip(held[name], _held(optimiser), strict=True))
            assert optimiser.state or moved, (
                f"optimiser '{name}' never stepped; raise `steps` of the suite if its turn comes later"
            )
        assert len(heard.figures_of_steps) == training.step
        assert all(math.isfinite(value) for figures in heard.figures_of_steps for value in figures.values())

    def test_training_in_two_halves_equals_training_in_one_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed after any step and resumed from its checkpoint, it ends with the same tensors, bit for bit."""
        _, whole = self._training()
        heard = Heard()
        whole.run(heard, lambda kind, state: None)
        monkeypatch.setattr("nasforge.run.shared_training.CHECKPOINT_SECONDS", -1.0)
        for cut in {1, self.steps // 2, 3 * self.steps // 4, self.steps - 1}:
            _, killed = self._training()
            state = self.trial.through_disk(_state_after(killed, cut))
            torch.manual_seed(123)
            strategy, resumed = self._training()
            resumed.load_state(state)
            assert resumed.step == cut
            rest = Heard()
            resumed.run(rest, lambda kind, state: None)
            assert rest.figures_of_steps == heard.figures_of_steps[cut:]
            for part in ("modules", "optimisers"):
                differing = differences(resumed.state()[part], whole.state()[part])
                assert differing == [], f"{part} differ after a resumed training: {STATE}"
            assert strategy.derive() == whole_derivation(whole)

    def test_weights_learn_from_train_and_decisions_from_valid(self) -> None:
        """Followed through the gradients: no weight sees a valid image, no decision a train image, nobody the test."""
        strategy, training = self._training()
        updates = watch(strategy, training)
        holding = [m for n, m in training.modules.items() if isinstance(m, Supernet) or n in strategy.weight_modules]
        weights = {id(parameter) for module in holding for parameter in module.parameters()}
        for name, optimiser in training.optimisers.items():
            holds = {id(p) for group in optimiser.param_groups for p in group["params"]}
            wanted = "train" if holds & weights else "valid"
            assert not (holds & weights and holds - weights), f"optimiser '{name}' steps weights and decisions together"
            learnt_from = [each.splits for each in updates if each.optimiser == name]
            assert learnt_from
            nothing = frozenset[str]()  # behind a part that is not trained there is no way back to the images
            assert set(learnt_from) - {nothing} == {frozenset({wanted})}
        with pytest.raises(SplitError):
            source().split("test")

    def test_derived_architectures_are_within_the_limits(self) -> None:
        """After training under random limits, what is derived meets them."""
        self._training()
        for seed in range(3):
            problem = self.trial.limited(seed)
            strategy, training = self.trial.training(problem, seed)
            training.run(Silent(), lambda kind, state: None)
            for architecture in strategy.derive():
                assert problem.space.contains(architecture)
                assert problem.feasible(architecture)


@final
class Heard(Listener):
    """Keeps the figures of every step."""

    def __init__(self) -> None:
        """Start with none."""
        self.figures_of_steps: list[dict[str, float]] = []

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Keep them."""
        self.figures_of_steps.append(dict(values))


@final
class _KilledError(Exception):
    """Stands for a kill."""


def _state_after(training: SharedTraining, steps: int) -> Any:
    """Train, kill the training when so many steps are done, and return its last checkpoint."""
    kept: list[Any] = []

    def save(kind: str, state: Any) -> None:
        if state["place"][2] == steps:
            kept.append(state)
            raise _KilledError

    with pytest.raises(_KilledError):
        training.run(Silent(), save)
    return kept[0]


def watch(strategy: WeightSharing, training: SharedTraining) -> list[Update]:
    """Run a training step by step, and return where every update came from."""
    updates: list[Update] = []
    step = type(strategy).step

    def watched(context: Any) -> dict[str, float]:
        seen = WatchedContext(context)
        figures = step(strategy, seen)
        updates.extend(seen.updates)
        return figures

    strategy.step = watched  # type: ignore[method-assign]  # in place of the class's, for this object alone
    training.run(Silent(), lambda kind, state: None)
    return updates


def _held(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the parameters that an optimiser steps."""
    return [p.detach() for group in optimiser.param_groups for p in group["params"]]


def whole_derivation(training: SharedTraining) -> Any:
    """Return what the strategy of a finished training derives."""
    return training._strategy.derive()


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Return the places at which two nested states differ; tensors must be equal bit for bit (NaN equals NaN)."""
    if isinstance(first, torch.Tensor) or isinstance(second, torch.Tensor):
        same = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor) and first.shape == second.shape
        return [] if same and torch.equal(torch.nan_to_num(first), torch.nan_to_num(second)) else [path]
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if first.keys() != second.keys():
            return [path]
        return [found for key in first for found in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [path]
        return [f for i, (a, b) in enumerate(zip(first, second, strict=True)) for f in differences(a, b, f"{path}/{i}")]
    return [] if first == second else [path]
