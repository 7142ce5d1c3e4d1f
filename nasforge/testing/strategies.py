"""The conformance suite of strategies: a subclass that names a strategy inherits every test.

    from nasforge.testing.strategies import StrategySuite

    class TestMyStrategy(StrategySuite):
        name = "my_strategy"

The suite checks what the loop relies on: proposals follow from state and seed alone, here and in another process; a
run can be replayed; limits hold; failures are borne. A strategy that trains shared weights is also trained for a few
steps, see `nasforge.testing.shared_weights`.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pytest
import torch

from nasforge.errors import EvaluationError, IncompatibleError, InfeasibleError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.asking import Asking, drive
from nasforge.run.compatible import check_compatible, why_incompatible
from nasforge.run.local import Job, LocalExecutor
from nasforge.space.choice import KINDS
from nasforge.strategy import Evaluation, Problem, Strategy, WeightSharing
from nasforge.testing.shared_weights import SharedWeightsTests
from nasforge.testing.small_spaces import spaces_of_one_kind
from nasforge.testing.trial import Decisions, Trial, in_another_process, pretended

DRAWS: Final = "does `ask` depend on anything but the strategy's state and the generator it is given?"
PROCESS: Final = "is something ordered by hash, such as a set, or drawn from a global generator?"
ANEW: Final = "does `setup` forget everything of an earlier search?"
SNAPSHOT: Final = "is something missing from `snapshot`, or not taken back by `restore`?"


class StrategySuite(SharedWeightsTests):
    """Tests that every strategy must pass; see `Trial` for what a subclass may set."""

    def asking(self, problem: Problem | None = None, *, seed: int = 1, slots: int = 1) -> Asking:
        """Return the ask/tell part of a run of a fresh strategy."""
        strategy = self.trial.ready(problem, seed)
        return Asking(strategy, strategy.problem.space, seed, slots, self.evaluations)

    @property
    def trial(self) -> Trial:
        """What is needed to make and drive the strategy."""
        return Trial(self.name, dict(self.options), self.declare(), self.evaluations, self.steps)

    # Options and spaces

    def test_options_are_documented_fields_with_defaults(self) -> None:
        """Hydra, the command line and Python read the fields; people read the docstring."""
        strategy: Any = self.trial.make()
        assert dataclasses.is_dataclass(strategy)
        documentation = type(strategy).__doc__ or ""
        for field in dataclasses.fields(strategy):
            if field.init:
                default = (field.default, field.default_factory)
                assert default != (dataclasses.MISSING, dataclasses.MISSING), f"option '{field.name}' has no default"
                said = re.search(rf"^\s*{field.name}: \S", documentation, re.MULTILINE)
                assert said, f"option '{field.name}' is not in the docstring's attributes"

    def test_spaces_it_cannot_search_are_refused_and_both_are_named(self) -> None:
        """A pair is refused before anything is spent, or it works."""
        spaces = spaces_of_one_kind()
        assert spaces.keys() == KINDS
        for kind, space in spaces.items():
            reason = why_incompatible(self.trial.make(), space, self.name)
            handled = self.trial.make().handles
            if handled is not None and kind not in handled:
                assert reason is not None, f"strategy '{self.name}' does not handle {kind}, and takes a space of it"
                with pytest.raises(IncompatibleError):
                    check_compatible(self.trial.make(), space, self.name)
            if reason is not None:
                assert f"'{self.name}'" in reason
                assert f"'{space.name}'" in reason
                continue
            short = dataclasses.replace(self.trial, space=space, evaluations=3, steps=4)
            proposed = short.proposals(seed=0)
            assert proposed
            assert all(space.contains(space.from_decisions(decisions)) for decisions in proposed)

    # Proposals

    def test_proposals_follow_from_the_seed_alone(self) -> None:
        """Two fresh strategies with one seed propose the same, in the same order."""
        for slots in (1, 3):
            check_same(run(self.asking(slots=slots)), run(self.asking(slots=slots)), DRAWS)

    def test_another_process_proposes_the_same(self) -> None:
        """Neither hash seeds nor anything else of the process matters; shared weights are trained there too."""
        check_same(in_another_process(self.trial, seed=3), self.trial.proposals(seed=3), PROCESS)

    def test_a_strategy_that_was_used_before_starts_anew(self) -> None:
        """`setup` leaves nothing of an earlier search behind."""
        strategy = self.trial.ready()
        first = run(Asking(strategy, strategy.problem.space, 4, 1, self.evaluations))
        self.trial.prepare(strategy, self.trial.problem(), 1)
        check_same(run(Asking(strategy, strategy.problem.space, 4, 1, self.evaluations)), first, ANEW)

    def test_no_more_is_proposed_than_was_asked_for(self) -> None:
        """`ask(n)` gives at most n."""
        for n in (1, 2, 5):
            strategy = self.trial.ready()
            for number in range(4):
                proposals = strategy.ask(n, generator(0, "ask", number))
                assert len(proposals) <= n
                strategy.tell([evaluation_of(each.architecture, number) for each in proposals])

    def test_an_empty_answer_means_done(self) -> None:
        """A strategy that proposes nothing, with nothing under way, proposes nothing ever after."""
        strategy = self.trial.ready()
        number, done = 0, False
        for _ in range(4 * self.evaluations):
            proposals = strategy.ask(2, generator(0, "ask", number))
            assert not (done and proposals)
            done = not proposals
            strategy.tell([evaluation_of(each.architecture, number) for each in proposals])
            number += len(proposals) or 1

    def test_proposals_are_valid_and_within_the_limits(self) -> None:
        """Under random limits, tight ones too, nothing outside them is proposed, and something is."""
        for seed in range(self.limits):
            problem = self.trial.limited(seed)
            proposed = run(self.asking(problem, seed=seed))
            assert proposed
            for decisions in proposed:
                architecture = problem.space.from_decisions(decisions)
                assert problem.space.contains(architecture)
                assert problem.feasible(architecture)

    def test_proposals_pass_the_filter(self) -> None:
        """Nothing is proposed that a filter by a zero-cost score keeps back; runs refuse one for shared weights."""
        if isinstance(self.trial.make(), WeightSharing):
            return
        problem = self.trial.filtered()
        proposed = run(self.asking(problem))
        assert proposed
        for decisions in proposed:
            assert problem.passes(problem.space.from_decisions(decisions))

    def test_a_filter_that_nothing_passes_is_an_error(self) -> None:
        """The search ends with InfeasibleError, not with an architecture that does not pass."""
        if not isinstance(self.trial.make(), WeightSharing):
            with pytest.raises(InfeasibleError, match="pretended"):
                run(self.asking(self.trial.filtered(2.0)))

    def test_limits_that_nothing_meets_are_an_error(self) -> None:
        """The search ends with InfeasibleError, not with an architecture beyond the limits."""
        space = self.declare()
        for metric in ("macs", "params"):
            bound = 0.9 * min(space.cost(metric)(space.smallest(each)) for each in ("macs", "params"))
            problem = self.trial.problem((Constraint(metric, bound),))
            with pytest.raises(InfeasibleError, match=metric):
                run(self.asking(problem))

    # Results

    def test_failed_evaluations_are_borne(self) -> None:
        """Some or all evaluations fail, and the strategy goes on proposing valid architectures."""

        def half(job: Job) -> dict[str, float]:
            if job.number % 2:
                raise EvaluationError("this evaluation fails")
            return pretended(job)

        def none(job: Job) -> dict[str, float]:
            raise EvaluationError("every evaluation fails")

        for evaluate in (half, none):
            asking = self.asking()
            assert all(asking.space.contains(asking.space.from_decisions(d)) for d in run(asking, evaluate))

    def test_replay_gives_the_state_that_was_lost(self) -> None:
        """What was stored, told again to a fresh strategy, leads to the same further proposals."""
        for slots in (1, 3):
            whole: list[Evaluation] = []
            run(self.asking(slots=slots), stored=whole)
            for cut in {1, len(whole) // 2, len(whole) - 1}:
                kept = whole[:cut]
                again = self.asking(slots=slots)
                again.replay(kept)
                run(again, stored=kept)
                check_same(untimed(kept), untimed(whole), DRAWS)

    def test_a_snapshot_and_the_rest_replayed_give_the_same_state(self) -> None:
        """What `snapshot` returns is all that `ask` and `tell` need; an empty one means replay from the start."""
        whole: list[Evaluation] = []
        run(self.asking(), stored=whole)
        for cut in {1, len(whole) // 2}:
            kept: list[Evaluation] = []
            interrupted = self.asking()
            run(interrupted, stored=kept, stop=cut)
            state = self.trial.through_disk(interrupted.snapshot())
            again = self.asking()
            if state is not None:
                again.restore(state)
            again.replay(kept)
            run(again, stored=kept)
            check_same(untimed(kept), untimed(whole), SNAPSHOT)

    # Manners

    def test_global_generators_and_output_are_left_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Strategies draw from the generators they are handed, and say nothing."""
        before = _global_state()
        self.trial.make()
        assert _same(before, _global_state())
        run(self.asking())
        assert _same(before, _global_state())
        assert tuple(capsys.readouterr()) == ("", "")

    def test_the_kind_of_evaluation_is_known(self) -> None:
        """`shared` evaluation needs shared weights."""
        strategy = self.trial.make()
        assert isinstance(strategy, Strategy)
        assert strategy.evaluator in ("trained", "shared", "tabular")
        assert strategy.evaluator != "shared" or isinstance(strategy, WeightSharing)


def check_same(found: Sequence[Any], expected: Sequence[Any], hint: str) -> None:
    """Compare what two runs proposed, in order; a failure shows the first difference and where to look."""
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        assert one == other, f"proposal {place} is the first that differs: {hint}"
    assert len(found) == len(expected), f"the number of proposals differs: {hint}"


def run(
    asking: Asking,
    evaluate: Callable[[Job], dict[str, float]] = pretended,
    *,
    stored: list[Evaluation] | None = None,
    stop: int | None = None,
) -> list[Decisions]:
    """Ask, evaluate and tell to the end, or until so many are stored; return what was evaluated, in order."""
    found = [] if stored is None else stored
    drive(asking, LocalExecutor(evaluate), found.append, lambda: stop is None or len(found) < stop)
    return [each.architecture.decisions for each in found]


def evaluation_of(architecture: object, number: int) -> Evaluation:
    """Return a successful evaluation of an architecture."""
    job = Job(number, architecture, None, 0)  # type: ignore[arg-type]  # an Architecture
    return Evaluation(number, job.architecture, pretended(job))


def untimed(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Return the evaluations without their durations."""
    return [dataclasses.replace(each, seconds=0.0) for each in evaluations]


def _global_state() -> tuple[object, ...]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global generator itself is looked at
    return random.getstate(), repr(numpy_state), torch.get_rng_state().tolist(), torch.get_default_dtype()


def _same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    return all(a == b for a, b in zip(first, second, strict=True))


__all__ = ["StrategySuite", "run", "untimed"]
