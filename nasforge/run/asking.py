"""The ask, evaluate, tell part of a run, and its replay.

The numbers of an evaluation fix its place: `ask` counts the tells before the strategy proposed it,
`tell` the call it was told in. Every ask uses the generator of its number, so replaying the stored
evaluations in tell order, from the start or from a snapshot, gives the state that was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from nasforge.errors import DamagedError
from nasforge.rng import generator, integer_seed
from nasforge.run.local import Executor, Job, Outcome
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation, Proposal, Strategy

Observe = Callable[[Evaluation], None]


@final
@dataclass(slots=True)
class Asking:
    """The state of the ask/tell part: what was told, what is under way.

    Args:
        strategy: set up already.
        space: of the architectures.
        seed: of the run.
        slots: evaluations at a time; part of the run's identity, since it fixes how much each ask asks for.
        least: proposals are asked for where so many slots are free; part of the run's identity too.
        limit: number of evaluations to propose at most; None for no limit.
    """

    strategy: Strategy
    space: SearchSpace
    seed: int
    slots: int = 1
    limit: int | None = None
    least: int = 1
    told: int = 0
    proposed: int = 0
    waiting: dict[int, tuple[Proposal, int]] = field(default_factory=dict)
    exhausted: bool = False

    def ask(self) -> list[Job]:
        """Ask for as many proposals as there are free slots; return the new jobs."""
        free = self.slots - len(self.waiting)
        if free < self.least:
            return []
        if self.limit is not None:
            free = min(free, self.limit - self.proposed)
        if free <= 0:
            return []
        proposals = self.strategy.ask(free, generator(self.seed, "ask", self.told))
        self.exhausted = not proposals
        jobs = []
        for proposal in proposals:
            self.waiting[self.proposed] = (proposal, self.told)
            jobs.append(self.job(self.proposed))
            self.proposed += 1
        return jobs

    def job(self, number: int) -> Job:
        """Return the job of a proposal that is waiting."""
        proposal, _ = self.waiting[number]
        seed = integer_seed(self.seed, "evaluation", number)
        return Job(number, proposal.architecture, proposal.fidelity, seed)

    def evaluation(self, outcome: Outcome) -> Evaluation:
        """Turn an outcome into the evaluation to store and tell."""
        proposal, asked = self.waiting[outcome.number]
        return Evaluation(
            number=outcome.number,
            architecture=proposal.architecture,
            metrics=dict(outcome.metrics),
            fidelity=proposal.fidelity,
            error=outcome.error,
            ask=asked,
            tell=self.told,
            seconds=outcome.seconds,
            cost=outcome.cost,
        )

    def tell(self, evaluation: Evaluation) -> None:
        """Tell the strategy one evaluation that was proposed before."""
        del self.waiting[evaluation.number]
        self.strategy.tell([evaluation])
        self.told += 1
        self.exhausted = False

    def replay(self, stored: Sequence[Evaluation]) -> None:
        """Ask and tell again what is stored from the current state on.

        Raises:
            DamagedError: the strategy proposes something else than is stored.
        """
        for evaluation in sorted(stored, key=lambda each: each.tell):
            if evaluation.tell < self.told:
                continue
            self.ask()
            waiting = self.waiting.get(evaluation.number)
            if waiting is None or waiting[0].architecture != evaluation.architecture or evaluation.tell != self.told:
                raise DamagedError(
                    f"evaluation {evaluation.number} of the run's store is not what the strategy proposes with seed "
                    f"{self.seed}; the store was changed, or the run was made with another version of the strategy."
                )
            self.tell(evaluation)

    def snapshot(self) -> dict[str, Any] | None:
        """Return the state as plain data and arrays; None for strategies that replay from the start."""
        state = self.strategy.snapshot()
        if not state:
            return None
        waiting = [
            [number, list(proposal.architecture.decisions), proposal.fidelity, asked]
            for number, (proposal, asked) in self.waiting.items()
        ]
        return {"strategy": state, "told": self.told, "proposed": self.proposed, "waiting": waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `snapshot` returned."""
        self.strategy.restore(state["strategy"])
        self.told, self.proposed = int(state["told"]), int(state["proposed"])
        self.waiting = {
            int(number): (Proposal(self.space.from_decisions(decisions), fidelity), int(asked))
            for number, decisions, fidelity, asked in state["waiting"]
        }


def drive(asking: Asking, executor: Executor, observe: Observe, keep_going: Callable[[], bool]) -> None:
    """Ask, evaluate and tell until the strategy is done, the limit is reached, or `keep_going` says no.

    `observe` stores an evaluation; it is called before the strategy hears of it, so nothing told is ever lost.
    Proposals that were under way when a run stopped are evaluated first.
    """
    underway = set()
    for number in sorted(asking.waiting):
        executor.submit(asking.job(number))
        underway.add(number)
    while True:
        if keep_going():
            for job in asking.ask():
                executor.submit(job)
                underway.add(job.number)
        if not underway:
            return
        outcome = executor.wait()
        underway.discard(outcome.number)
        evaluation = asking.evaluation(outcome)
        observe(evaluation)
        asking.tell(evaluation)
