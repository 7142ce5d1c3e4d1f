"""ProxylessNAS by gradient: gates, equation 4, the rescaling, what each kind of step may touch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nasforge.errors import UsageError
from nasforge.layers import Mixture
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.strategy import Batch
from nasforge.testing.shared_weights import Heard, differences
from nasforge.testing.small_spaces import path_space
from nasforge.testing.trial import Trial

pytestmark = pytest.mark.plugins
proxyless = pytest.importorskip("nasforge_strategies.proxyless")

ZERO = 3  # option of every choice of `path_space`
MODES = ("two", "full", "full_v2")


class Context:
    """A context of its own: fixed batches, gradients noted at every update."""

    def __init__(self, training, *, seed=0, phase="search", phase_step=1, progress=0.25, weight_of_loss=1.0):
        self.rng = np.random.default_rng(seed)
        self.phase = next(each for each in training.phases if each.name == phase)
        self.phase_step, self.progress, self.steps_per_epoch = phase_step, progress, 10
        self._training, self._weight = training, weight_of_loss
        self.noted: list[tuple[str, float, list[torch.Tensor | None]]] = []
        self.losses: list[float] = []
        dtype = next(training.modules["supernet"].parameters()).dtype
        self._dtype = dtype

    def _batch(self, stream):
        stream.taken = 0
        images, targets = stream.take()
        return Batch(images.to(self._dtype), targets)

    def train_batch(self):
        return self._batch(self._training._train)

    def valid_batch(self):
        return self._batch(self._training._valid)

    def loss(self, outputs, targets, smoothing=0.0):
        value = self._weight * torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
        self.losses.append(float(value.detach()))
        return value

    def metrics(self, outputs, targets):
        return {"accuracy": float((outputs.argmax(1) == targets).float().mean())}

    def backward(self, loss):
        loss.backward()

    def update(self, name, rate=1.0):
        optimiser = self._training.optimisers[name]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.noted.append((name, rate, [None if p.grad is None else p.grad.clone() for p in parameters]))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def make(layers=3, seed=1, scale=0.0, double=False, **options):
    """Return a strategy and its training; logits are spread by `scale`."""
    trial = Trial("proxyless", options, path_space(layers), 8, 10)
    strategy, training = trial.training(seed=seed)
    for module in training.modules.values():
        module.train()
        if double:
            module.double()
    scatter(training, scale, seed)
    return strategy, training


def scatter(training, scale, seed):
    with torch.no_grad():
        for number, alpha in enumerate(alphas(training)):
            noise = torch.randn(len(alpha), generator=torch.Generator().manual_seed(97 * seed + number))
            alpha.add_(scale * noise.to(alpha.dtype))


def alphas(training):
    return list(training.modules["paths"].alphas)


def values(training):
    return [alpha.detach().clone() for alpha in alphas(training)]


def state_of(training, name):
    return {key: value.clone() for key, value in training.modules[name].state_dict().items()}


def gates_of(strategy, monkeypatch):
    """Return the list in which every drawn gate will be noted."""
    drawn: list[Any] = []
    original = strategy._binarise

    def noting(choice, rng):
        drawn.append(original(choice, rng))
        return drawn[-1]

    monkeypatch.setattr(strategy, "_binarise", noting)
    return drawn


def fixed(strategy, monkeypatch, active):
    """Let every choice's gates be drawn with a given active option (and the next one beside it in `two`)."""

    def binarise(choice, rng):
        logits = strategy._paths.logits(choice)
        option = active[choice]
        support = tuple(range(4)) if strategy._set.mode != "two" else tuple(sorted({option, (option + 1) % 4}))
        q = torch.softmax(logits[list(support)], 0)
        g = torch.zeros_like(logits.detach())
        g[option] = 1.0
        p_now = torch.zeros_like(g).index_put((torch.tensor(support),), q)
        return proxyless.Gate(g.requires_grad_(True), support, option, p_now, q.detach())

    monkeypatch.setattr(strategy, "_binarise", binarise)


# Drawing the gates


def test_two_paths_are_drawn_without_replacement_and_one_of_them_by_their_softmax():
    strategy, training = make(1, scale=1.0, mode="two")
    p = training.modules["paths"].probabilities()[0]
    rng, rounds = np.random.default_rng(0), 3000
    pairs, actives = np.zeros((4, 4)), np.zeros((4, 4))
    for _ in range(rounds):
        gate = strategy._binarise(0, rng)
        first, second = gate.support
        assert first < second
        assert gate.active in gate.support
        assert gate.g.detach().tolist() == [float(option == gate.active) for option in range(4)]
        pairs[first, second] += 1 / rounds
        actives[first, second] += gate.active == first
    for first in range(4):
        for second in range(first + 1, 4):
            chance = p[first] * p[second] * (1 / (1 - p[first]) + 1 / (1 - p[second]))
            assert pairs[first, second] == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / rounds))
            count = pairs[first, second] * rounds
            share = actives[first, second] / count
            q = p[first] / (p[first] + p[second])
            assert share == pytest.approx(q, abs=5 * math.sqrt(q * (1 - q) / count))


@pytest.mark.parametrize("mode", ["full", "full_v2"])
def test_all_gates_are_there_in_the_full_modes_and_the_active_one_follows_p(mode):
    strategy, training = make(1, scale=1.0, mode=mode)
    p, rng = training.modules["paths"].probabilities()[0], np.random.default_rng(0)
    drawn = [strategy._binarise(0, rng) for _ in range(4000)]
    assert {gate.support for gate in drawn} == {(0, 1, 2, 3)}
    assert np.bincount([g.active for g in drawn], minlength=4) / 4000 == pytest.approx(p, abs=0.04)
    assert drawn[0].p_now.detach().numpy() == pytest.approx(p, abs=1e-6)


def test_the_cost_of_a_step_counts_the_pair_alone():
    strategy, training = make(2, scale=1.0, mode="two")
    gate = strategy._binarise(0, np.random.default_rng(0))
    outside = [option for option in range(4) if option not in gate.support]
    assert gate.p_now[outside].tolist() == [0.0, 0.0]
    assert float(gate.p_now.sum().detach()) == pytest.approx(1.0)
    gate.p_now[next(iter(gate.support))].backward()
    assert alphas(training)[0].grad[outside].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_forward_value_of_the_active_path(mode, monkeypatch):
    active = (0, 2, 1)
    strategy, training = make(mode=mode, latency_loss="none")
    fixed(strategy, monkeypatch, active)
    context = Context(training)
    images, targets = context.valid_batch()
    net = training.modules["supernet"]
    with torch.no_grad():
        expected = context.loss(net(images, strategy.problem.space.from_decisions(active)), targets)
    strategy._architecture_step(context)
    assert context.losses[-1] == float(expected)


# The rescaling (P-2)


def test_two_path_steps_move_the_pair_alone_and_leave_every_other_probability_as_it_was(monkeypatch):
    moved = 0
    strategy, training = make(2, mode="two", arch_lr=0.3)
    drawn = gates_of(strategy, monkeypatch)
    for seed in range(100):
        drawn.clear()
        scatter(training, 1.0, seed)
        before, p_before = values(training), training.modules["paths"].probabilities()
        strategy._architecture_step(Context(training, seed=seed))
        p_after = training.modules["paths"].probabilities()
        for choice, gate in enumerate(drawn):
            pair, outside = list(gate.support), [o for o in range(4) if o not in gate.support]
            now = alphas(training)[choice].detach()
            assert torch.equal(now[outside], before[choice][outside])
            assert np.abs(p_after[choice] - p_before[choice])[outside].max() < 1e-6
            assert abs(p_after[choice][pair].sum() - p_before[choice][pair].sum()) < 1e-6
            moved += not torch.equal(now[pair], before[choice][pair])
    assert moved > 100


def test_without_the_rescaling_the_other_probabilities_would_move():
    strategy, training = make(2, 3, scale=1.0, mode="two", arch_lr=0.3)
    p_before = training.modules["paths"].probabilities()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxyless, "rescale", lambda *arguments: None)
        patch.setattr(strategy, "_zeros", [frozenset(), frozenset()])
        strategy._architecture_step(Context(training, seed=3))
    p_after = training.modules["paths"].probabilities()
    assert np.abs(np.asarray(p_after) - np.asarray(p_before)).min() > 1e-4


# Equation 4 (P-3)


def gradients_of(training, context, strategy):
    strategy._architecture_step(context)
    ((name, _, found),) = context.noted
    assert name == "paths"
    return found


@pytest.mark.parametrize("active", [(0, 2, 1), (1, 1, 0), (2, 0, 2)])
def test_gradients_are_those_of_the_softmax_with_gates_in_its_place(active, monkeypatch):
    found = {}
    for mode in ("full", "full_v2"):
        strategy, training = make(scale=0.5, double=True, mode=mode, latency_loss="none")
        fixed(strategy, monkeypatch, active)
        before = values(training)
        found[mode] = gradients_of(training, Context(training), strategy)
    # dL/dg by central differences on the whole network, each gate of each choice by itself
    context = Context(training)
    images, targets = context.valid_batch()
    net, space = training.modules["supernet"], strategy.problem.space
    names = [str(read.name) for read in space.choices]

    def loss_at(choice, gates):
        one_hot = [torch.eye(4, dtype=torch.float64)[option] for option in active]
        one_hot[choice] = gates
        mixtures = {n: Mixture(g, (0, 1, 2, 3)) for n, g in zip(names, one_hot, strict=True)}
        with torch.no_grad():
            return float(
                torch.nn.functional.cross_entropy(net(images, space.from_decisions(active), mixtures), targets)
            )

    for choice, option in enumerate(active):
        slopes = []
        for gate in range(4):
            step = 1e-7 * torch.eye(4, dtype=torch.float64)[gate]
            here = torch.eye(4, dtype=torch.float64)[option]
            slopes.append((loss_at(choice, here + step) - loss_at(choice, here - step)) / 2e-7)
        alpha = before[choice].requires_grad_()
        (torch.softmax(alpha, 0) * torch.tensor(slopes)).sum().backward()
        for mode in ("full", "full_v2"):
            assert torch.allclose(found[mode][choice], alpha.grad, rtol=1e-4, atol=1e-7), mode
        assert torch.allclose(found["full"][choice], found["full_v2"][choice], rtol=1e-9, atol=1e-12)


def test_of_two_paths_one_gains_what_the_other_loses(monkeypatch):
    active = (0, 2, 1)
    strategy, training = make(scale=0.5, double=True, mode="two", latency_loss="none")
    fixed(strategy, monkeypatch, active)
    before = training.modules["paths"].probabilities()
    found = gradients_of(training, Context(training), strategy)
    full, other = make(scale=0.5, double=True, mode="full", latency_loss="none")
    fixed(full, monkeypatch, active)
    seen = {}
    original = full._set_gradient
    monkeypatch.setattr(
        full, "_set_gradient", lambda c, gate: (seen.update({c: gate.g.grad.clone()}), original(c, gate))
    )
    gradients_of(other, Context(other), full)
    for choice, option in enumerate(active):
        a, b = option, (option + 1) % 4
        q = before[choice][[a, b]] / before[choice][[a, b]].sum()
        expected = q[0] * q[1] * float(seen[choice][a] - seen[choice][b])
        assert float(found[choice][a]) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert float(found[choice][b]) == pytest.approx(-expected, rel=1e-6, abs=1e-12)
        assert [float(found[choice][o]) for o in range(4) if o not in (a, b)] == [0.0, 0.0]


# Zero


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_whose_active_operator_is_zero_is_left_alone_latency_and_all(mode, monkeypatch):
    strategy, training = make(mode=mode, latency_loss="add", lam=1.0, only_above=False)
    fixed(strategy, monkeypatch, (ZERO, 0, 1))
    before = values(training)
    found = gradients_of(training, Context(training), strategy)
    assert found[0] is None
    assert torch.equal(alphas(training)[0], before[0])
    assert found[1] is not None
    assert not torch.equal(alphas(training)[1], before[1])


def test_an_inactive_zero_costs_nothing_and_its_gate_has_no_gradient_of_the_loss(monkeypatch):
    strategy, training = make(mode="two", latency_loss="none")
    fixed(strategy, monkeypatch, (2, 0, 1))  # beside 2 stands 3, Zero
    seen = {}
    original = strategy._set_gradient
    monkeypatch.setattr(strategy, "_set_gradient", lambda c, g: (seen.update({c: g.g.grad.clone()}), original(c, g)))
    strategy._architecture_step(Context(training))
    assert float(seen[0][ZERO]) == 0.0
    assert float(seen[0][2]) != 0.0
    for _choice in range(3):
        costs = [strategy.problem.space.macs(strategy.problem.space.from_decisions([o, 0, 0])) for o in range(4)]
        assert min(costs) == costs[ZERO]


# What each step may touch


@pytest.mark.parametrize("mode", MODES)
def test_an_architecture_step_moves_no_weight_and_no_running_statistic(mode):
    strategy, training = make(mode=mode)
    before = state_of(training, "supernet")
    strategy._architecture_step(Context(training))
    assert differences(before, state_of(training, "supernet")) == []
    assert all(p.requires_grad and p.grad is None for p in training.modules["supernet"].parameters())
    assert all(m.tracking for m in training.modules["supernet"].modules() if isinstance(m, ElasticBatchNorm))


def test_an_architecture_step_normalises_by_the_batch(monkeypatch):
    losses = []
    for shift in (0.0, 5.0):
        strategy, training = make(mode="two")
        fixed(strategy, monkeypatch, (0, 1, 0))
        for module in training.modules["supernet"].modules():
            if isinstance(module, ElasticBatchNorm):
                module.running_mean.fill_(shift)
        context = Context(training)
        strategy._architecture_step(context)
        losses += context.losses
    assert losses[0] == losses[1]


def test_the_weights_optimiser_holds_weights_alone_and_all_of_them_and_the_other_one_the_logits():
    _, training = make()
    held = {
        name: {id(p) for group in optimiser.param_groups for p in group["params"]}
        for name, optimiser in training.optimisers.items()
    }
    assert held["weights"] == {id(p) for p in training.modules["supernet"].parameters()}
    assert held["paths"] == {id(alpha) for alpha in alphas(training)}
    assert training.optimisers["paths"].param_groups[0]["betas"] == (0.0, 0.999)
    assert training.optimisers["paths"].param_groups[0]["weight_decay"] == 0.0


def test_a_weight_step_moves_no_logit():
    strategy, training = make(scale=1.0)
    before = values(training)
    strategy.step(Context(training, phase="warmup"))
    assert all(torch.equal(a, b) for a, b in zip(values(training), before, strict=True))


def test_operators_that_were_not_drawn_have_no_gradient_and_stay_bit_identical_in_spite_of_momentum(monkeypatch):
    strategy, training = make(weight_decay=0.1)
    space = strategy.problem.space
    path = [space.from_decisions((0, 1, 2)), space.from_decisions((1, 0, 0))]
    monkeypatch.setattr(strategy._paths, "draw", lambda rng: path[0])
    for _ in range(3):  # momentum builds up in the first path
        strategy.step(Context(training, phase="warmup"))
    before = state_of(training, "supernet")
    momentum = {id(p): s["momentum_buffer"].clone() for p, s in training.optimisers["weights"].state.items()}
    monkeypatch.setattr(strategy._paths, "draw", lambda rng: path[1])
    context = Context(training, phase="warmup")
    strategy.step(context)
    names = [name for name, _ in training.modules["supernet"].named_parameters()]
    gradients = dict(zip(names, context.noted[0][2], strict=True))
    idle = ("b0.k3", "b1.k5", "b2.wide", "b0.wide")
    for name, parameter in training.modules["supernet"].named_parameters():
        if any(f".{operator}:" in f".{name.removeprefix('layers.')}" for operator in idle):
            assert gradients[name] is None
            assert torch.equal(parameter, before[name])
            if id(parameter) in momentum:
                assert torch.equal(
                    training.optimisers["weights"].state[parameter]["momentum_buffer"], momentum[id(parameter)]
                )
        elif "b0.k5" in name or "stem" in name:
            assert gradients[name] is not None
            assert not torch.equal(parameter, before[name])


def test_weight_decay_reaches_all_weights_of_the_drawn_path_normalisation_too():
    _, training = make(weight_decay=0.25)
    assert {group["weight_decay"] for group in training.optimisers["weights"].param_groups} == {0.25}


# Latency in the loss


def test_without_cross_entropy_the_logits_still_move_to_what_is_fast(monkeypatch):
    for mode in MODES:
        strategy, training = make(mode=mode, latency_loss="add", lam=1.0, only_above=False)
        fixed(strategy, monkeypatch, (0, 1, 0))
        before = training.modules["paths"].probabilities()
        strategy._architecture_step(Context(training, weight_of_loss=0.0))
        after = training.modules["paths"].probabilities()
        space = strategy.problem.space
        for choice, option in enumerate((0, 1, 0)):
            cost = [space.macs(space.from_decisions([o if c == choice else 0 for c in range(3)])) for o in range(4)]
            pair = (option, (option + 1) % 4) if mode == "two" else (int(np.argmax(cost)), int(np.argmin(cost)))
            slow, fast = sorted(pair, key=lambda o: -cost[o])
            assert after[choice][fast] > before[choice][fast]
            assert after[choice][slow] < before[choice][slow]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mul_log", lambda ce, e, ref: 0.2 * ce * (math.log(1000 * e) / math.log(1000 * ref)) ** 0.3),
        ("mul_pow", lambda ce, e, ref: 0.2 * ce * (e / ref) ** 0.3),
        ("add", lambda ce, e, ref: ce + 0.1 * (e - ref) / ref),
        ("none", lambda ce, e, ref: ce),
    ],
)
def test_each_form_of_the_loss_is_its_formula_with_microseconds_in_the_logarithm(form, expected):
    strategy, _ = make(latency_loss=form)
    strategy._scale, strategy._reference = 1000.0, 4.0
    found = strategy._combined(torch.tensor(2.0, dtype=torch.float64), torch.tensor(6.0, dtype=torch.float64), 6.0)
    assert float(found) == pytest.approx(expected(2.0, 6.0, 4.0), rel=1e-12)


def test_milliseconds_are_scaled_and_counts_are_not():
    strategy, _ = make()
    assert strategy._scale == 1.0
    assert strategy._reference == pytest.approx(float(np.median(_costs_of_100(strategy))))


def _costs_of_100(strategy):
    from nasforge.rng import generator

    space = strategy.problem.space
    return space.cost("macs").batch(space.sample_batch(100, generator(0, "reference")))


def test_costs_below_one_have_no_logarithm_and_say_so():
    strategy, _ = make(latency_loss="mul_log")
    with pytest.raises(UsageError, match="mul_pow"):
        strategy._combined(torch.tensor(2.0), torch.tensor(0.5), 1e9)


def test_within_the_reference_nothing_is_given_up_for_speed_where_asked():
    for only_above, pulls in ((True, False), (False, True)):
        strategy, _ = make(latency_loss="add", lam=1.0, only_above=only_above)
        cost = torch.tensor(0.9 * strategy._reference, requires_grad=True)
        for whole, expected in ((0.9, pulls), (1.1, True)):
            loss = strategy._combined(torch.tensor(2.0), cost, whole * strategy._reference)
            assert loss.requires_grad == expected
            assert (float(loss.detach()) == 2.0) != expected


def test_a_stronger_latency_term_ends_in_a_cheaper_network():
    found = []
    for lam in (0.0, 0.5, 5.0):
        trial = Trial(
            "proxyless",
            {"latency_loss": "add", "lam": lam, "warmup": 0.1, "arch_lr": 0.2, "only_above": False},
            path_space(4),
            8,
            60,
        )
        _strategy, training = trial.training()
        heard = Heard()
        training.run(heard, lambda kind, state: None)
        found.append([figures["expected_cost"] for figures in heard.figures_of_steps if "expected_cost" in figures][-1])
    assert found[0] > found[1] > found[2]
    assert found[2] <= 0.7 * found[0]


# Schedule and presets


def test_warm_up_trains_weights_alone_at_the_full_rate_and_the_search_begins_at_half_of_it():
    strategy, training = make(warmup=0.5, arch_every=1)
    rates = {}
    for phase in ("warmup", "search"):
        context = Context(training, phase=phase, progress=0.0)
        strategy.step(context)
        rates[phase] = [(name, rate) for name, rate, _ in context.noted]
    assert rates == {"warmup": [("weights", 1.0)], "search": [("weights", 0.5), ("paths", 1.0)]}
    context = Context(training, phase="search", progress=0.5)
    strategy.step(context)
    assert context.noted[0][1] == pytest.approx(0.25)
    alone, training = make(warmup=0.0)
    context = Context(training, progress=0.0)
    alone.step(context)
    assert context.noted[0][1] == 1.0


def test_architecture_steps_come_after_every_k_th_weight_step_from_the_given_epoch_on():
    strategy, training = make(arch_every=3, arch_after=0.5)
    turns = []
    for step in range(15):
        context = Context(training, phase_step=step)  # ten steps an epoch
        strategy.step(context)
        turns.append([name for name, _, _ in context.noted] == ["weights", "paths"])
    assert [step for step, turn in enumerate(turns) if turn] == [5, 8, 11, 14]


def test_label_smoothing_is_for_the_weight_step_alone():
    strategy, training = make(label_smoothing=0.3, arch_every=1)
    context, smoothings = Context(training), []
    loss = context.loss
    context.loss = lambda outputs, targets, smoothing=0.0: (smoothings.append(smoothing), loss(outputs, targets))[1]
    strategy.step(context)
    assert smoothings == [0.3, 0.0]


def test_presets_hold_the_constants_of_article_and_released_code():
    released, paper = proxyless.PRESETS["released"], proxyless.PRESETS["paper"]
    assert (released.mode, released.latency_loss, released.a, released.beta) == ("full_v2", "mul_log", 0.2, 0.3)
    assert (released.lr, released.weight_decay, released.label_smoothing) == (0.05, 4e-5, 0.1)
    assert (released.arch_lr, released.arch_every, released.warmup) == (1e-3, 5, 40 / 160)
    assert (paper.mode, paper.latency_loss) == ("two", "add")
    assert proxyless.Proxyless(preset="released", mode="full")._set.mode == "full"


@pytest.mark.parametrize(
    "options", [{"mode": "one"}, {"latency_loss": "mul"}, {"warmup": 1.0}, {"arch_every": 0}, {"preset": "papers"}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        proxyless.Proxyless(**options)


def test_the_derived_network_is_the_likeliest_option_of_every_layer():
    strategy, training = make(scale=2.0)
    expected = tuple(int(p.argmax()) for p in training.modules["paths"].probabilities())
    assert strategy.derive()[0].decisions == expected
