"""NASNet's controller: PPO by hand, baseline, reward, log-probabilities of sampling time, limits, resumption."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import IncompatibleError, UsageError
from nasforge.goals import Constraint, Objective
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.rng import generator
from nasforge.run.compatible import why_incompatible
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import elastic_space, path_space
from nasforge.testing.trial import Trial

pytestmark = pytest.mark.plugins
rl = pytest.importorskip("nasforge_strategies.nasnet_rl")


def coin_space(options=(1, 3)):
    x = Conv(4, choice(*options, name="kernel"))(Input(3, 8, 8), name="conv")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="coin")


ACCURACY = (Objective("accuracy_valid"),)


def problem_of(space, objectives=ACCURACY, constraints=()):
    return Problem(space, objectives, constraints, {metric: space.cost(metric) for metric in ("params", "macs")})


def made(space, **options):
    strategy = rl.NASNetRL(**options)
    strategy.setup(problem_of(space))
    return strategy


def search(strategy, until, rewards, *, begin=0):
    """Ask and tell one at a time; `rewards(architecture, number)` is the accuracy, None a failure."""
    found = []
    for number in range(begin, until):
        (proposal,) = strategy.ask(1, generator(0, "ask", number))
        value = rewards(proposal.architecture, number)
        metrics = {} if value is None else {"accuracy_valid": value}
        found.append(Evaluation(number, proposal.architecture, metrics, error="lost" if value is None else None))
        strategy.tell(found[-1:])
    return found


def state_of(strategy):
    return {name: value.clone() for name, value in strategy._controller.state_dict().items()}


def told(proposals):
    return [Evaluation(i, each.architecture, {"accuracy_valid": i / 4}) for i, each in enumerate(proposals)]


# PPO


def test_the_gradient_of_ppo_is_that_of_the_formula_for_two_options():
    strategy = made(coin_space(), preset="paper", entropy=0.0)
    strategy.ask(1, generator(0, "ask", 0))
    controller, space = strategy._controller, strategy.problem.space
    options = [space.from_decisions([option]) for option in (0, 1)]
    logs, _ = controller(controller.encode(options))
    p = np.exp(logs.detach().numpy())
    old, advantages = np.log([0.45, 0.55]), np.asarray([0.7, -0.2])
    loss = rl.ppo_loss(logs, torch.tensor(old).float(), torch.tensor(advantages).float(), 0.2)
    ratios = p / np.exp(old)
    assert float(loss.detach()) == pytest.approx(-np.mean(ratios * advantages), abs=1e-6)
    loss.backward()
    # d log p(i) / d bias(j) = [i = j] - p(j); d ratio = ratio d log p
    expected = -np.mean((advantages * ratios)[:, None] * (np.eye(2) - p), axis=0)
    assert controller.bias.grad.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # beyond 1 + eps with gain: clipped
        (1.5, -2.0, 3.0, 3.0),  # beyond with loss: not clipped
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),
    ],
)
def test_only_gains_beyond_the_clip_range_are_clipped(ratio, advantage, loss, gradient):
    logs = torch.tensor([math.log(ratio)], requires_grad=True)
    found = rl.ppo_loss(logs, torch.zeros(1), torch.tensor([advantage]), 0.2)
    found.backward()
    assert float(found.detach()) == pytest.approx(loss)
    assert float(logs.grad) == pytest.approx(gradient)


def test_the_old_log_probability_is_that_of_sampling_time_even_after_updates(monkeypatch):
    seen = []
    loss = rl.ppo_loss
    monkeypatch.setattr(
        rl, "ppo_loss", lambda *given: (seen.append([each.detach().clone() for each in given[:2]]), loss(*given))[1]
    )
    strategy = made(path_space(3), preset="paper", batch=4, epochs=3, lr=0.05)
    early = strategy.ask(4, generator(0, "ask", 0))
    drawn_at = [strategy._policy.log_probability(each.architecture) for each in early]
    late = strategy.ask(4, generator(0, "ask", 1))
    strategy.tell(told(late))
    moved = [strategy._policy.log_probability(each.architecture) for each in early]
    assert np.abs(np.subtract(moved, drawn_at)).max() > 0.05
    strategy.tell(told(early))
    assert len(seen) == 6
    for _, old in seen[3:]:
        assert old.numpy() == pytest.approx(drawn_at, abs=1e-5)
    assert seen[3][0].numpy() == pytest.approx(moved, abs=1e-4)


def test_a_first_epoch_has_ratio_one_and_later_ones_do_not(monkeypatch):
    ratios = []
    loss = rl.ppo_loss
    monkeypatch.setattr(
        rl, "ppo_loss", lambda logs, old, *rest: (ratios.append((logs - old).detach().exp()), loss(logs, old, *rest))[1]
    )
    strategy = made(path_space(3), batch=4, epochs=3, lr=0.05)
    search(strategy, 4, lambda architecture, number: number / 4)
    assert ratios[0].numpy() == pytest.approx(np.ones(4), abs=1e-4)
    assert float((ratios[2] - 1).abs().max()) > 0.01


def test_the_same_architecture_drawn_twice_keeps_both_log_probabilities():
    strategy = made(coin_space(), redraws=0, batch=50)
    proposals = strategy.ask(6, generator(0, "ask", 0))
    waiting = sum(len(logs) for logs in strategy._waiting.values())
    assert waiting == 6
    assert len(strategy._waiting) == 2
    strategy.tell([Evaluation(i, each.architecture, {"accuracy_valid": 0.5}) for i, each in enumerate(proposals)])
    assert not strategy._waiting
    assert len(strategy._samples) == 6


def test_an_update_comes_with_every_full_batch():
    strategy = made(path_space(3), batch=5)
    changes, last = [], None
    for number in range(11):
        search(strategy, number + 1, lambda architecture, n: n / 11, begin=number)
        now = state_of(strategy)
        changes.append(last is not None and any(not torch.equal(now[name], last[name]) for name in now))
        last = now
    assert [number for number, changed in enumerate(changes) if changed] == [4, 9]


# Baseline and reward


def test_the_baseline_is_subtracted_before_the_rewards_move_it():
    strategy = made(path_space(2), preset="paper", batch=3, decay=0.9)
    first, second = [0.2, 0.5, 0.8], [0.9, 0.1, 0.4]
    assert strategy._advantages(first).numpy() == pytest.approx(np.asarray(first) - 0.5)
    b = 0.5
    for reward in first:
        b = 0.9 * b + 0.1 * reward
    assert float(strategy._baseline.value) == pytest.approx(b)
    assert strategy._advantages(second).numpy() == pytest.approx(np.asarray(second) - b)
    for reward in second:
        b = 0.9 * b + 0.1 * reward
    assert float(strategy._baseline.value) == pytest.approx(b)


def test_advantages_may_be_in_units_of_the_deviation_of_the_rewards():
    strategy = made(path_space(2), scale="deviation")
    rewards = [0.2, 0.5, 0.8]
    assert strategy._advantages(rewards).numpy() == pytest.approx((np.asarray(rewards) - 0.5) / np.std(rewards))
    assert made(path_space(2), scale="deviation")._advantages([0.3] * 4).tolist() == [0.0] * 4


def test_a_failure_has_the_least_reward_so_far():
    strategy = made(path_space(2), batch=50)
    given = [None, 0.6, None, 0.2, None, math.nan, 0.4]
    search(strategy, len(given), lambda architecture, number: given[number])
    assert [each.reward for each in strategy._samples] == [0.0, 0.6, 0.6, 0.2, 0.2, 0.2, 0.4]


# Learning


def test_entropy_falls_and_the_best_options_become_likely():
    space = path_space(4)
    strategy = made(space)
    target = (2, 0, 3, 1)
    search(strategy, 600, lambda architecture, number: float(np.mean(np.equal(architecture.decisions, target))))
    policy = strategy._policy
    drawn = [policy.draw(generator(1, "probe", number))[0] for number in range(100)]
    assert np.mean([each.decisions == target for each in drawn]) > 0.5
    assert min(np.mean([each.decisions[i] == target[i] for each in drawn]) for i in range(4)) > 0.8
    _, entropies = strategy._controller(strategy._controller.encode(drawn))
    assert float(entropies.detach().mean()) < 0.5 * math.log(4)


def test_the_entropy_bonus_keeps_the_controller_open():
    def entropy(weight):
        strategy = made(path_space(3), entropy=weight, batch=10)
        search(strategy, 300, lambda architecture, number: float(architecture.decisions[0] == 2))
        drawn = [strategy._policy.draw(generator(1, "probe", number))[0] for number in range(50)]
        return float(strategy._controller(strategy._controller.encode(drawn))[1].detach().mean())

    assert entropy(1.0) > entropy(0.0) + 0.1


def test_known_architectures_are_drawn_again_unless_the_preset_is_the_papers():
    quick, paper = made(path_space(2)), made(path_space(2), preset="paper")
    assert len({each.architecture for each in search(quick, 10, lambda architecture, number: 0.5)}) == 10
    assert len({each.architecture for each in search(paper, 40, lambda architecture, number: 0.5)}) < 40


# Limits


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_nothing_beyond_the_limits_is_proposed_and_its_log_probability_is_the_controllers(seed, share):
    space = elastic_space()
    costs = {"macs": space.cost("macs")}
    low, high = (costs["macs"](end) for end in (space.smallest(), space.largest()))
    limit = Constraint("macs", low + share * (high - low))
    strategy = rl.NASNetRL(tries=3)
    strategy.setup(Problem(space, constraints=(limit,), costs=costs))
    for number in range(6):
        (proposal,) = strategy.ask(1, generator(seed, "ask", number))
        assert costs["macs"](proposal.architecture) <= limit.bound
        kept = strategy._waiting[proposal.architecture][-1]
        assert kept == pytest.approx(strategy._policy.log_probability(proposal.architecture), abs=1e-5)
        strategy.tell([Evaluation(number, proposal.architecture, {"accuracy_valid": number / 6})])


# Resumption


def pretended_reward(architecture, number):
    return (hash(architecture.decisions) % 97) / 97


@pytest.mark.parametrize("cut", [0, 7, 12])
def test_resumed_equals_uninterrupted_bit_for_bit(cut):
    rewards = pretended_reward
    options = {"batch": 5, "lr": 0.02}
    whole = made(elastic_space(), **options)
    search(whole, 25, rewards)
    first, second = made(elastic_space(), **options), made(elastic_space(), **options)
    search(first, cut, rewards)
    state = Trial("nasnet_rl", {}, elastic_space(), 1, 1).through_disk(first.snapshot())
    search(first, 25, rewards, begin=cut)
    second.restore(state)
    search(second, 25, rewards, begin=cut)
    for other in (first, second):
        for name, value in state_of(whole).items():
            assert torch.equal(value, state_of(other)[name]), name
        assert other.snapshot()["baseline"] == whole.snapshot()["baseline"]


def test_a_snapshot_is_not_changed_by_what_follows():
    strategy = made(path_space(3), batch=4)
    search(strategy, 6, lambda architecture, number: number / 6)
    kept = strategy.snapshot()
    copy = {name: value.copy() for name, value in kept["controller"].items()}
    moments = [{name: np.copy(value) for name, value in each.items()} for each in kept["adam"]]
    search(strategy, 20, lambda architecture, number: number / 20, begin=6)
    assert all(np.array_equal(copy[name], value) for name, value in kept["controller"].items())
    for before, after in zip(moments, kept["adam"], strict=True):
        assert all(np.array_equal(before[name], after[name]) for name in before)


# Options


def test_a_space_with_one_architecture_is_refused_with_both_names():
    space = path_space(2).restrict({"b0": ["k3"], "b1": ["wide"]})
    with pytest.raises(IncompatibleError, match=r"'nasnet_rl'.*'paths'.*one option") as caught:
        rl.NASNetRL().setup(problem_of(space))
    assert caught.value.exit_code == 2
    assert why_incompatible(rl.NASNetRL(), space, "nasnet_rl") == str(caught.value)


def test_presets_hold_the_remembered_constants_and_options_go_before_them():
    paper = rl.NASNetRL(preset="paper")
    assert (paper._set.lr, paper._set.entropy, paper._set.decay, paper._set.batch) == (0.00035, 0.00001, 0.95, 20)
    assert (paper.units, paper.span, paper.clip) == (100, 0.1, 0.2)
    assert rl.NASNetRL(preset="paper", lr=0.1)._set.lr == 0.1
    quick = rl.NASNetRL()._set
    assert quick.lr > paper._set.lr
    assert quick.entropy > paper._set.entropy


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "papre"},
        {"batch": 1},
        {"epochs": 0},
        {"decay": 1.0},
        {"clip": 0.0},
        {"lr": 0.0},
        {"entropy": -1.0},
        {"heads": "none"},
        {"scale": "variance"},
        {"tries": 0},
        {"redraws": -1},
        {"units": 0},
        {"span": 0.0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        rl.NASNetRL(**options)
