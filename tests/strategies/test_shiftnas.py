"""ShiftNAS: what is trained and when, where theta goes under both estimators and either sign, decoding, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, InfeasibleError, UsageError
from nasforge.goals import Constraint
from nasforge.hardware.cost import WalkCost
from nasforge.rng import generator
from nasforge.run.progress import Listener
from nasforge.strategy import Problem
from nasforge.strategy.bins.drawing import aim
from nasforge.strategy.bins.generator import decoded
from nasforge.testing.small_spaces import elastic_space, path_space
from nasforge.testing.trial import Trial

pytestmark = pytest.mark.plugins
shiftnas = pytest.importorskip("nasforge_strategies.shiftnas")
SPACE = elastic_space()


class Figures(Listener):
    """Keeps the figures of every step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def figures(self, part: str, step: int, values: Any) -> None:
        self.rows.append(dict(values))


def trained(steps=12, space=SPACE, constraints=(), seed=1, **options):
    trial = Trial("shiftnas", options, space, 8, steps)
    strategy, training = trial.training(trial.problem(constraints), seed)
    heard = Figures()
    training.run(heard, lambda kind, state: None)
    return strategy, training, heard.rows


def problem_of(space=SPACE, constraints=(), **costs):
    known = {metric: space.cost(metric) for metric in ("params", "macs")}
    return Problem(space, constraints=constraints, costs=known | costs)


def set_up(space=SPACE, constraints=(), **options):
    strategy = shiftnas.ShiftNAS(**options)
    strategy.setup(problem_of(space, constraints))
    return strategy


# Turns


def test_theta_is_learned_only_after_the_uniform_part_and_every_so_many_steps():
    _, _, rows = trained(20, uniform=0.5, theta_every=4, theta_bins=1, recipe="single")
    assert [step for step, row in enumerate(rows) if "bin_entropy" in row] == [10, 14, 18]
    _, training, rows = trained(9, uniform=0.9, theta_every=100, estimator="none", recipe="single")
    assert not training.modules["bins"].theta.any()
    assert not any("bin_entropy" in row for row in rows)


def test_the_generator_learns_costs_in_every_uniform_step_and_the_task_in_some():
    _, _, rows = trained(20, uniform=0.5, generator_every=3, task_every=5, theta_bins=1, recipe="single")
    assert [step for step, row in enumerate(rows) if "cost_error" in row] == [*range(10), 10, 13, 16, 19]
    assert [step for step, row in enumerate(rows) if "task_loss" in row] == [0, 5, 10]


@pytest.mark.parametrize("uniform", [0.3, 0.36])
@pytest.mark.parametrize("steps", [25, 50])
def test_the_task_is_seen_in_every_nth_update_of_the_generator_wherever_the_uniform_part_ends(steps, uniform):
    options = {"generator_every": 2, "task_every": 4, "recipe": "single", "estimator": "none"}
    _, training, rows = trained(steps, uniform=uniform, **options)
    begun = round(steps * uniform)
    turns = [step for step, row in enumerate(rows) if "cost_error" in row]
    assert turns == [*range(begun), *range(begun, steps, 2)]
    seen = [step for step, row in enumerate(rows) if "task_loss" in row]
    assert seen == turns[::4]
    assert max(seen) > begun
    assert int(training.modules["generator"].updates) == len(turns)


def test_the_count_of_updates_is_part_of_the_generator_s_state():
    _, training = make(task_every=3)
    net = training.modules["generator"]
    assert [net.count_update(3) for _ in range(5)] == [True, False, False, True, False]
    _, other = make(task_every=3)
    other.modules["generator"].load_state_dict(net.state_dict())
    assert [other.modules["generator"].count_update(3) for _ in range(3)] == [False, True, False]
    assert not any(net.count_update(0) for _ in range(4))


def test_bins_are_uniform_first_and_then_drawn_from_b():
    strategy = set_up(bins=4)
    strategy.modules(strategy.problem, 0)
    with torch.no_grad():
        strategy._distribution.theta[2] = 50.0

    class Now:
        rng = np.random.default_rng(0)

        def __init__(self, name):
            self.phase = shiftnas.Phase(name)

    uniform = np.bincount([strategy._bin(Now("uniform")) for _ in range(2000)], minlength=4) / 2000
    assert uniform == pytest.approx([0.25] * 4, abs=0.04)
    shifted = np.bincount([strategy._bin(Now("shift")) for _ in range(2000)], minlength=4) / 2000
    assert shifted == pytest.approx([0.05, 0.05, 0.85, 0.05], abs=0.04)


# What is trained


def children_of(strategy, training, steps_seed=0):
    """Return what one step trained, in order."""
    net, found = training.modules["supernet"], []
    handle = net.register_forward_pre_hook(lambda module, args: found.append(args[1]))
    context = _context(strategy, training, steps_seed)
    strategy._train_weights(context)
    handle.remove()
    return found


def _context(strategy, training, seed, phase="uniform"):
    from nasforge.run.shared_training import StepContext
    from nasforge.run.team import Alone

    return StepContext(
        strategy.problem,
        training.modules,
        training.optimisers,
        training._task,
        training._train,
        training._valid,
        shiftnas.Phase(phase),
        seed,
        seed,
        10,
        0.5,
        generator(seed, "step"),
        Alone(),
    )


def make(space=SPACE, **options):
    return Trial("shiftnas", options, space, 8, 4).training()


def test_a_sandwich_is_the_biggest_the_drawn_ones_and_the_smallest_and_single_is_the_drawn_one_alone():
    strategy, training = make(children=3)
    found = children_of(strategy, training)
    assert len(found) == 5
    assert (found[0], found[-1]) == (SPACE.largest(), SPACE.smallest())
    strategy, training = make(recipe="single")
    assert len(children_of(strategy, training)) == 1


@pytest.mark.parametrize("sampler", ["generator", "table", "bins"])
def test_the_drawn_ones_spread_over_the_bins_whatever_draws_them(sampler):
    strategy, _ = make(sampler=sampler, bins=4)
    rng = np.random.default_rng(0)
    drawn = [pair for _ in range(25) for pair in enumerate(strategy._drawing.for_bins(range(4), rng).architectures)]
    assert all(SPACE.contains(child) for _, child in drawn)
    off = [abs(int(strategy._bins.index(strategy._cost(child))) - number) for number, child in drawn]
    assert max(off) <= (1 if sampler != "generator" else 2)
    assert len({child for _, child in drawn}) > 40


def test_figures_of_a_step_say_how_the_generator_did_and_of_the_others_only_what_they_drew():
    for sampler, said in (
        ("generator", {"in_bin", "drawn_macs", "fallback_share"}),
        ("table", {"in_bin", "drawn_macs"}),
    ):
        for recipe, losses in (("single", {"loss"}), ("sandwich", {"loss", "children_loss"})):
            strategy, training = make(sampler=sampler, recipe=recipe)
            assert strategy._train_weights(_context(strategy, training, 0)).keys() == losses | said


def test_the_generator_s_gradient_has_the_task_s_loss_in_it():
    gradients = []
    for task_every in (1, 0):
        strategy, training = make(task_every=task_every)
        with torch.no_grad():
            for name, parameter in training.modules["supernet"].named_parameters():
                if name.endswith("bn.weight"):
                    parameter.fill_(1.0)
        context = _context(strategy, training, 0)
        kept = []
        hook = training.optimisers["generator"].register_step_pre_hook(
            lambda *_, strategy=strategy, kept=kept: kept.append(strategy._generator.head.grad.clone())
        )
        strategy._train_generator(context)
        hook.remove()
        gradients += kept
    assert gradients[0].any()
    assert not torch.allclose(gradients[0], gradients[1])


# Theta


@pytest.mark.parametrize("estimator", ["reward", "look_ahead"])
@pytest.mark.parametrize("theta_path", ["bins", "cost"])
@pytest.mark.parametrize("sign", [1, -1])
def test_theta_follows_its_estimator_and_its_sign_and_nothing_else_moves(estimator, theta_path, sign):
    if estimator == "reward" and theta_path == "cost":
        pytest.skip("the reward has no path")
    options = {"estimator": estimator, "theta_path": theta_path, "theta_bins": 2, "bins": 3, "recipe": "single"}
    strategy, training = make(**options, sign=sign)
    for module in training.modules.values():
        module.train()
    before = {name: p.detach().clone() for name, p in training.modules["supernet"].state_dict().items()}
    strategy._train_theta(_context(strategy, training, 3, "shift"))
    after = training.modules["supernet"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in training.modules["supernet"].parameters())
    moved = strategy._distribution.theta.detach().clone()
    assert moved.any()
    twin, other = make(**options, sign=-sign)
    for module in other.modules.values():
        module.train()
    twin._train_theta(_context(twin, other, 3, "shift"))
    assert torch.allclose(twin._distribution.theta.detach(), -moved, atol=1e-6)


def test_quick_look_ahead_moves_theta_although_its_gradients_are_small():
    strategy, training = make(estimator="look_ahead", bins=4, recipe="single")
    theta, optimiser = strategy._distribution.theta, training.optimisers["theta"]
    for _ in range(60):  # gradients as small as they are measured, always the same way
        theta.grad = torch.tensor([-2e-3, 2e-3, 0.0, 0.0])
        optimiser.step()
    chances = strategy._distribution().detach()
    assert chances[0] > 0.5 > 0.25 > chances[1]
    bound = 1.0 / strategy._set.theta_decay
    assert theta.detach().abs().max() <= bound + 1e-3
    for _ in range(200):  # what is over is forgotten
        theta.grad = torch.zeros(4)
        optimiser.step()
    assert strategy._distribution().detach().tolist() == pytest.approx([0.25] * 4, abs=0.05)


def test_a_lasting_reward_leads_to_a_theta_of_reward_over_decay():
    strategy, training = make(bins=2)
    theta = strategy._distribution.theta
    for _ in range(200):
        theta.grad = -torch.tensor([0.3, -0.3])
        training.optimisers["theta"].step()
    assert theta.tolist() == pytest.approx([0.3 / strategy._set.theta_decay, -0.3 / strategy._set.theta_decay])


# Selection


@pytest.mark.parametrize("sampler", ["bins", "table", "layers"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_without_a_generator_what_is_derived_is_drawn_at_and_below_the_limit(sampler, share):
    bound = float(np.quantile(sorted(SPACE.macs(a) for a in SPACE.enumerate()), share))
    strategy = set_up(constraints=(Constraint("macs", bound),), sampler=sampler, estimator="none", bins=8)
    strategy.modules(strategy.problem, 0)
    found = [SPACE.macs(a) for a in strategy.derive()]
    assert len(found) == strategy.finalists
    assert found == sorted(found, reverse=True)
    assert all(bound - 1.5 * strategy._bins.width <= cost <= bound for cost in found)
    with torch.no_grad():  # whatever the generator says
        strategy._generator.bias.fill_(-100.0)
    assert [SPACE.macs(a) for a in strategy.derive()] == found


def test_a_lowest_bin_that_a_second_limit_empties_leaves_what_the_problem_can_sample():
    macs, params = (min(SPACE.cost(m)(a) for a in SPACE.enumerate()) for m in ("macs", "params"))
    strategy = set_up(constraints=(Constraint("macs", macs), Constraint("params", params)), sampler="bins")
    strategy.modules(strategy.problem, 0)
    assert {SPACE.macs(a) for a in strategy.derive()} == {macs}


@pytest.fixture(scope="module")
def learned():
    limit = Constraint("macs", float(np.quantile(sorted(SPACE.macs(a) for a in SPACE.enumerate()), 0.9)))
    options = {"recipe": "single", "estimator": "none", "task_every": 0, "generator_every": 1}
    strategy, _, _ = trained(120, constraints=(limit,), **options)
    return strategy, limit.bound


def generated_cost(strategy, bound):
    drawn = decoded(strategy._generator, [aim(strategy._bins, bound)] * 100, np.random.default_rng(0))
    return float(np.mean([SPACE.macs(a) for a in drawn]))


def test_what_is_derived_is_near_the_limit_and_within_it(learned):
    strategy, bound = learned
    found = strategy.derive()
    assert 1 <= len(found) <= strategy.finalists
    assert all(SPACE.macs(a) <= bound for a in found)
    assert SPACE.macs(found[0]) == max(SPACE.macs(a) for a in found) >= 0.9 * bound
    assert found == strategy.derive()


def test_a_trained_generator_draws_about_the_target_and_an_untrained_one_does_not(learned):
    strategy, bound = learned
    assert generated_cost(strategy, bound) == pytest.approx(bound, rel=0.2)
    untrained = set_up(constraints=strategy.problem.constraints)
    untrained.modules(untrained.problem, 1)
    assert generated_cost(untrained, bound) < 0.6 * bound


def test_without_a_limit_the_greatest_cost_is_decoded_once_it_is_learned(learned):
    strategy, _ = learned
    largest = SPACE.macs(SPACE.largest())
    free = set_up()
    free.modules(free.problem, 1)
    assert SPACE.macs(free.derive()[0]) < 0.8 * largest
    free._generator.load_state_dict(strategy._generator.state_dict())
    assert SPACE.macs(free.derive()[0]) >= 0.9 * largest


def test_limits_of_another_metric_and_beyond_the_range_are_kept():
    every = list(SPACE.enumerate())
    most = max(SPACE.params(a) for a in every)
    bound = float(np.quantile([SPACE.params(a) for a in every], 0.1))
    strategy = set_up(constraints=(Constraint("macs", 1e12), Constraint("params", bound)))
    strategy.modules(strategy.problem, 0)
    assert all(SPACE.params(a) <= bound for a in strategy.derive())
    strategy = set_up(constraints=(Constraint("params", 2.0 * most),))
    assert strategy._bins.metric == "params"
    assert strategy._bins.most == most
    strategy.modules(strategy.problem, 0)
    assert strategy.derive()
    strategy = set_up(constraints=(Constraint("macs", 0.5 * SPACE.macs(SPACE.smallest())),))
    strategy.modules(strategy.problem, 0)
    with pytest.raises(InfeasibleError, match="macs"):
        strategy.derive()


def test_inherited_weights_are_kept():
    assert shiftnas.ShiftNAS.retrain is False
    assert shiftnas.ShiftNAS.evaluator == "shared"


# Options


def test_presets_and_the_paper_s_constants():
    paper = shiftnas.ShiftNAS(preset="paper")._set
    assert (paper.width, paper.theta_every, paper.theta_lr, paper.generator_lr) == (1e8, 100, 1e-3, 1e-3)
    assert (paper.estimator, paper.theta_path, paper.cost_model) == ("look_ahead", "cost", "additive")
    assert (paper.task_every, paper.tries, paper.fallback) == (1, 1, False)
    assert shiftnas.ShiftNAS(preset="paper", width=0.0)._set.width == 0.0


def test_the_paper_s_preset_runs_on_a_small_space():
    strategy, training, rows = trained(8, preset="paper", width=0.0, uniform=0.5, theta_every=2, theta_bins=1)
    assert any("bin_entropy" in row for row in rows)
    assert all("task_loss" in row for row in rows)
    assert training.modules["bins"].theta.any()
    assert all(len(table.axes) == 1 for table in strategy._fitted.tables)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "one leaves nothing to shift"),
        ({"bins": -2}, "at least 2 bins"),
        ({"uniform": 1.0}, "0 < uniform < 1"),
        ({"floor": 1.5}, "0 <= floor <= 1"),
        ({"sign": 0}, "sign 1 or -1"),
        ({"theta_every": 0}, "at least 1 of each"),
        ({"estimator": "lookahead"}, "Did you mean 'look_ahead'"),
        ({"sampler": "tables"}, "Did you mean 'table'"),
        ({"recipe": "double"}, "recipe of shiftnas"),
        ({"preset": "papers"}, "Did you mean 'paper'"),
        ({"temperature": 0.0}, "a temperature above 0"),
        ({"temperature": float("nan")}, "a temperature above 0"),
        ({"memory": 1.0}, "0 <= memory < 1"),
        ({"memory": -0.1}, "0 <= memory < 1"),
        ({"lam": -1.0}, "lam=-1, bonus=0.02 and theta_decay=0.5; expected finite numbers of at least 0"),
        ({"lam": float("nan")}, "lam=nan"),
        ({"task_images": -1}, "task_images=-1"),
        ({"theta_bins": -1}, "theta_bins=-1"),
        ({"task_every": -1}, "task_every=-1"),
        ({"sampler": "layers", "estimator": "reward"}, "theta would change nothing"),
        ({"preset": "paper", "sampler": "table"}, "which only sampler=generator trains"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        shiftnas.ShiftNAS(**options)


def test_layers_learn_no_theta_and_a_table_may_look_ahead_by_bins():
    _, training, rows = trained(20, sampler="layers", recipe="single", theta_every=2)
    assert not any("theta_passes" in row for row in rows)
    assert set(training.optimisers) == {"weights"}
    assert shiftnas.ShiftNAS(preset="paper", sampler="layers")._set.estimator == "none"
    assert shiftnas.ShiftNAS(preset="paper", sampler="table", theta_path="bins")._set.estimator == "look_ahead"


def test_more_bins_at_a_time_than_there_are_is_refused():
    with pytest.raises(UsageError, match="theta_bins=5 for 4 bins of macs"):
        set_up(bins=4, theta_bins=5)
    assert set_up(bins=4, theta_bins=4)._bins.number == 4


def test_empty_bins_are_refused_and_the_default_has_none():
    with pytest.raises(UsageError, match=r"bins of macs in space 'paths' hold no architecture"):
        set_up(path_space(1), bins=40)
    strategy = set_up(path_space(1))
    assert strategy._bins.number >= 2


def test_a_width_of_the_paper_is_refused_on_a_small_space_with_its_range():
    with pytest.raises(UsageError, match="a bin width of 1e\\+08 was given for macs from"):
        set_up(preset="paper")


def test_an_unknown_cost_and_a_space_of_one_cost_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'macs'"):
        set_up(cost="mac")
    strategy = shiftnas.ShiftNAS(cost="flat")
    with pytest.raises(IncompatibleError, match=r"'shiftnas' cannot search space 'elastic'.* have flat 3"):
        strategy.setup(problem_of(flat=WalkCost("flat", lambda a: 3.0, SPACE.fingerprint)))


def test_a_cost_without_tables_is_refused():
    walk = WalkCost("walk", lambda a: float(sum(a.decisions)), SPACE.fingerprint)
    with pytest.raises(IncompatibleError, match="is no sum of tables"):
        shiftnas.ShiftNAS(cost="walk").setup(problem_of(walk=walk))


def test_restricted_spaces_keep_to_their_options():
    space = SPACE.restrict({"depth": [1, 2], "width": [8]})
    strategy, _, _ = trained(6, space=space, recipe="single", theta_bins=1)
    assert all(space.contains(a) for a in strategy.derive())
    assert isinstance(strategy._net, Supernet)
    assert replace(strategy.problem, space=space).space is space
