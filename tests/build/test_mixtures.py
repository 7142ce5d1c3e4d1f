import copy

import pytest
import torch

from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers import Mixture
from nasforge.ops import Conv, GlobalPool, Linear, Pool, Zero, residual
from nasforge.space import Input, SearchSpace, choice, one_of
from nasforge.testing.spaces import scrambled

OPTIONS = ("a", "b", "pool", "zero")


def two_layers():
    """Two searchable layers of four candidates; the last vanishes and leaves the shortcut."""
    x = Conv(4, 3, act="relu6")(Input(3, 6, 6), name="stem")
    for layer in range(2):
        made = [
            Conv(4, 1)(x, name=f"l{layer}.a"),
            Conv(4, 3)(x, name=f"l{layer}.b"),
            Pool("avg")(x, name=f"l{layer}.pool"),
            Zero()(x, name=f"l{layer}.zero"),
        ]
        x = residual(one_of(made, name=f"l{layer}", labels=OPTIONS), x, project="none", name=f"sum{layer}")
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")}, name="two")


@pytest.fixture
def supernet():
    return scrambled(Supernet(two_layers()).double())


@pytest.fixture
def x():
    return torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gates_of(active, support=range(4), detached=None, recompute=False):
    gates = torch.zeros(4, dtype=torch.float64)
    gates[active] = 1.0
    off = frozenset(support) - {active} if detached is None else frozenset(detached)
    return Mixture(gates.requires_grad_(True), tuple(support), off, recompute)


def counted(supernet):
    calls = {}
    for key, layer in supernet.layers.items():
        layer.register_forward_hook(lambda *_, key=key: calls.__setitem__(key, calls.get(key, 0) + 1))
    return calls


def test_only_the_support_runs(supernet, x):
    architecture = supernet.space.architecture({"l0": "a", "l1": "b"})
    supernet(x, architecture, {"l0": gates_of(0, (0, 2))})  # layers without weights are made when first met
    calls = counted(supernet)
    supernet(x, architecture, {"l0": gates_of(0, (0, 2))})
    ran = {key.split(":")[0] for key, count in calls.items() if count == 1 and key.startswith("l")}
    assert ran == {"l0/a", "l0/pool", "l1/b"}
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("active", range(4))
def test_a_one_hot_mixture_equals_the_path_bit_for_bit(supernet, x, training, recompute, active):
    supernet.train(training)
    twin = copy.deepcopy(supernet)
    architecture = supernet.space.architecture({"l0": OPTIONS[active], "l1": "b"})
    mixtures = {"l0": gates_of(active, recompute=recompute), "l1": gates_of(1, (1, 2), recompute=recompute)}
    assert torch.equal(supernet(x, architecture, mixtures), twin(x, architecture))


def test_a_weighted_mixture_is_the_weighted_sum_of_the_candidates(supernet, x):
    supernet.eval()
    space = supernet.space
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    seen = {}
    hook = supernet.layers["head"].register_forward_pre_hook(lambda _, given: seen.__setitem__("head", given[2]))
    features = []
    for option in OPTIONS:
        supernet(x, space.architecture({"l0": "zero", "l1": option}))
        features.append(seen["head"])
    supernet(x, space.architecture({"l0": "zero", "l1": "a"}), {"l1": Mixture(weights, (0, 1, 2, 3))})
    expected = sum(weight * feature for weight, feature in zip(weights, features, strict=True))
    assert torch.allclose(seen["head"], expected, rtol=1e-12)
    hook.remove()


def test_detached_options_keep_nothing_for_backward(supernet, x):
    architecture = supernet.space.architecture({"l0": "a", "l1": "a"})
    inside = set()
    ran = set()

    def enter(key):
        def note(*_):
            inside.add(key)
            ran.add(key)

        return note

    for key, layer in supernet.layers.items():
        layer.register_forward_pre_hook(enter(key))
        layer.register_forward_hook(lambda *_, key=key: inside.discard(key))
    kept = set()

    def pack(tensor):
        kept.update(inside)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        supernet(x, architecture, {"l0": gates_of(0), "l1": gates_of(0)})
    assert any(key.startswith("l0/a") for key in kept)
    assert any(key.startswith("l0/b") for key in ran)
    assert not [key for key in kept if key.startswith(("l0/b", "l1/b", "l0/pool", "l1/pool"))]


def gate_gradients(supernet, x, mode, active):
    architecture = supernet.space.architecture({"l0": OPTIONS[active[0]], "l1": OPTIONS[active[1]]})
    mixtures = {f"l{i}": gates_of(a, recompute=mode == "recompute") for i, a in enumerate(active)}
    supernet(x, architecture, mixtures).square().sum().backward()
    return torch.stack([mixture.weights.grad for mixture in mixtures.values()])


@pytest.mark.parametrize("active", [(0, 1), (2, 0), (1, 3), (3, 3)])
def test_recompute_gives_the_gradients_of_all_gates_that_full_gives(supernet, x, active):
    supernet.train()
    full = gate_gradients(copy.deepcopy(supernet), x, "full", active)
    again = gate_gradients(supernet, x, "recompute", active)
    assert torch.allclose(again, full, rtol=1e-10, atol=1e-12)
    assert (full[:, :3].abs() > 1e-6).all()


def test_gate_gradients_are_inner_products_of_outputs_and_slopes(supernet, x):
    supernet.eval()
    space = supernet.space
    gradient = gate_gradients(supernet, x, "recompute", (3, 0))[1]
    seen = {}
    supernet.layers["head"].register_forward_pre_hook(lambda _, given: seen.__setitem__("head", given[2]))
    logits = supernet(x, space.architecture({"l0": "zero", "l1": "a"}))
    base = {}
    for option in OPTIONS:
        supernet(x, space.architecture({"l0": "zero", "l1": option}))
        base[option] = seen["head"]
    slope = 2 * logits.detach() @ supernet.layers["head"].weight
    for place, option in enumerate(OPTIONS):
        output = base[option] - base["zero"]  # pooled output of the candidate without its shortcut
        assert torch.allclose(gradient[place], (slope * output).sum(), rtol=1e-9, atol=1e-12)


def test_recompute_leaves_running_statistics_of_the_others_alone(supernet, x):
    supernet.train()
    before = {name: value.clone() for name, value in supernet.named_buffers()}
    gate_gradients(supernet, x, "recompute", (0, 0))
    moved = {name.split(".")[1] for name, value in supernet.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {"stem:bn", "l0/a:bn", "l1/a:bn"}


def test_undrawn_candidates_have_no_gradient_at_all(supernet, x):
    architecture = supernet.space.architecture({"l0": "a", "l1": "b"})
    supernet(x, architecture, {"l0": gates_of(0, (0, 1))}).sum().backward()
    none = {name.split(".")[1].split(":")[0] for name, p in supernet.named_parameters() if p.grad is None}
    assert none == {"l0/b", "l1/a"}


def test_a_mixture_inside_a_candidate_of_a_mixture_runs_in_every_mode():
    source = Conv(4, 1)(Input(3, 6, 6), name="stem")
    inner = one_of([Conv(4, 1)(source, name="x"), Conv(4, 3)(source, name="y")], name="inner", labels=("x", "y"))
    outer = one_of([Conv(4, 3)(inner, name="u"), Conv(4, 1)(source, name="v")], name="outer", labels=("u", "v"))
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(outer), name="head")})
    supernet = scrambled(Supernet(space).double()).train()
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    architecture = space.architecture({"inner": "x", "outer": "u"})
    for active in (0, 1):  # the inner mixture on the active path, and behind a detached candidate
        found = []
        for again in (False, True):
            twin = copy.deepcopy(supernet)
            outer_gates = torch.eye(2, dtype=torch.float64)[active].requires_grad_(True)
            inner_gates = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
            mixtures = {
                "outer": Mixture(outer_gates, (0, 1), frozenset({1 - active}), again),
                "inner": Mixture(inner_gates, (0, 1), frozenset({1}), again),
            }
            twin(images, architecture, mixtures).square().sum().backward()
            own = inner_gates.grad if inner_gates.grad is not None else torch.zeros(2, dtype=torch.float64)
            found.append(torch.cat([outer_gates.grad, own]))
        assert torch.allclose(*found, rtol=1e-10, atol=1e-12)
        assert found[0][:2].abs().min() > 1e-6


def test_candidates_of_different_shapes_are_refused_by_the_name_of_their_choice():
    source = Input(3, 6, 6)
    wide = one_of([Conv(4, 1)(source, name="x"), Conv(6, 1)(source, name="y")], name="wide", labels=("x", "y"))
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(wide), name="head")})
    mixture = Mixture(torch.ones(2), (0, 1))
    with pytest.raises(IncompatibleError, match=r"choice 'wide' cannot be mixed: its candidates give 4x6x6 and 6x6x6"):
        Supernet(space)(torch.zeros(2, 3, 6, 6), space.largest(), {"wide": mixture})


def test_inactive_attribute_and_unknown_choices_are_refused():
    x = Conv(4, choice(1, 3, name="kernel"))(Input(3, 6, 6), name="stem")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})
    supernet, images = Supernet(space), torch.zeros(2, 3, 6, 6)
    with pytest.raises(IncompatibleError, match="'kernel' cannot be mixed"):
        supernet(images, space.largest(), {"kernel": Mixture(torch.ones(2), (0, 1))})
    with pytest.raises(UsageError, match=r"'kernle' is unknown.*Did you mean 'kernel'"):
        supernet(images, space.largest(), {"kernle": Mixture(torch.ones(2), (0, 1))})
