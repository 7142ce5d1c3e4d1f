import numpy as np
import pytest
import torch

from nasforge.build import Supernet, extract
from nasforge.errors import UsageError
from nasforge.ops import Add, Conv, GlobalPool, Linear, Zero
from nasforge.space import Input, SearchSpace, boundary, choice, one_of, repeat
from nasforge.testing.small_spaces import ensemble_space
from nasforge.testing.spaces import assert_close, scrambled


def images(count=3):
    return torch.randn(count, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def chained():
    x = boundary("b1", Conv(choice(3, 5, name="w0"), 3)(Input(3, 6, 6), name="a"))
    x = repeat(
        lambda s, i: Conv(choice(4, 6, name=f"w{i + 1}"), 3)(s, name=f"m{i}"), x, depth=choice(0, 1, 2, name="d")
    )
    x = boundary("b2", Conv(4, 1)(x, name="z"))
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})


def test_running_to_a_boundary_and_on_from_it_equals_the_whole():
    space = chained()
    supernet = scrambled(Supernet(space).double()).eval()
    for architecture in space.enumerate():
        whole = supernet(images(), architecture)
        for cut in ("b1", "b2"):
            middle = supernet.run(images(), architecture, stop=cut)
            assert torch.equal(supernet.run(middle, architecture, start=cut), whole)
        between = supernet.run(supernet.run(images(), architecture, stop="b1"), architecture, start="b1", stop="b2")
        assert torch.equal(between, supernet.run(images(), architecture, stop="b2"))
        assert torch.equal(supernet.run(images(), architecture), whole)


def test_nothing_before_the_start_or_behind_the_stop_is_run():
    space = chained()
    supernet = Supernet(space).double().eval()
    ran = []
    for key, layer in supernet.layers.items():
        layer.register_forward_hook(lambda *_, key=key: ran.append(key.split(":")[0]))
    architecture = space.architecture({"w0": 3, "d": 1, "w1": 4})
    middle = supernet.run(images(), architecture, stop="b1")
    assert set(ran) == {"a"}
    ran.clear()
    supernet.run(middle, architecture, start="b1", stop="b2")
    assert set(ran) == {"m0", "z"}


def test_a_start_that_some_architecture_can_bypass_is_refused():
    source = Input(3, 6, 6)
    main = boundary("main", Conv(3, 3)(source, name="a"))
    x = one_of([main, Conv(3, 1)(source, name="around")], name="way", labels=("main", "around"))
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(Conv(3, 1)(x, name="b")), name="head")})
    supernet = Supernet(space).double()
    architecture = space.architecture({"way": "main"})
    middle = supernet.run(images(), architecture, stop="main")
    with pytest.raises(UsageError, match=r"'main' does not separate the input .* for every architecture"):
        supernet.run(middle, architecture, start="main")


def test_unknown_and_cut_off_boundaries_are_refused():
    source = Input(3, 6, 6)
    made = [boundary("inner", Conv(3, 1)(source, name="a")), Conv(3, 3)(source, name="b")]
    x = one_of(made, name="way", labels=("a", "b"))
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})
    supernet = Supernet(space).double()
    with pytest.raises(UsageError, match="boundary 'inned' is unknown"):
        supernet.run(images(), space.largest(), stop="inned")
    with pytest.raises(UsageError, match="'inner' is cut off in this architecture"):
        supernet.run(images(), space.architecture({"way": "b"}), stop="inner")


def heads(count=3):
    x = Conv(choice(3, 5, name="w"), 3)(Input(3, 6, 6), name="stem")
    made = [Linear(4)(GlobalPool()(Conv(3, 1)(x, name=f"c{i}")), name=f"h{i}") for i in range(count)]
    return SearchSpace({"logits": made})


def test_heads_are_a_list_in_training_and_their_mean_in_evaluation():
    space = heads()
    supernet = scrambled(Supernet(space).double())
    network = extract(supernet, space.smallest())
    collected = []
    hooks = [
        supernet.layers[name].register_forward_hook(lambda _m, _i, out: collected.append(out))
        for name in ("h0", "h1", "h2")
    ]
    mean = supernet.eval()(images(), space.smallest())
    for hook in hooks:
        hook.remove()
    assert len(collected) == 3
    assert torch.allclose(mean, torch.stack(collected).mean(0), rtol=1e-12)
    assert torch.allclose(network.eval()(images()), mean, rtol=1e-12)
    for listed in (network.train()(images()), supernet.train()(images(), space.smallest())):
        assert isinstance(listed, list)
        assert [tuple(logits.shape) for logits in listed] == [(3, 4)] * 3


def test_several_outputs_and_inputs_come_and_go_by_name():
    left, right = Input(3, 6, 6, name="left"), Input(2, 6, 6, name="right")
    x = Add()(Conv(4, 3)(left, name="l"), Conv(4, 3)(right, name="r"))
    y = one_of([Conv(4, 1)(x, name="y"), Zero()(x, name="none")], name="op", labels=("y", "none"))
    space = SearchSpace(
        {"a": Linear(3)(GlobalPool()(x, name="pa"), name="ha"), "b": Linear(2)(GlobalPool()(y, name="pb"), name="hb")}
    )
    supernet = scrambled(Supernet(space).double()).eval()
    given = {"left": images(), "right": images()[:, :2]}
    for label in ("y", "none"):
        architecture = space.architecture({"op": label})
        found, plain = supernet(given, architecture), extract(supernet, architecture)(given)
        assert {name: tuple(value.shape) for name, value in found.items()} == {"a": (3, 3), "b": (3, 2)}
        assert all(torch.allclose(found[name], plain[name], rtol=1e-12) for name in found)
    bias = supernet.layers["hb"].bias.expand(3, 2)
    assert torch.allclose(found["b"], bias)  # cut off: the head sees zeros
    for wrong in (images(), {"left": images()}):
        with pytest.raises(UsageError, match=r"expected the inputs \['left', 'right'\]"):
            supernet(wrong, architecture)


def test_the_value_behind_a_boundary_belongs_to_the_same_pass():
    """It equals a run up to there, and a hook of it changes the gradients of what comes before alone."""
    space = ensemble_space(3, 2)
    architecture = space.restrict({"split": ["2"]}).sample(np.random.default_rng(0))
    net = scrambled(Supernet(space)).eval()
    x = torch.randn(2, 3, 8, 8)
    outputs, value = net.with_boundary(x, architecture, "shared2")
    assert torch.equal(outputs, net(x, architecture))
    assert torch.equal(value, net.run(x, architecture, stop="shared2"))
    gradients = []
    for factor in (1.0, 3.0):
        net.zero_grad()
        outputs, value = net.with_boundary(x, architecture, "shared2")
        value.register_hook(lambda gradient, factor=factor: factor * gradient)
        outputs.sum().backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    plain, tripled = gradients
    for name, gradient in plain.items():
        expected = 1.0 if "layer3" in name or "classifier" in name else 3.0
        assert_close(tripled[name], expected * gradient, 1e-4)
    with pytest.raises(UsageError, match="boundary 'shared9' is unknown"):
        net.with_boundary(x, architecture, "shared9")
    with pytest.raises(UsageError, match="cut off in this architecture"):
        net.with_boundary(x, architecture, "shared3")
