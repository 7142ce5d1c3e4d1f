"""`optuna`: any sampler of Optuna by name, over categorical parameters, one for each active choice.

Choices are suggested one after another, so that a conditional choice is a parameter of those trials only in which it
is active; an option that an earlier choice forbids is not offered. Optuna is imported when a search starts.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np

from nasforge.errors import PluginError, UsageError, unknown_name_sentence
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy

VIOLATIONS: Final = "violations"
NEEDING_MORE: Final = ("base", "basega", "grid", "partialfixed")
"""Samplers that are abstract, or need parameters that no name gives."""


@final
@dataclass
class OptunaSampler(Strategy):
    """A study of Optuna in memory, asked and told; all objectives are minimised as losses.

    Draws beyond the limits on costs are told as pruned (failed, with several objectives) with their violations, and are
    never proposed. Runs resume by replay: the sampler's seed is drawn in the first ask, so what was told leads to
    the same state.

    Attributes:
        sampler: `tpe`, `gp`, `nsgaii`, `nsgaiii`, `random`, ... : a class of `optuna.samplers` without `Sampler`.
        arguments: of the sampler, such as `{"n_startup_trials": 20}`.
        tries: draws of the sampler for one architecture within the limits before a random one is taken.
    """

    sampler: str = "tpe"
    arguments: dict[str, Any] = field(default_factory=dict)
    tries: int = 20
    _study: Any = field(default=None, init=False, repr=False)
    _waiting: dict[Architecture, deque[Any]] = field(default_factory=dict, init=False, repr=False)

    def setup(self, problem: Problem) -> None:
        """Forget the study, and see that there is such a sampler.

        Raises:
            UsageError: an unknown sampler; the nearest is named.
        """
        super().setup(problem)
        self._class = _sampler_class(self.sampler)
        self._study, self._waiting = None, {}

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Let the sampler suggest."""
        if self._study is None:
            self._study = self._new_study(int(rng.integers(2**31)))
        return [Proposal(self._suggest(rng)) for _ in range(n)]

    def _new_study(self, seed: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        known = inspect.signature(self._class).parameters
        offered: dict[str, Any] = {"seed": seed, "constraints_func": _violations}
        if not self.problem.constraints or hasattr(optuna.trial.Trial, "set_constraint"):  # Optuna 5: set in trials
            del offered["constraints_func"]
        arguments = {name: value for name, value in offered.items() if name in known} | dict(self.arguments)
        try:
            sampler = self._class(**arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"sampler '{self.sampler}' of Optuna cannot be made with arguments {self.arguments} ({error}); "
                f"expected some of: {', '.join(known)}."
            ) from error
        return optuna.create_study(directions=["minimize"] * len(self.problem.objectives), sampler=sampler)

    def _suggest(self, rng: np.random.Generator) -> Architecture:
        for _ in range(self.tries):
            trial = self._study.ask()
            drawn = self.problem.space.decide(functools.partial(self._pick, trial))
            if self.problem.feasible(drawn):
                self._waiting.setdefault(drawn, deque()).append(trial)
                return drawn
            self._set_violations(trial, self.problem.cost_metrics(drawn))
            self._tell(trial, None)
        drawn = self.problem.sample(rng)
        self._study.enqueue_trial(self._parameters(drawn))
        trial = self._study.ask()
        self.problem.space.decide(lambda index, options: self._pick(trial, index, options))
        self._waiting.setdefault(drawn, deque()).append(trial)
        return drawn

    def _pick(self, trial: Any, index: int, options: tuple[int, ...]) -> int:
        if len(options) == 1:
            return options[0]
        return int(trial.suggest_categorical(self._name(index, options), options))

    def _name(self, index: int, options: tuple[int, ...]) -> str:
        """Return a parameter's name; with its options, for Optuna wants the same ones under one name."""
        return f"{self.problem.space.choices[index].name}[{','.join(map(str, options))}]"

    def _parameters(self, architecture: Architecture) -> dict[str, int]:
        found: dict[str, int] = {}

        def pick(index: int, options: tuple[int, ...]) -> int:
            found[self._name(index, options)] = architecture.decisions[index]
            return architecture.decisions[index]

        self.problem.space.decide(pick)
        return found

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Tell the losses of all objectives and the violations of all limits; failures are failed trials."""
        for result in results:
            trial = self._waiting[result.architecture].popleft()
            losses = [objective.loss(result.metrics) for objective in self.problem.objectives]
            metrics = {**result.metrics, **self.problem.cost_metrics(result.architecture)}
            self._set_violations(trial, metrics)
            failed = result.error is not None or not all(map(math.isfinite, losses))
            self._tell(trial, None if failed else losses)

    def _tell(self, trial: Any, losses: list[float] | None) -> None:
        from optuna.trial import TrialState

        if losses is not None:
            self._study.tell(trial, losses)
        else:
            several = len(self.problem.objectives) > 1
            self._study.tell(trial, state=TrialState.FAIL if several else TrialState.PRUNED)

    def _set_violations(self, trial: Any, metrics: Mapping[str, float]) -> None:
        """Set each limit's violation; a large number where the metric is missing, so that it stays finite."""
        limits = self.problem.constraints
        excess = [min(limit.violation(metrics), 1e9) for limit in limits]
        trial.set_user_attr(VIOLATIONS, excess)
        if hasattr(trial, "set_constraint"):
            for number, (limit, value) in enumerate(zip(limits, excess, strict=True)):
                trial.set_constraint(f"{number}:{limit.metric}", value)


def _violations(trial: Any) -> list[float]:
    found: list[float] = trial.user_attrs[VIOLATIONS]
    return found


def _sampler_class(name: str) -> Any:
    try:
        from optuna import samplers
    except ImportError as error:
        raise PluginError("strategy 'optuna' needs Optuna; install it with `pip install optuna`.") from error
    ending = "Sampler"
    known = {each.removesuffix(ending).lower(): each for each in samplers.__all__ if each.endswith(ending)}
    usable = {short: each for short, each in known.items() if short not in NEEDING_MORE}
    short = str(name).removesuffix(ending).lower().replace("-", "").replace("_", "")
    if short not in usable:
        raise UsageError(unknown_name_sentence("sampler of Optuna", str(name), usable))
    return getattr(samplers, usable[short])
