"""`shiftnas`: which costs are trained is learned, and so is what turns a cost into an architecture (Zhang et al. 2023).

    step:  draw bin b ~ B = softmax(theta) (uniform at first), target C = centre of b (jittered), alpha = AG(C)
           train the weights of alpha (inside the sandwich, or alone)
           AG: lambda ((cost(AG(C)) - C) / C_max)^2, and now and then L_valid through the masks of AG(C)
    shift: every N steps theta moves to bins that still have to learn, found by looking one training step ahead or by
           the size of each bin's validation gradient
    select: decode AG at the limit, inherited weights; no search

Drawing each choice uniformly spends nearly all of the training on costs about the mean. As in every strategy here the
weights learn from train images and what decides from valid ones, the generator's task loss among it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal, final

import torch

from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.ranges import Count, NonNegative, Positive, Share
from nasforge.rng import generator
from nasforge.space import Architecture
from nasforge.strategy import Batch, Context, Phase, Problem, WeightSharing
from nasforge.strategy.bins.cost_bins import CategoricalSampler
from nasforge.strategy.bins.cutting import cut_into_bins
from nasforge.strategy.bins.distribution import BinDistribution, theta_optimiser
from nasforge.strategy.bins.drawing import Drawing, GeneratedDrawing, SampledDrawing
from nasforge.strategy.bins.generator import ArchitectureGenerator, additive_fit
from nasforge.strategy.bins.generator_learning import GeneratorTeacher
from nasforge.strategy.bins.teaching import BinTeacher
from nasforge.strategy.paths.training import path_step
from nasforge.strategy.preset import resolve
from nasforge.strategy.refusal import Rule, refuse_unknown, refuse_unless, told
from nasforge.strategy.sandwich import sandwich_step
from nasforge.training import TrainConfig
from nasforge.training.path_sgd import PathSGD
from nasforge.training.schedule import warmup_cosine


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `ShiftNAS` for what they are."""

    estimator: str = "reward"
    theta_path: str = "bins"
    cost_model: str = "true"
    width: float = 0.0
    uniform: float = 0.3
    theta_every: int = 50
    theta_lr: float = 0.2
    theta_decay: float = 0.5
    generator_lr: float = 3e-3
    generator_every: int = 2
    task_every: int = 10
    lam: float = 10.0
    bonus: float = 0.02
    tries: int = 8
    fallback: bool = True
    lr: float = 0.3
    weight_decay: float = 5e-4


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(),
    "paper": Constants(
        "look_ahead", "cost", "additive", 1e8, 0.1, 100, 1e-3, 0.0, 1e-3, 1, 1, 1.0, 0.0, 1, False, 0.1, 1e-5
    ),
}
XI_FLOOR: Final = 0.01
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "estimator": ("reward", "look_ahead", "none"), "theta_path": ("bins", "cost"), "cost_model": ("true", "additive"),
    "sampler": ("generator", "table", "bins", "layers"), "recipe": ("sandwich", "single"),
}  # fmt: skip


@final
@dataclass
class ShiftNAS(WeightSharing):
    """A learned distribution over cost bins and a learned generator of architectures of a given cost.

    `preset` sets what follows it down to `weight_decay`; an option given beside it goes before. `quick` is for searches
    of minutes. `paper` holds what is known of the article, whose code was not released: bins of 0.1 GMACs, theta
    through the target cost by look-ahead every 100 steps, after a tenth of the training (its 50 epochs), a cost that
    adds up per choice, Adam 1e-3, task loss in every step; its lambda and the weights' optimiser are guesses.

    Attributes:
        preset: `quick` or `paper`.
        estimator: of what theta follows: `look_ahead` (finite differences over a training step), `reward` (each bin's
            validation gradient, per weight), or `none` (B stays uniform).
        theta_path: of `look_ahead`, how the train loss depends on theta: `bins` = sum over b of B_b L(AG(C_b)), or
            `cost` = through the target cost B . centres, the generator and the masks.
        cost_model: of the generator's loss: `true`, the cost itself, or `additive`, one number for each option.
        width: of a bin, in the cost's unit; 0 = by `bins`.
        uniform: share of the training before theta is learned.
        theta_every: steps between two updates of theta.
        theta_lr: learning rate of theta: AdamW's for `look_ahead`, of plain steps along the reward for `reward`.
        theta_decay: each update takes `theta_lr` x `theta_decay` of theta away, apart from the gradient. A lasting
            reward r so leads to theta = r / decay, a lasting direction of `look_ahead`, whose steps have one length for
            any size of gradient, to at most 1 / decay.
        generator_lr: of the generator (Adam).
        generator_every: steps between two updates of the generator, once B is no longer uniform; 1 before.
        task_every: of so many updates of the generator (not steps), counted from the first of the training, one sees
            a validation loss; 0 = none.
        lam: lambda, weight of the cost's squared error over C_max^2.
        bonus: weight of the entropy of the generator's decisions; without it few architectures of each cost are
            trained, and the others of that cost inherit weights that never met.
        tries: draws of the generator for one target, of which the nearest in cost is trained.
        fallback: whether a target for which no try falls into the bin is drawn from a table of the bin instead.
        lr: peak learning rate of the weights (Nesterov 0.9, 5 % of warm-up, cosine).
        weight_decay: of the weights that a step used.
        bins: number of bins; 0 = the most up to ten of which none is empty.
        cost: metric that is binned; without it the first one limited, or the reference cost.
        sampler: what is trained: `generator`; for comparison `table` (AttentiveNAS: categoricals of each bin), `bins`
            (within a bin as the space draws), `layers` (each choice uniform, no bins, so no theta either). Only
            `generator` trains the generator; the others select by drawing from the bins at and below the limit.
        recipe: `sandwich`: the drawn ones between biggest and smallest, which the biggest teaches, as for convolutions
            in the article; `single`: the drawn one alone learns from the labels, the article's plain loop.
        children: drawn architectures of a sandwich.
        floor: share of B that stays uniform.
        memory: of the moving average of the reward, 0 = the last value alone, below 1.
        theta_bins: bins looked at in one update of theta, in turn; 0 = all, the most there can be.
        sign: 1; -1 turns theta's updates round, as a control: mass then goes to bins that have learned already.
        units: of the generator's LSTM.
        batch: targets in one update of the generator.
        temperature: of the Gumbel-softmax gradient.
        task_images: validation images of the generator's task loss, 0 = the whole batch.
        label_smoothing: of losses on train labels.
        finalists: decoded architectures that are rated with inherited weights.
    """

    preset: Literal["quick", "paper"] = "quick"
    estimator: str | None = None
    theta_path: str | None = None
    cost_model: str | None = None
    width: NonNegative | None = None
    uniform: float | None = None
    theta_every: int | None = None
    theta_lr: Positive | None = None
    theta_decay: float | None = None
    generator_lr: Positive | None = None
    generator_every: int | None = None
    task_every: int | None = None
    lam: float | None = None
    bonus: float | None = None
    tries: int | None = None
    fallback: bool | None = None
    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    bins: int = 0
    cost: str | None = None
    sampler: str = "generator"
    recipe: str = "sandwich"
    children: int = 2
    floor: float = 0.2
    memory: float = 0.7
    theta_bins: int = 0
    sign: int = 1
    units: Count = 64
    batch: int = 16
    temperature: float = 1.0
    task_images: int = 16
    label_smoothing: Share = 0.0
    finalists: int = 8
    retrain: ClassVar[bool] = False
    _set: Constants = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        found = resolve(PRESETS, self)
        refuse_unknown("shiftnas", {name: getattr(found, name, None) or getattr(self, name) for name in KNOWN}, KNOWN)
        if self.sampler == "layers" and self.estimator is None:
            found = replace(found, estimator="none")
        self._set = found
        refuse_unless("shiftnas", self._rules(found))

    def _rules(self, found: Constants) -> Iterable[Rule]:
        """Return what options have to hold; NaN is out of every range."""
        counts = (found.theta_every, found.generator_every, found.tries, self.children, self.batch, self.finalists)
        return (
            (self.sampler != "layers" or found.estimator == "none",
             told(sampler=self.sampler, estimator=found.estimator), "each choice drawn alone knows no bins, so theta "
             "would change nothing: use estimator=none, or another sampler"),
            (self.sampler == "generator" or (found.estimator, found.theta_path) != ("look_ahead", "cost"),
             told(theta_path=found.theta_path, sampler=self.sampler),
             "that path goes through the generator, which only sampler=generator trains: use theta_path=bins"),
            (self.bins >= 0 and self.bins != 1 and 0 < found.uniform < 1 and 0 <= self.floor <= 1,
             told(bins=self.bins, uniform=found.uniform, floor=self.floor),
             "expected 0 or at least 2 bins (one leaves nothing to shift), 0 < uniform < 1 and 0 <= floor <= 1"),
            (min(counts) >= 1 and self.sign in (1, -1),
             f"theta_every, generator_every, tries, children, batch and finalists {counts} and sign={self.sign}",
             "expected at least 1 of each, and sign 1 or -1"),
            (min(self.theta_bins, self.task_images, found.task_every) >= 0,
             told(theta_bins=self.theta_bins, task_images=self.task_images, task_every=found.task_every),
             "expected 0 (all, all and none) or more"),
            (all(0 <= value < math.inf for value in (found.lam, found.bonus, found.theta_decay)),
             told(lam=found.lam, bonus=found.bonus, theta_decay=found.theta_decay),
             "expected finite numbers of at least 0"),
            (0 <= self.memory < 1 and 0 < self.temperature < math.inf,
             told(memory=self.memory, temperature=self.temperature),
             "expected 0 <= memory < 1 (1 would never learn) and a temperature above 0"),
        )  # fmt: skip

    def setup(self, problem: Problem) -> None:
        """Cut the cost into bins; refuse one that has no gradient or no range."""
        super().setup(problem)
        cut = cut_into_bins(problem, "shiftnas", self.cost, self.bins or None, self._set.width or None)
        self._cost, self._within, self._bins = cut.cost, cut.within, cut.within.bins
        space, metric = problem.space, cut.cost.metric
        if self.theta_bins > self._bins.number:
            raise UsageError(
                f"shiftnas was given theta_bins={self.theta_bins} for {self._bins.number} bins of {metric}; expected "
                "at most as many as there are bins, or 0 for all of them."
            )
        if not cut.cost.tables:
            raise IncompatibleError(
                f"strategy 'shiftnas' cannot search space '{space.name}': its cost '{metric}' is no sum of tables, so "
                "the generator gets no gradient; take another cost or another strategy."
            )
        additive = self._set.cost_model == "additive"
        self._fitted = additive_fit(space, cut.cost, cut.coverage.rows) if additive else cut.cost

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet, the generator and the distribution over bins."""
        self._ends = problem.space.largest(), problem.space.smallest()
        self._net = Supernet(problem.space, seed)
        self._generator = ArchitectureGenerator(problem.space, self.units, generator(seed, "generator"))
        self._distribution = BinDistribution(self._bins.number, self.floor, self.memory)
        self._guide = GeneratorTeacher(
            self._generator, self._net, self._fitted, self._bins, self._set.lam, self._set.bonus, self.temperature
        )
        self._drawing = drawing = self._drawn_by()
        self._teacher = BinTeacher(self._net, self._distribution, lambda *bins: drawing.for_bins(*bins).architectures)
        return {"supernet": self._net, "generator": self._generator, "bins": self._distribution}

    def _drawn_by(self) -> Drawing:
        """Return what draws architectures of bins."""
        within, space = self._within, self.problem.space
        if self.sampler == "generator":
            return GeneratedDrawing(self._generator, within, self._set.tries, self._set.fallback)
        table = CategoricalSampler(space, self._cost, within)
        samplers = {"table": table.sample, "bins": within.sample, "layers": lambda number, rng: space.sample(rng)}
        return SampledDrawing(self.problem, within, samplers[self.sampler])

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD for the weights that were used, Adam for the generator, and theta's own."""
        found = self._set
        config = TrainConfig(lr=found.lr, weight_decay=found.weight_decay)
        made: dict[str, torch.optim.Optimizer] = {"weights": PathSGD(self._net, config)}
        if self.sampler == "generator":
            made["generator"] = torch.optim.Adam(modules["generator"].parameters(), found.generator_lr)
        if found.estimator != "none":
            made["theta"] = theta_optimiser(modules["bins"], found.estimator, found.theta_lr, found.theta_decay)
        return made

    def phases(self) -> list[Phase]:
        """Return the part with uniform bins and the part in which theta is learned."""
        return [Phase("uniform", self._set.uniform), Phase("shift", 1.0 - self._set.uniform)]

    def step(self, context: Context) -> dict[str, float]:
        """Train the weights of drawn architectures, then the generator, then theta, as far as it is their turn."""
        figures, found = self._train_weights(context), self._set
        shifting = context.phase.name == "shift"
        if self.sampler == "generator" and (not shifting or context.phase_step % found.generator_every == 0):
            figures |= self._train_generator(context)
        if shifting and found.estimator != "none" and context.phase_step % found.theta_every == 0:
            figures |= self._train_theta(context)
        return figures

    # Weights

    def _train_weights(self, context: Context) -> dict[str, float]:
        numbers = [self._bin(context) for _ in range(self.children if self.recipe == "sandwich" else 1)]
        drawn = self._drawing.for_bins(numbers, context.rng)
        rate = warmup_cosine(self.whole_progress(context), 0.05)
        if self.recipe == "single":
            (child,) = drawn.architectures
            return {"loss": path_step(context, self._net, child, self.label_smoothing, rate)} | drawn.figures
        biggest, smallest = self._ends
        children = [*drawn.architectures, smallest]
        found = sandwich_step(context, self._net, biggest, children, smoothing=self.label_smoothing, rate=rate)
        return found.figures() | drawn.figures

    def _bin(self, context: Context) -> int:
        if context.phase.name == "uniform":
            return int(context.rng.integers(self._bins.number))
        return self._distribution.draw(context.rng)

    # The generator

    def _train_generator(self, context: Context) -> dict[str, float]:
        found, rng = self._set, context.rng
        aims = [(self._bin(context) + float(rng.random())) / self._bins.number for _ in range(self.batch)]
        due = self._generator.count_update(found.task_every)
        batch = Batch(*(part[: self.task_images or None] for part in context.valid_batch())) if due else None
        loss, figures = self._guide.loss(context, aims, batch)
        context.backward(loss)
        context.update("generator")
        return figures

    # The distribution over bins

    def _train_theta(self, context: Context) -> dict[str, float]:
        numbers = self._distribution.next_bins(self.theta_bins or self._bins.number)
        if self._set.estimator == "reward":
            passes = self._teacher.measure(context, numbers)
        else:
            through = self._guide.through_cost(context, self._distribution) if self._set.theta_path == "cost" else None
            xi = self._set.lr * max(warmup_cosine(self.whole_progress(context), 0.05), XI_FLOOR)
            passes = self._teacher.look_ahead(context, numbers, xi, through)
        gradient = self._distribution.theta.grad
        assert gradient is not None
        gradient.mul_(self.sign)
        context.update("theta")
        return {"bin_entropy": self._distribution.entropy(), "theta_passes": float(passes)}

    # Selection

    def derive(self) -> list[Architecture]:
        """Return architectures of the limit, nearest to it first; without a limit, of the greatest cost."""
        problem, cost, rng = self.problem, self._cost, generator(0, "decode")
        limit = min([self._bins.most, *(each.bound for each in problem.constraints if each.metric == cost.metric)])
        drawn = {each for each in self._drawing.at(limit, self.finalists, rng) if problem.feasible(each)}
        kept = sorted(drawn, key=lambda each: (-cost(each), each.decisions))
        return kept[: self.finalists] or [problem.sample(rng)]
