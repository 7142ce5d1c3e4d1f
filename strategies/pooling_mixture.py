"""`pooling_mixture`: a balanced mixture of supernets (Javan et al. 2023), for any space small enough to list.

M supernets of their own weights and optimisers; scores S[c, m] of architecture c on model m, all 1 at first.

    epoch: temperature T from 1 to 100; divisors d, so that all models answer for equally many architectures
           (in runs of few epochs twenty times, or else T would hardly rise)
    step:  c uniformly; m ~ P(m | c) = softmax_m(T S[c, :] - d)
           model m trains c on a batch of train, and is judged on c by a batch of valid
           S[c, m] <- 0.9 S[c, m] + 0.1 accuracy
    end:   the c of the best scores on valid, with the weights of their model; the best is retrained from scratch
           (a model that never trained c keeps S = 1, and does not answer for it)

A step costs one supernet's, memory is M times as much, and each model sees one step in M. Its normalisations go by the
batch where it is judged; what is evaluated in the end is recalibrated, and what is retrained has statistics of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, final

import numpy as np
import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from nasforge.build import Supernet
from nasforge.build.modes import batch_statistics
from nasforge.errors import IncompatibleError, SpaceError
from nasforge.ranges import Count, NonNegative, Positive, Share
from nasforge.rng import generator, integer_seed
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Problem, WeightSharing
from nasforge.strategy.balance import balanced, imbalance, responsibilities
from nasforge.strategy.refusal import refuse_unknown
from nasforge.training import RATING, TrainConfig, counted_as
from nasforge.training.path_sgd import PathSGD
from nasforge.training.schedule import warmup_cosine

KNOWN: Final = {"assignment": ("balanced", "unbalanced", "fixed"), "judged_by": ("responsible", "best")}
ROUNDS: Final = 20
"""How often temperature and divisors are set at least."""


@final
class Scores(nn.Module):
    """What the mixture has learnt of architectures and models, as buffers, so that it is kept with the weights.

    Attributes:
        scores: (architectures, models), S.
        divisors: (models,), logarithms, of the epoch at hand.
        temperature: (), T of the epoch at hand.
        owner: (architectures,), a model for each at random, all equally many; the control `fixed` goes by it.
        visits: (architectures, models), how often each architecture was trained on each model.
        balanced_at: (), progress at which temperature and divisors were set last.
    """

    scores: Tensor
    divisors: Tensor
    temperature: Tensor
    owner: Tensor
    visits: Tensor
    balanced_at: Tensor

    def __init__(self, architectures: int, models: int, seed: int) -> None:
        """Start with equal scores."""
        super().__init__()
        owner = generator(seed, "owners").permutation(architectures) % models
        self.register_buffer("scores", torch.ones(architectures, models, dtype=torch.float64))
        self.register_buffer("divisors", torch.zeros(models, dtype=torch.float64))
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))
        self.register_buffer("owner", torch.from_numpy(owner))
        self.register_buffer("visits", torch.zeros(architectures, models, dtype=torch.int64))
        self.register_buffer("balanced_at", torch.zeros((), dtype=torch.float64))

    @property
    def steps(self) -> Tensor:
        """How many steps each model was trained, (models,)."""
        return self.visits.sum(dim=0)


@final
@dataclass
class PoolingMixture(WeightSharing):
    """Several supernets, each for the architectures that it does best.

    The article divides the training images in halves; here the models learn from the train split and are judged on the
    valid split of the run.

    Attributes:
        models: M; 1 is a single supernet, sampled uniformly. Where limits leave fewer architectures, as many models.
        assignment: `balanced`; or, as controls, `unbalanced` (no division) and `fixed` (a random model for each
            architecture, all equally many: less sharing, and nothing learnt of it).
        judged_by: `responsible`, the model that answers for an architecture, or `best`, all of them, the best counts.
        lr: peak learning rate of SGD with Nesterov momentum 0.9; cosine to `floor` of it.
        floor: the last learning rate, as a share of `lr`.
        warmup: share of the steps with rising learning rate.
        weight_decay: of the slices a path used.
        temperature: T of the last epoch; that of the first is 1.
        keep: share of a score that stays when it is updated.
        rated: architectures that are judged at the end, best scores first.
        largest: architectures that the space may have at most, for all are listed.
    """

    models: Count = 4
    assignment: Literal["balanced", "unbalanced", "fixed"] = "balanced"
    judged_by: Literal["responsible", "best"] = "responsible"
    lr: Positive = 0.1
    floor: Share = 0.01
    warmup: Share = 0.0
    weight_decay: NonNegative = 0.0
    temperature: Annotated[float, Ge(1), Lt(math.inf)] = 100.0
    keep: Share = 0.9
    rated: Count = 100
    largest: Count = 1000
    retrain: ClassVar[bool] = True
    _architectures: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _numbers: dict[Architecture, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options that are names; numbers have ranges."""
        refuse_unknown("pooling_mixture", {name: getattr(self, name) for name in KNOWN}, KNOWN)

    def setup(self, problem: Problem) -> None:
        """List the architectures within the limits.

        Raises:
            IncompatibleError: the space is too large to list, or has fewer architectures than there are models.
            InfeasibleError: nothing is within the limits.
        """
        super().setup(problem)
        self._architectures = [each for each in problem.space.enumerate() if problem.feasible(each)]
        if not self._architectures:
            problem.sample(generator(0, "listed"))  # raises, and says what the least cost is
        self._count = min(self.models, len(self._architectures))
        self._numbers = {architecture: number for number, architecture in enumerate(self._architectures)}

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that is too large to list, or has fewer architectures than there are models."""
        try:
            size: int | None = space.size
        except SpaceError:  # too entangled to count
            size = None
        if size is None or size > self.largest:
            held = "too many architectures to count" if size is None else f"{size:,} architectures"
            raise IncompatibleError(
                f"strategy 'pooling_mixture' cannot search space '{space.name}': it lists all architectures, "
                f"{self.largest:,} at most (option largest), and the space has {held}; restrict the space, or take "
                "another strategy, such as spos."
            )
        if self.models > size:
            raise IncompatibleError(
                f"strategy 'pooling_mixture' cannot search space '{space.name}' with models={self.models}: it has "
                f"{size} architecture{'s' * (size > 1)}; give at most as many models."
            )

    def modules(self, problem: Problem, seed: int) -> dict[str, nn.Module]:
        """Return the supernets, `supernet` first, and `scores`."""
        seeds = [seed, *(integer_seed(seed, f"model {model}") for model in range(1, self._count))]
        self._nets = {self._name(model): Supernet(problem.space, own) for model, own in enumerate(seeds)}
        self._state = Scores(len(self._architectures), self._count, seed)
        return {**self._nets, "scores": self._state}

    @staticmethod
    def _name(model: int) -> str:
        return f"supernet_{model + 1}" if model else "supernet"

    def optimisers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD for each supernet."""
        config = TrainConfig(lr=self.lr, weight_decay=self.weight_decay)
        return {name: PathSGD(net, config) for name, net in self._nets.items()}

    def step(self, context: Context) -> dict[str, float]:
        """Train one architecture on the model drawn for it, judge it, and update its score."""
        if self._is_due(context):
            self._begin_round(context)
        number = int(context.rng.integers(len(self._architectures)))
        model = int(context.rng.choice(self._count, p=self._responsible(number)))
        name, architecture = self._name(model), self._architectures[number]
        images, targets = context.train_batch()
        with self._nets[name].recording():
            loss = context.loss(self._nets[name](images, architecture), targets)
            context.backward(loss)
        context.update(name, self.floor + (1.0 - self.floor) * warmup_cosine(context.progress, self.warmup))
        with counted_as(RATING), torch.no_grad(), batch_statistics(self._nets[name]):
            images, targets = context.valid_batch()
            accuracy = context.metrics(self._nets[name](images, architecture), targets)["accuracy"]
        score = self._state.scores[number, model]
        score.copy_(self.keep * score + (1.0 - self.keep) * accuracy)
        self._state.visits[number, model] += 1
        return {"loss": float(loss.detach()), "accuracy_valid": accuracy, "imbalance": self._imbalance()}

    def _is_due(self, context: Context) -> bool:
        """Say whether an epoch begins, or one of the `ROUNDS` parts of the training."""
        now, before = (int(at * ROUNDS + 1e-9) for at in (context.progress, float(self._state.balanced_at)))
        return context.phase_step % context.steps_per_epoch == 0 or now > before

    def _begin_round(self, context: Context) -> None:
        """Set temperature and divisors; both stay for the epoch, while the scores move on.

        Of E epochs the last begins at a progress of (E - 1) / E; the temperature has to be at its end by then.
        """
        epochs_done = context.phase_step / context.steps_per_epoch
        last = min(1 / ROUNDS, context.progress / epochs_done) if epochs_done else 1 / ROUNDS
        share = min(1.0, context.progress / (1.0 - last))
        self._state.temperature.fill_(1.0 + (self.temperature - 1.0) * share)
        self._state.balanced_at.fill_(context.progress)
        if self.assignment == "balanced":
            divisors, _ = balanced(self._scores, float(self._state.temperature))
            self._state.divisors.copy_(torch.from_numpy(divisors))

    @property
    def _scores(self) -> Any:
        return self._state.scores.cpu().numpy()

    def _responsible(self, number: int | None = None) -> Any:
        """Return P(m | c), (models,) for one architecture or (architectures, models) for all."""
        state, rows = self._state, slice(None) if number is None else number
        if self.assignment == "fixed":
            return np.eye(self._count)[state.owner.cpu().numpy()[rows]]
        return responsibilities(self._scores[rows], float(state.temperature), state.divisors.cpu().numpy())

    def _imbalance(self) -> float:
        """Return how far the models are from having been trained equally much, in nats."""
        steps = self._state.steps.cpu().numpy()
        return imbalance(steps / steps.sum())

    def _answering(self) -> Any:
        """Return the model that answers for each architecture, of those that were trained on it, (architectures,).

        Where none was, it is the one that would be drawn most often.
        """
        shares, visited = self._responsible(), self._state.visits.cpu().numpy() > 0
        known = np.where(visited & (shares > 0), shares, -1.0)
        return np.where((known > 0).any(axis=1), known.argmax(axis=1), shares.argmax(axis=1))

    def warnings(self) -> list[str]:
        """Say that most scores are still what they began with."""
        pairs = len(self._architectures) * (1 if self.assignment == "fixed" else self._count)
        steps = int(self._state.visits.sum())
        if steps >= pairs:
            return []
        return [
            f"pooling_mixture was trained for {steps} steps, fewer than its {pairs} pairs of architecture and model, "
            "so most scores say nothing; train longer, or give fewer models."
        ]

    def holders(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the model that answers for an architecture, or all of them."""
        if self.judged_by == "best" or architecture not in self._numbers:
            return tuple(self._nets)
        return (self._name(int(self._answering()[self._numbers[architecture]])),)

    def derive(self) -> list[Architecture]:
        """Return the architectures within the limits with the best scores of the models that answer for them.

        Those that no model was trained on come last.
        """
        state, every = self._state, np.arange(len(self._architectures))
        models = self._answering()
        scores, visits = self._scores[every, models], state.visits.cpu().numpy()[every, models]
        order = np.lexsort((-scores, visits == 0))
        return [self._architectures[number] for number in order[: self.rated]]
