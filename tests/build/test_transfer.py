import pytest
import torch

from nasforge.build import Supernet, build_network, transfer
from nasforge.errors import IncompatibleError, UsageError
from nasforge.ops import Concat, Conv, Conv2d, GlobalPool, LayerNorm, Linear, MBConv, Pool, SeparableConv, residual
from nasforge.space import Input, SearchSpace, choice, repeat
from nasforge.testing.spaces import scrambled


def images(seed=0):
    return torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mobile(width=4, kernel=3, depth=1, se=0.0, dropout=0.0):
    """Stem, a residual stage of a given depth, two branches side by side, pooling, head."""

    def block(x, place):
        made = MBConv(width, kernel, 2, se=se)(x, name=f"b{place}")
        return made if place == 0 else residual(made, x, name=f"b{place}.sum")

    x = repeat(block, Conv(width, 3, act="relu6")(Input(3, 8, 8), name="stem"), depth=depth)
    join = Concat()(SeparableConv(width, kernel)(x, name="sep"), Conv(3, 1, bias=True)(x, name="side"), name="join")
    x = Pool("max")(Conv(2 * width, kernel)(join, name="mix"), name="max")
    return SearchSpace({"logits": Linear(4, dropout=dropout)(GlobalPool()(x, name="pool"), name="head")})


def network(space, seed):
    return scrambled(build_network(space.lower(space.largest()), seed=seed).double(), seed)


GROWN = {
    "wider": {"width": 7},
    "twice as wide": {"width": 8},
    "larger kernels": {"kernel": 5},
    "deeper": {"depth": 3},
    "all at once": {"width": 9, "kernel": 7, "depth": 2},
}


@pytest.mark.parametrize("rule", ["fresh", "copy"])
@pytest.mark.parametrize("grown", GROWN.values(), ids=GROWN.keys())
@pytest.mark.parametrize("se", [0.0, 0.5])
def test_a_grown_network_computes_the_same_in_evaluation(rule, grown, se):
    old, new = network(mobile(se=se), 1), network(mobile(**({"se": se} | grown)), 2)
    expected = old.eval()(images())
    assert not torch.allclose(new.eval()(images()), expected)
    transfer(old, new, rule)
    assert torch.allclose(new(images()), expected, rtol=1e-10, atol=1e-11)
    assert sum(p.numel() for p in new.parameters()) > sum(p.numel() for p in old.parameters())


@pytest.mark.parametrize("rule", ["fresh", "copy"])
def test_a_wider_network_computes_the_same_in_training_too(rule):
    old, new = network(mobile(), 1).train(), network(mobile(width=9, kernel=5), 2).train()
    transfer(old, new, rule)
    assert torch.allclose(new(images()), old(images()), rtol=1e-10, atol=1e-11)


def test_everything_new_learns_after_one_step():
    old, new = network(mobile(), 1), network(mobile(width=7, kernel=5, depth=2), 2).train()
    transfer(old, new, "fresh")
    start = {name: p.detach().clone() for name, p in new.named_parameters()}
    optimiser = torch.optim.SGD(new.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        new(images()).square().sum().backward()
        optimiser.step()
    for name, parameter in new.named_parameters():
        assert not torch.equal(parameter, start[name]), name
    assert (new.state_dict()["layers.mix:conv.weight"] != start["layers.mix:conv.weight"]).all()


def test_the_old_network_is_left_alone_and_shares_no_memory():
    old, new = network(mobile(), 1), network(mobile(width=7), 2)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    transfer(old, new)
    held = {p.untyped_storage().data_ptr() for p in new.parameters()}
    for name, value in old.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.untyped_storage().data_ptr() not in held


def test_dropout_before_the_head_is_no_obstacle():
    old, new = network(mobile(dropout=0.3), 1).eval(), network(mobile(width=6, dropout=0.3), 2).eval()
    transfer(old, new)
    assert torch.allclose(new(images()), old(images()), rtol=1e-10, atol=1e-11)


def elastic(widths, kernels, depths):
    x = Conv(choice(*widths, name="width"), choice(*kernels, name="kernel"))(Input(3, 8, 8), name="stem")
    x = repeat(lambda s, i: Conv(4, 3)(s, name=f"b{i}"), x, depth=choice(*depths, name="depth"))
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x), name="head")})


def test_a_grown_supernet_gives_every_old_architecture_its_old_outputs():
    small, large = elastic((2, 4), (1, 3), (1, 2)), elastic((2, 4, 6), (1, 3, 5), (1, 2, 3))
    old, new = scrambled(Supernet(small).double()).eval(), scrambled(Supernet(large).double(), 7).eval()
    transfer(old, new)
    for architecture in small.enumerate():
        same = large.architecture(small.describe(architecture))
        assert torch.equal(new(images(), same), old(images(), architecture))
    with pytest.raises(IncompatibleError, match="no place for"):
        transfer(new, old)


def refused(old, new, text):
    with pytest.raises(IncompatibleError, match=text):
        transfer(network(old, 1), network(new, 2))


def single(make, head=3):
    return SearchSpace({"logits": Linear(head)(GlobalPool()(make(Input(3, 8, 8))), name="head")})


def test_what_cannot_be_preserved_is_refused_by_name():
    def normed(width):
        return single(lambda x: LayerNorm()(Conv2d(width, 1)(x, name="c"), name="ln"))

    refused(normed(4), normed(6), "'ln' normalises over all channels")
    refused(single(lambda x: Conv2d(4, 3)(x, name="c")), single(lambda x: Conv2d(3, 3)(x, name="c")), "had 4")
    refused(single(lambda x: Conv2d(4, 3)(x, name="c")), single(lambda x: Conv2d(4, 1)(x, name="c")), "cannot grow by")
    refused(single(lambda x: Conv2d(4, 3)(x, name="c")), single(lambda x: Conv2d(4, 3, 2)(x, name="c")), "'c'")

    def grouped(width):
        return single(lambda x: Conv2d(width, 1, groups=2)(Conv2d(width, 1)(x, name="a"), name="g"))

    refused(grouped(4), grouped(6), "'g' has groups")

    def deeper(x):
        return Conv2d(4, 1)(Conv2d(4, 3)(x, name="c"), name="another")

    refused(single(lambda x: Conv2d(4, 3)(x, name="c")), single(deeper), "reads another layer")
    refused(single(lambda x: Conv2d(4, 3)(x, name="c")), single(lambda x: Conv2d(4, 3)(x, name="c"), 5), "output")


def test_unknown_rules_and_unequal_kinds_are_refused():
    space = mobile()
    made = network(space, 1)
    with pytest.raises(UsageError, match="rule 'clone'; expected one of fresh, copy"):
        transfer(made, made, "clone")
    with pytest.raises(UsageError, match="Supernet and Network"):
        transfer(Supernet(space), made)
