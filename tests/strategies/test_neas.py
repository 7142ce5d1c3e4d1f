"""NEAS: the gradient at the split, shrinking with trained weights kept, evolution within limits, bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from nasforge_strategies.neas import NEAS

from nasforge import registry
from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.progress import Silent
from nasforge.strategy import Batch, Evaluation, Phase, Problem
from nasforge.tasks.classification import Classification
from nasforge.testing.small_spaces import ensemble_space, path_space
from nasforge.testing.strategies import StrategySuite
from nasforge.testing.trial import Trial

SPACE = ensemble_space(3, 2)
PATHS = ("trunk", "path1", "path2")


def problem(space=SPACE, **more):
    return Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")}, **more)


def trial(space=SPACE, steps=12, **options):
    return Trial("neas", options, space, 40, steps)


@dataclasses.dataclass
class OneStep:
    """A context of one step on one batch, which keeps gradients instead of learning from them."""

    architecture: object
    batch: Batch
    step: int = 1
    phase_step: int = 1
    progress: float = 0.5
    phase: Phase = dataclasses.field(default_factory=lambda: Phase("train"))

    @property
    def rng(self):
        return generator(0, "test")

    def train_batch(self):
        return self.batch

    def loss(self, outputs, targets, smoothing=0.0):
        return Classification().loss(outputs, targets, smoothing)

    def backward(self, loss):
        loss.backward()

    def update(self, optimiser, rate=1.0):
        pass


def gradients(architecture, **options):
    """Return the gradients of one step by name; the parts of the network that no weight decay or batch order hides."""
    strategy = NEAS(shrinking="none", label_smoothing=0.0, **options)
    space = SPACE.restrict({name: [label] for name, label in SPACE.describe(architecture).items()})
    strategy.setup(problem())
    net = strategy.modules(strategy.problem, 0)["supernet"].double()
    strategy._spaces[strategy.alive.tobytes()] = space  # so that this architecture is drawn
    strategy.step(OneStep(architecture, batch()))
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def batch():
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8) % 10)


def of_one_head(architecture, head):
    """Return the gradients of one head's loss alone, and the gradient that arrives at the split."""
    net = Supernet(SPACE, 0).double()
    split = int(SPACE.describe(architecture)["split"])
    outputs, value = net.with_boundary(batch().images, architecture, f"shared{split}")
    arrived = []
    value.register_hook(lambda gradient: arrived.append(gradient.clone()))
    Classification().loss(outputs[head], batch().targets).backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}, arrived[0]


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_trunk_learns_from_the_mean_of_the_branches_and_each_branch_from_its_own_loss(split):
    rng = np.random.default_rng(split)
    architecture = SPACE.restrict({"split": [str(split)]}).sample(rng)
    found = gradients(architecture)
    first, second = (of_one_head(architecture, head)[0] for head in (0, 1))
    for name, gradient in found.items():
        one, other = (each.get(name, torch.zeros_like(gradient)) for each in (first, second))
        layer = int(name.split("layer")[2][0]) if "layers.layer" in name else 0
        in_trunk = "stem" in name or 1 <= layer <= split
        expected = (one + other) / 2 if in_trunk else one + other
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    undivided = gradients(architecture, divide="none")
    stem = "layers.stem:conv.weight"
    torch.testing.assert_close(undivided[stem], 2 * found[stem], rtol=1e-9, atol=1e-12)


def test_the_gradient_that_arrives_at_the_split_is_the_mean_of_those_of_the_branches():
    architecture = SPACE.restrict({"split": ["2"]}).sample(np.random.default_rng(0))
    net = Supernet(SPACE, 0).double()
    outputs, value = net.with_boundary(batch().images, architecture, "shared2")
    seen = []
    value.register_hook(lambda gradient: gradient / 2)
    value.register_hook(lambda gradient: seen.append(gradient.clone()))
    sum(Classification().loss(head, batch().targets) for head in outputs).backward()
    first, second = (of_one_head(architecture, head)[1] for head in (0, 1))
    torch.testing.assert_close(seen[0], (first + second) / 2, rtol=1e-9, atol=1e-14)


def test_the_trunk_is_run_once():
    architecture = SPACE.restrict({"split": ["2"]}).sample(np.random.default_rng(0))
    net, calls = Supernet(SPACE, 0), []
    for name, layer in net.layers.items():
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    net(torch.randn(2, 3, 8, 8), architecture)
    shared = [name for name in calls if "stem" in name or "layer1" in name or "layer2" in name]
    assert len(shared) == len(set(shared))
    assert sum("layer3" in name and name.endswith(":dw") for name in calls) == 2


def test_shrinking_drops_one_operator_a_phase_and_keeps_the_weights_of_the_others():
    strategy, training = trial(steps=12).training()
    assert [phase.name for phase in training.phases] == ["warmup", "final"]
    training.run(Silent(), lambda kind, state: None)
    alive = training.modules["scores"].alive_mask()
    assert alive.sum(axis=1).tolist() == [2, 2, 2]
    assert strategy.space.fingerprint == SPACE.fingerprint
    net = training.modules["supernet"]
    x = torch.randn(2, 3, 8, 8)
    rng = np.random.default_rng(0)
    for architecture in [strategy.space.sample(rng) for _ in range(5)]:
        assert SPACE.contains(architecture)
        small = Supernet(strategy.space, 3)
        small.load_state_dict(net.state_dict())
        with torch.no_grad():
            assert torch.equal(small.eval()(x, architecture), net.eval()(x, architecture))


@pytest.mark.parametrize("shrinking", ["both", "potential", "diversity", "random", "none"])
def test_every_rule_of_shrinking_trains(shrinking):
    strategy, training = trial(steps=6, shrinking=shrinking, diversity_batches=1).training()
    training.run(Silent(), lambda kind, state: None)
    expected = [3, 3, 3] if shrinking == "none" else [2, 2, 2]
    assert strategy.alive.sum(axis=1).tolist() == expected


def test_dead_operators_are_trained_no_more():
    _, training = trial(steps=12).training()
    states = []
    training.run(
        Silent(), lambda kind, state: states.append({n: v.clone() for n, v in state["modules"]["supernet"].items()})
    )
    alive = training.modules["scores"].alive_mask()
    after_warmup, end = states[0], states[-1]
    for layer, option in np.argwhere(~alive):
        label = ("k3", "k5", "wide")[option]
        names = [name for name in end if f"layer{layer + 1}/{label}:" in name and "running" not in name]
        assert names
        assert all(torch.equal(after_warmup[name], end[name]) for name in names)


def test_the_worst_by_rank_dies():
    strategy, training = trial(shrinking="potential").training()
    scores = training.modules["scores"]
    scores.potential[:] = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])
    context = dataclasses.replace(OneStep(None, batch()), phase=Phase("final"))
    strategy._shrink(context)
    assert scores.alive.tolist() == [[True, False, True], [False, True, True], [True, True, False]]


@dataclasses.dataclass
class Measuring(OneStep):
    """One step that keeps what is judged, and metrics that are made up."""

    accuracy: float = 0.5
    nll: float = 1.0
    judged: list = dataclasses.field(default_factory=list)

    def valid_batch(self):
        return self.batch

    def metrics(self, outputs, targets):
        self.judged.append(outputs)
        return {"accuracy": self.accuracy, "nll": self.nll}

    def mean(self, figures, count):
        return figures


def dropping(**options):
    """Return `neas` on a space with normalisation, dropout and paths to drop, in training mode, and a batch of it."""
    space = registry.load("spaces", "neas")((3, 16, 16), 10, dropout=0.5)
    strategy = NEAS(**options)
    strategy.setup(problem(space))
    strategy.modules(strategy.problem, 0)
    strategy._net.train()
    draw = torch.Generator().manual_seed(1)
    return strategy, Batch(torch.randn(8, 3, 16, 16, generator=draw) * 3 + 1, torch.arange(8))


def test_measuring_moves_no_statistics_and_drops_nothing():
    strategy, images = dropping()
    net, context = strategy._net, Measuring(None, images)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    architecture = strategy.space.sample(generator(0, "test"))
    for _ in range(2):
        strategy._measure(context, architecture, strategy._ensemble.read(architecture))
    strategy._diversities(context)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    first, second = context.judged
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(net(images.images, architecture)[0], net(images.images, architecture)[0])  # it would drop


def test_what_an_ensemble_is_measured_by_is_more_for_the_better_one():
    better, worse = {"accuracy": 0.75, "nll": 0.5}, {"accuracy": 0.25, "nll": 2.0}
    for potential in ("accuracy", "nll"):
        strategy, images = dropping(potential=potential)
        observed = []
        strategy._scores.observe = lambda operators, value, seen=observed: seen.append(value)
        architecture = strategy.space.sample(generator(0, "test"))
        for metrics in (better, worse):
            context = Measuring(None, images, **metrics)
            strategy._measure(context, architecture, strategy._ensemble.read(architecture))
        assert observed == {"accuracy": [0.75, 0.25], "nll": [-0.5, -2.0]}[potential]


def test_what_the_limits_need_does_not_die():
    smallest = SPACE.smallest()
    limited = problem(constraints=(Constraint("macs", SPACE.macs(smallest)),))
    for seed in range(3):
        strategy, training = trial(shrinking="random").training(limited, seed)
        training.run(Silent(), lambda kind, state: None)
        assert strategy.space.contains(smallest)
        assert strategy.alive.sum(axis=1).tolist() == [2, 2, 2]  # something else died in its place
        proposals = strategy.ask(4, generator(0, "test"))
        assert proposals
        assert all(SPACE.macs(each.architecture) <= SPACE.macs(smallest) for each in proposals)


def test_evolution_proposes_new_ensembles_of_the_shrunk_space_generation_by_generation():
    options = {"population": 6, "generations": 3, "parents": 2, "crossover": 3, "mutation": 3}
    strategy, training = trial(steps=6, **options).training()
    training.run(Silent(), lambda kind, state: None)
    seen, sizes = [], []
    for number in range(20):
        proposals = strategy.ask(100, generator(0, "ask", number))
        if not proposals:
            break
        sizes.append(len(proposals))
        assert strategy.ask(5, generator(1, "test")) == []
        told = [
            Evaluation(n, p.architecture, {"accuracy_valid": float(SPACE.macs(p.architecture))})
            for n, p in enumerate(proposals)
        ]
        strategy.tell(told)
        seen += [each.architecture for each in proposals]
    assert sizes == [6, 6, 6]
    assert len(set(seen)) == 18
    assert all(strategy.space.contains(each) for each in seen)
    best = strategy.derive()[0]
    assert SPACE.macs(best) == max(map(SPACE.macs, seen))


def test_a_single_path_is_searched_without_diversity():
    single = ensemble_space(3, 1, name="single")
    with pytest.raises(IncompatibleError, match="a single path has nothing to differ from"):
        NEAS().setup(problem(single))
    proposed = Trial("neas", {"shrinking": "potential"}, single, 8, 4).proposals(0)
    assert proposed
    assert all(single.contains(single.from_decisions(row)) for row in proposed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1}, "keep=1"),
        ({"warmup": 0.7, "final": 0.4}, "warmup=0.7"),
        ({"warmup": 0.0}, "above 0"),
        ({"population": 0}, "population=0"),
        ({"crossover": 20}, "crossover=20"),
        ({"mutation_probability": 1.5}, "mutation_probability=1.5"),
        ({"shrinking": "bth"}, "Did you mean 'both'"),
        ({"feature": "x"}, "feature of neas"),
        ({"potential": "x"}, "potential of neas"),
        ({"preset": "papr"}, "papr"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        NEAS(**options)


def test_more_operators_to_keep_than_there_are_is_an_error():
    with pytest.raises(UsageError, match=r"keep=4.*no layer.*more than 3"):
        NEAS(keep=4).setup(problem())
    NEAS(keep=4, shrinking="none").setup(problem())
    strategy = NEAS(keep=3)
    strategy.setup(problem())
    assert [phase.name for phase in strategy.phases()] == ["train"]


def test_other_spaces_and_restrictions_without_common_operators_are_refused():
    with pytest.raises(IncompatibleError, match="'neas' cannot search space 'paths'"):
        NEAS().setup(problem(path_space()))
    apart = SPACE.restrict({"trunk.2": ["k3"], "path1.2": ["k5", "wide"]})
    with pytest.raises(IncompatibleError, match="no operator in common in layer 2"):
        NEAS().setup(problem(apart))


def test_trained_operators_that_a_restriction_excludes_are_an_error():
    _, training = trial(shrinking="none").training()
    state = training.state()
    fewer = SPACE.restrict({f"{side}.2": ["k3", "k5"] for side in PATHS})
    strategy, resumed = trial(fewer, shrinking="none").training()
    resumed.load_state(state)
    with pytest.raises(IncompatibleError, match="'wide' of layer 2 was trained"):
        strategy.ask(1, generator(0, "test"))


def test_the_paper_preset_is_known():
    found = NEAS(preset="paper")._set
    assert (found.population, found.generations, found.parents, found.crossover, found.mutation) == (
        50,
        20,
        10,
        25,
        25,
    )


def test_operators_that_died_and_their_scores_survive_a_resume_and_the_next_deaths_are_the_same():
    def make():
        return trial(steps=20, warmup=0.4, final=0.4).training()

    whole, training = make()
    states = []
    training.run(Silent(), lambda kind, state: states.append(trial().through_disk(state)))
    halfway, end = states[0], training.modules["scores"].state_dict()
    again, resumed = make()
    resumed.load_state(halfway)
    assert again.alive.all()  # nothing has died at the end of the warm-up
    assert resumed.modules["scores"].counts.sum() > 0
    resumed.run(Silent(), lambda kind, state: None)
    assert whole.alive.sum(axis=1).tolist() == [2, 2, 2]
    for name, value in resumed.modules["scores"].state_dict().items():
        assert torch.equal(value, end[name]), name
    loaded, finished = make()
    finished.load_state(trial().through_disk(training.state()))
    assert np.array_equal(loaded.alive, whole.alive)
    assert loaded.space.allowed == whole.space.allowed


@pytest.mark.slow
class TestOfThreePaths(StrategySuite):
    """The public suite on three paths of four layers."""

    name = "neas"
    options = {"population": 6, "crossover": 3, "mutation": 3, "shrinking": "both"}
    limits = 2
    steps = 8

    def declare(self):
        return ensemble_space(4, 3)
