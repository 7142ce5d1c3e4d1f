"""BigNAS: the sandwich step exactly, what only the biggest gets, coarse-to-fine selection."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasforge import registry
from nasforge.errors import UsageError
from nasforge.goals import Constraint
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.layers.linear import ElasticLinear
from nasforge.rng import generator
from nasforge.run.asking import Asking, drive
from nasforge.run.local import LocalExecutor
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import elastic_space
from nasforge.testing.trial import Trial
from nasforge.training import adaptive_alpha_divergence

pytestmark = pytest.mark.plugins
bignas = pytest.importorskip("nasforge_strategies.bignas")


def shipped(**options):
    return registry.load("spaces", "mbconv_elastic")((3, 8, 8), 10, **options)


def bignas_space(**options):
    return registry.load("spaces", "bignas")((3, 8, 8), 10, **options)


def make(space=None, steps=4, **options):
    trial = Trial("bignas", options, space or elastic_space(), 8, steps)
    strategy, training = trial.training()
    for module in training.modules.values():
        module.train()
    return strategy, training


class Context:
    """A context of its own: fixed batch, gradients kept instead of a step."""

    def __init__(self, strategy, training, *, scale=1.0, progress=0.0, seed=0):
        self.rng = np.random.default_rng(seed)
        self.progress, self.phase_step, self.steps_per_epoch = progress, 0, 10
        self.images, self.targets = training._train.take()
        self.training, self.scale = training, scale
        self.gradients: dict[str, torch.Tensor | None] = {}
        self.rates: list[float] = []

    def train_batch(self):
        return self.images, self.targets

    def loss(self, outputs, targets, smoothing=0.0):
        return self.scale * functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def backward(self, loss):
        loss.backward()

    def update(self, name, rate=1.0):
        net = self.training.modules["supernet"]
        self.rates.append(rate)
        self.gradients = {n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()}
        optimiser = self.training.optimisers[name]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def drawn_by(strategy, seed, count):
    rng = np.random.default_rng(seed)
    return [strategy.problem.space.sample(rng) for _ in range(count)]


def test_the_gradient_is_the_plain_sum_of_the_four_losses_with_a_detached_teacher():
    strategy, training = make(clip=0.0)
    context = Context(strategy, training, seed=5)
    net = training.modules["supernet"]
    space = strategy.problem.space
    biggest, smallest = space.largest(), space.smallest()
    outputs = net(context.images, biggest)
    total = functional.cross_entropy(outputs, context.targets, label_smoothing=0.1)
    teacher = torch.softmax(outputs.detach(), 1)
    for child in [*drawn_by(strategy, 5, 2), smallest]:
        total = total - (teacher * torch.log_softmax(net(context.images, child), 1)).sum(1).mean()
    total.backward()
    expected = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad(set_to_none=True)
    strategy.step(context)
    assert expected.keys() == context.gradients.keys()
    for name, gradient in expected.items():
        assert torch.allclose(context.gradients[name], gradient, rtol=1e-4, atol=1e-6), name


def test_children_never_see_the_labels_unless_distillation_is_off():
    gradients = []
    for teaching in ("soft", "labels"):
        strategy, training = make(clip=0.0, teaching=teaching)
        context = Context(strategy, training, scale=0.0)  # labels weigh nothing
        strategy.step(context)
        gradients.append(sum(float(g.abs().sum()) for g in context.gradients.values()))
    assert gradients[0] > 0.0
    assert gradients[1] == 0.0


def calls(strategy, training, seed=0):
    """Return what ran in one step, in order: architecture, whether dropout was on."""
    net = training.modules["supernet"]
    found: list[tuple[Any, bool]] = []
    heads = [m for m in net.modules() if isinstance(m, ElasticLinear)]
    net.register_forward_pre_hook(lambda module, args: found.append((args[1], heads[0].dropping and heads[0].training)))
    strategy.step(Context(strategy, training, seed=seed))
    return found


def test_biggest_two_random_and_smallest_run_in_this_order_and_dropout_is_the_biggest_s_alone():
    strategy, training = make(shipped(dropout=0.5))
    ran = calls(strategy, training, seed=3)
    space = strategy.problem.space
    assert [a for a, _ in ran] == [space.largest(), *drawn_by(strategy, 3, 2), space.smallest()]
    assert [dropping for _, dropping in ran] == [True, False, False, False]
    assert all(m.dropping for m in training.modules["supernet"].modules() if isinstance(m, ElasticLinear))


def test_without_the_sandwich_all_networks_of_a_step_are_random():
    strategy, training = make(sandwich=False)
    ran = [a for a, _ in calls(strategy, training, seed=3)]
    children = drawn_by(strategy, 3, 4)
    assert len(ran) == 4
    assert set(ran) == set(children)


def test_random_children_have_random_resolutions():
    strategy, training = make(shipped(), children=30)
    number = [str(c.name) for c in strategy.problem.space.choices].index("resolution")
    ran = [a for a, _ in calls(strategy, training)]
    assert {a.decisions[number] for a in ran[1:-1]} == {0, 1, 2}
    assert strategy.problem.space.macs(ran[-1]) < strategy.problem.space.macs(ran[0])


def test_weight_decay_acts_once_a_step_on_every_weight_and_not_on_normalisation_and_biases():
    strategy, training = make(clip=0.0, teaching="labels", lr=0.1, weight_decay=0.01)
    net = training.modules["supernet"]
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    strategy.step(Context(strategy, training, scale=0.0, progress=0.5))
    for name, parameter in net.named_parameters():
        # first Nesterov step on the gradient decay x w: w - lr (1 + momentum) decay w
        factor = 1.0 - 0.1 * 1.9 * 0.01 if parameter.dim() > 1 else 1.0
        assert torch.allclose(parameter, before[name] * factor, rtol=1e-6, atol=0.0), name


def test_the_biggest_child_uses_all_weights_in_full():
    for space in (elastic_space(), shipped()):
        _strategy, training = make(space)
        net = training.modules["supernet"]
        with net.recording() as views:
            net(training._train.take().images, space.largest()).sum().backward()
            assert not views.used  # no slice of anything
            assert all(parameter.grad is not None for parameter in net.parameters())
            net(training._train.take().images, space.smallest())
            assert views.used


def test_at_the_start_every_residual_block_is_its_shortcut_and_no_other_gamma_is_zero():
    space = shipped()
    _strategy, training = make(space)
    net = training.modules["supernet"]
    zero = {name for name, m in net.named_modules() if isinstance(m, ElasticBatchNorm) and not m.weight.any()}
    ones = {name for name, m in net.named_modules() if isinstance(m, ElasticBatchNorm) and bool((m.weight == 1).all())}
    norms = {name for name, m in net.named_modules() if isinstance(m, ElasticBatchNorm)}
    assert zero | ones == norms
    assert len(zero) == 5  # stages of two, three and three layers, of which all but the first are residual
    images = training._train.take().images
    options = space.describe(space.largest())
    shallow = {name: option for name, option in options.items() if "b2." not in name and "b3." not in name}
    shallow |= {f"s{number}.depth": "1" for number in (1, 2, 3)}
    deep = net(images, space.largest())
    assert torch.equal(deep, net(images, space.architecture(shallow)))


@pytest.mark.parametrize(("clip", "largest"), [(0.0, math.inf), (0.0625, 0.0625)])
def test_gradients_are_clipped_by_value_where_asked(clip, largest):
    strategy, training = make(clip=clip)
    stepped = []
    training.optimisers["weights"].register_step_pre_hook(  # after the strategy's own
        lambda *_: stepped.extend(p.grad.clone() for p in training.modules["supernet"].parameters())
    )
    strategy.step(Context(strategy, training))
    peak = max(float(g.abs().max()) for g in stepped)
    assert peak <= largest
    assert (clip == 0.0) == (peak > 0.0625)


@pytest.mark.parametrize("schedule", ["cosine", "progress"])
def test_the_learning_rate_rises_then_falls_and_ends_constant(schedule):
    strategy, training = make(floor=0.2, schedule=schedule)
    rates = []
    for progress in (0.0, 0.025, 0.06, 0.8, 0.9, 0.99):
        context = Context(strategy, training, progress=progress)
        strategy.step(context)
        rates += context.rates
    assert rates[:2] == [0.0, pytest.approx(0.5)]
    assert rates[2] > 0.7
    assert rates[3:] == [0.2, 0.2, 0.2]


def test_the_article_s_schedule_counts_epochs():
    strategy, training = make(preset="paper")
    for epoch in (1, 5, 24, 100, 400):
        context = Context(strategy, training)
        context.phase_step = epoch * context.steps_per_epoch - 1
        strategy.step(context)
        assert context.rates == [pytest.approx(min(1, epoch / 5) * max(0.97 ** (epoch / 2.4), 0.05))]


def test_the_constants_of_schedules_and_optimisers_are_options():
    strategy, training = make(
        preset="paper", decay=0.5, decay_epochs=1.0, warmup_epochs=0.0, momentum=0.3, rms_decay=0.8
    )
    context = Context(strategy, training)
    context.phase_step = 2 * context.steps_per_epoch - 1
    strategy.step(context)
    assert context.rates == [pytest.approx(0.25)]
    (group,) = training.optimisers["weights"].param_groups
    assert (group["momentum"], group["alpha"]) == (0.3, 0.8)
    strategy, training = make(warmup=0.0, momentum=0.3)
    context = Context(strategy, training)
    strategy.step(context)
    assert context.rates == [1.0]
    assert {group["momentum"] for group in training.optimisers["weights"].param_groups} == {0.3}


def test_temperature_epsilon_and_the_momentum_of_normalisation_are_options():
    strategy, training = make(preset="paper", epsilon=0.5, norm_momentum=0.25)
    assert training.optimisers["weights"].param_groups[0]["eps"] == 0.5
    norms = [m for m in training.modules["supernet"].modules() if isinstance(m, ElasticBatchNorm)]
    before = [m.running_mean.clone() for m in norms]
    context = Context(strategy, training)
    with torch.no_grad():
        net = training.modules["supernet"]
        net(context.images, strategy.problem.space.largest())
        quarter = [m.running_mean - b for m, b in zip(norms, before, strict=True)]
        for m, b in zip(norms, before, strict=True):
            m.running_mean.copy_(b)
            m.momentum = 0.5
        net(context.images, strategy.problem.space.largest())
    assert any(q.any() for q in quarter)
    for m, b, q in zip(norms, before, quarter, strict=True):
        torch.testing.assert_close(m.running_mean - b, 2 * q)
    gradients = []
    for temperature in (1.0, 4.0):
        strategy, training = make(clip=0.0, temperature=temperature)
        opinionated(training.modules["supernet"])
        context = Context(strategy, training, scale=0.0)
        strategy.step(context)
        gradients.append(context.gradients["layers.classifier.weight"])
    assert float(gradients[1].norm()) < float(gradients[0].norm()) / 2  # softer, and divided by it once more


def test_children_keep_their_weights():
    assert bignas.BigNAS.retrain is False
    assert bignas.BigNAS.evaluator == "shared"


def opinionated(net):
    """Move all weights, so that children and their teacher disagree."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw))
    return net


def test_with_alpha_children_learn_the_divergence_with_its_own_constants():
    gradients = []
    for options in ({"teaching": "alpha"}, {"teaching": "alpha", "alpha_clip": 1e9}, {"teaching": "soft"}):
        strategy, training = make(clip=0.0, **options)
        opinionated(training.modules["supernet"])
        context = Context(strategy, training, seed=5)
        strategy.step(context)
        gradients.append(context.gradients["layers.classifier.weight"])
    strategy, training = make(clip=0.0)
    context = Context(strategy, training, seed=5)
    net, space = opinionated(training.modules["supernet"]), strategy.problem.space
    outputs = net(context.images, space.largest())
    total = functional.cross_entropy(outputs, context.targets, label_smoothing=0.1)
    for child in [*drawn_by(strategy, 5, 2), space.smallest()]:
        total = total + adaptive_alpha_divergence(net(context.images, child), outputs)
    total.backward()
    assert torch.allclose(gradients[0], net.layers["classifier"].weight.grad, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-2)
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-2)


def test_paths_are_dropped_in_the_biggest_child_alone():
    strategy, training = make(bignas_space(), drop_path=0.4)
    net = training.modules["supernet"]
    chances: list[float] = []
    net.register_forward_pre_hook(lambda module, args: chances.append(module.dropping.chance))
    strategy.step(Context(strategy, training))
    assert chances == [0.4, 0.0, 0.0, 0.0]
    assert net.dropping.chance == 0.4


def test_untrained_options_are_searched_and_not_trained():
    space = bignas_space()
    strategy, training = make(space, untrained=("resolution:28", "s1.kernel:5"), children=20)
    ran = [space.describe(a) for a, _ in calls(strategy, training)]
    assert {each["resolution"] for each in ran} == {"24", "32"}
    assert {each["s1.kernel"] for each in ran} == {"3"}
    assert ran[0]["resolution"] == "32"
    assert any(space.describe(a)["resolution"] == "28" for a in strategy._queue)
    with pytest.raises(UsageError, match="untrained of bignas was given 'resolution:29'"):
        make(space, untrained=("resolution:29",))


# Selection


def problem_of(space, share=None):
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    if share is None:
        return Problem(space, costs=costs)
    rows = space.sample_batch(500, np.random.default_rng(0))
    return Problem(
        space, constraints=(Constraint("macs", float(np.quantile(costs["macs"].batch(rows), share))),), costs=costs
    )


def test_the_full_grid_has_one_setting_for_each_name_and_its_corners_are_the_extremes():
    space = shipped()
    grid = bignas.coarse_grid(problem_of(space), 3 * 3 * 3 * 2 * 3)
    assert len(set(grid)) == len(grid) == 162
    assert space.smallest() in grid
    assert space.largest() in grid
    for architecture in grid:
        labels = space.describe(architecture)
        assert len({label for name, label in labels.items() if name in ("s2.depth", "s3.depth")}) == 1
        for kind in ("width", "kernel", "expansion"):
            assert len({label for name, label in labels.items() if name.endswith(f".{kind}")}) == 1


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_the_grid_holds_different_architectures_within_the_limits(share):
    problem = problem_of(shipped(), share)
    grid = bignas.coarse_grid(problem, 20)
    assert len(set(grid)) == len(grid) == 20
    assert all(problem.feasible(a) and problem.space.contains(a) for a in grid)


def test_a_grid_too_large_to_list_is_drawn():
    space = registry.load("spaces", "mbconv")((3, 224, 224), 10)  # 21 names of 7 options
    grid = bignas.coarse_grid(problem_of(space, 0.3), 12)
    assert len(set(grid)) == 12
    assert all(space.contains(a) for a in grid)


def asked_and_told(strategy, accuracy, rounds=200):
    told, number = [], 0
    while proposals := strategy.ask(1, generator(0, "ask", number)):
        architecture = proposals[0].architecture
        result = Evaluation(number, architecture, {"accuracy_valid": accuracy(architecture)})
        strategy.tell([result])
        told.append(result)
        number += 1
        assert number < rounds
    return told


def test_fine_mutations_change_a_stage_of_the_best_and_improve_it_within_the_limits():
    space = shipped()
    problem = problem_of(space, 0.5)
    strategy = bignas.BigNAS(coarse=10, fine=60, parents=1)
    strategy.setup(problem)
    told = asked_and_told(strategy, lambda a: space.params(a) / 1e6)
    assert len(told) == 70
    assert len({each.architecture for each in told}) == 70
    assert all(problem.feasible(each.architecture) for each in told)
    changed = []
    for number, each in enumerate(told[10:], start=10):
        best = max(told[:number], key=lambda e: e.metrics["accuracy_valid"]).architecture
        names = [str(each.name).partition(".")[0] for each in space.choices]
        pairs = zip(best.decisions, each.architecture.decisions, names, strict=True)
        changed.append(len({stage for a, b, stage in pairs if a != b and a >= 0 and b >= 0}))
    assert changed.count(1) > len(changed) / 2
    assert max(changed) <= 4
    coarse = max(each.metrics["accuracy_valid"] for each in told[:10])
    assert max(each.metrics["accuracy_valid"] for each in told) > coarse


@pytest.mark.parametrize("at_a_time", [1, 5, 16])
def test_the_whole_coarse_phase_is_rated_before_the_first_mutation_however_many_are_rated_at_a_time(at_a_time):
    space = shipped()
    strategy = bignas.BigNAS(coarse=10, fine=6)
    strategy.setup(problem_of(space))
    grid = list(strategy._queue)
    told: list[Evaluation] = []
    asking = Asking(strategy, space, 0, at_a_time)

    def rate(job):
        if len(told) < 10:
            assert job.architecture in grid
        else:
            assert set(grid) == {each.architecture for each in told[:10]}
            assert job.architecture not in grid
        return {"accuracy_valid": float(space.params(job.architecture))}

    drive(asking, LocalExecutor(rate), told.append, lambda: True)
    assert len(told) == 16
    assert [each.architecture for each in told[:10]] == grid
    assert all(each.error is None for each in told)
    assert min(each.ask for each in told[10:]) == 10  # all ten had been told when the first mutation was made


def test_nothing_is_proposed_while_the_last_of_the_coarse_phase_are_rated():
    strategy = bignas.BigNAS(coarse=4, fine=2)
    strategy.setup(problem_of(shipped()))
    coarse = [each.architecture for each in strategy.ask(100, generator(0, "ask", 0))]
    assert len(coarse) == 4
    for number, architecture in enumerate(coarse):
        assert strategy.ask(3, generator(1, "ask", number)) == []
        strategy.tell([Evaluation(number, architecture, {}, error="it failed")])
    assert len(strategy.ask(3, generator(0, "ask", 1))) == 2


def test_each_rating_is_kept_with_the_architecture_it_belongs_to():
    space = shipped()
    strategy = bignas.BigNAS(coarse=8, fine=12)
    strategy.setup(problem_of(space))
    told = asked_and_told(strategy, lambda a: (hash(a.decisions) % 997) / 997)
    by_rating = sorted(told, key=lambda e: -e.metrics["accuracy_valid"])
    assert strategy.derive() == [each.architecture for each in by_rating]


def test_failures_are_not_derived():
    strategy = bignas.BigNAS(coarse=4, fine=2)
    strategy.setup(problem_of(shipped()))
    first, second = (strategy.ask(1, generator(0, "ask", i))[0].architecture for i in range(2))
    strategy.tell([Evaluation(0, first, {}, error="it failed"), Evaluation(1, second, {"accuracy_valid": 0.5})])
    assert strategy.derive() == [second]


def test_the_paper_s_coarse_phase_is_160_children_of_its_space():
    space = registry.load("spaces", "bignas")(resolutions=(192, 224, 256, 288, 320))
    strategy = bignas.BigNAS(preset="paper")
    strategy.setup(Problem(space))
    grid = [space.describe(each) for each in strategy._queue]
    assert len({tuple(each.items()) for each in grid}) == 160
    by_stage = {name: {tuple(v for k, v in each.items() if k.endswith(name)) for each in grid} for name in SETTINGS}
    assert {name: len(found) for name, found in by_stage.items()} == SETTINGS


def test_with_four_resolutions_the_paper_s_grid_has_128_points_and_random_networks_fill_it_up():
    space = registry.load("spaces", "bignas")()
    strategy = bignas.BigNAS(preset="paper")
    strategy.setup(Problem(space))
    assert len(set(strategy._queue)) == 160
    problem, levels = Problem(space), bignas.parse_levels(bignas.PAPER_LEVELS)
    assert set(bignas.coarse_grid(problem, 128, levels)) == set(strategy._queue[:128])
    kernels = [[v for k, v in space.describe(each).items() if k.endswith(".kernel")] for each in strategy._queue]
    assert len({tuple(each) for each in kernels[:128]}) == 4 < len({tuple(each) for each in kernels})


SETTINGS = {"resolution": 5, ".depth": 4, ".width": 2, ".kernel": 4}


def test_each_budget_gets_its_own_best_and_nothing_beyond_it_is_rated_for_it():
    space = bignas_space()
    macs = np.quantile(space.cost("macs").batch(space.sample_batch(500, np.random.default_rng(0))), (0.1, 0.4, 0.8))
    budgets = tuple(macs.tolist())
    strategy = bignas.BigNAS(coarse=8, fine=60, parents=1, budgets=budgets)
    strategy.setup(problem_of(space))
    told = asked_and_told(strategy, lambda a: space.macs(a) / 1e8)  # the larger the better
    for number, each in enumerate(told[8:], start=8):
        assert space.macs(each.architecture) <= budgets[number % 3]
    winners = strategy.winners()
    assert list(winners) == [f"macs <= {budget:.6g}" for budget in budgets]
    for budget, best in zip(budgets, winners.values(), strict=True):
        inside = [space.macs(each.architecture) for each in told if space.macs(each.architecture) <= budget]
        assert space.macs(best) == max(inside) > 0.8 * budget


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teaching": "logits"}, "teaching of bignas"),
        ({"drop_path": 1.0}, "drop_path of bignas was given 1.0"),
        ({"levels": ("depth",)}, "such as depth:4"),
        ({"children": -1}, "children=-1"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"epsilon": 0.0}, "epsilon=0"),
        ({"norm_momentum": 1.5}, "norm_momentum=1.5"),
    ],
)
def test_options_that_are_none_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        bignas.BigNAS(**options)
