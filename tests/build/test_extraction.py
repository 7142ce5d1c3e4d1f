"""Extraction against slices written out by hand here: first channels, centre of kernels, slots of branches."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from nasforge.build import Network, Supernet, build_network, extract
from nasforge.errors import ArchitectureError
from nasforge.layers import Layer
from nasforge.ops import BatchNorm, Concat, Conv, Conv2d, GlobalPool, LayerNorm, Linear, MBConv, Zero, residual
from nasforge.space import Input, SearchSpace, choice, one_of
from nasforge.testing.spaces import scrambled


def shared(space):
    return scrambled(Supernet(space).double())


def head(x, classes=3, **options):
    return Linear(classes, **options)(GlobalPool()(x, name="pool"), name="head")


def test_convolution_takes_first_channels_and_the_centre_of_the_kernel():
    x = Conv(choice(4, 7, name="w0"), 3, bias=True)(Input(3, 6, 6), name="a")
    x = Conv(choice(2, 5, name="w1"), choice(1, 3, 5, name="k"), bias=True)(x, name="b")
    space = SearchSpace({"logits": head(x)})
    supernet = shared(space)
    state = supernet.state_dict()
    for kernel, crop in ((1, slice(2, 3)), (3, slice(1, 4)), (5, slice(0, 5))):
        own = extract(supernet, space.architecture({"w0": 4, "w1": 2, "k": kernel})).state_dict()
        assert torch.equal(own["layers.b:conv.weight"], state["layers.b:conv.weight"][:2, :4, crop, crop])
        assert torch.equal(own["layers.b:conv.bias"], state["layers.b:conv.bias"][:2])
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(own[f"layers.b:bn.{name}"], state[f"layers.b:bn.{name}"][:2])
        assert torch.equal(own["layers.head.weight"], state["layers.head.weight"][:, :2])
        assert torch.equal(own["layers.head.bias"], state["layers.head.bias"])


def test_what_reads_a_concatenation_takes_each_branch_from_its_fixed_slot():
    source = Input(3, 6, 6)
    left = Conv(choice(2, 5, name="left"), 1)(source, name="l")
    right = Conv(choice(3, 4, name="right"), 1)(source, name="r")
    x = BatchNorm()(Concat()(left, right, name="join"), name="bn")
    x = LayerNorm()(Conv2d(0, choice(3, 5, name="k"), depthwise=True, bias=True)(x, name="dw"), name="ln")
    space = SearchSpace({"logits": head(Conv2d(4, 1)(x, name="out"))})
    supernet = shared(space)
    state = supernet.state_dict()
    own = extract(supernet, space.architecture({"left": 2, "right": 3, "k": 3})).state_dict()
    slots = [0, 1, 5, 6, 7]  # right starts behind the widest left
    assert state["layers.dw.weight"].shape == (9, 1, 5, 5)
    assert torch.equal(own["layers.dw.weight"], state["layers.dw.weight"][slots][:, :, 1:4, 1:4])
    assert torch.equal(own["layers.dw.bias"], state["layers.dw.bias"][slots])
    assert torch.equal(own["layers.out.weight"], state["layers.out.weight"][:, slots])
    for name in ("layers.bn.weight", "layers.bn.running_mean", "layers.bn.running_var", "layers.ln.weight"):
        assert torch.equal(own[name], state[name][slots])


def test_squeeze_excite_slices_its_bottleneck_and_its_gate():
    x = Conv(choice(16, 32, name="width"), 1)(Input(3, 6, 6), name="stem")
    x = MBConv(8, 3, choice(1, 2, name="e"), se=0.5)(x, name="mb")
    space = SearchSpace({"logits": head(x)})
    supernet = shared(space)
    state = supernet.state_dict()
    own = extract(supernet, space.architecture({"width": 16, "e": 2})).state_dict()
    assert state["layers.mb:se/reduce.weight"].shape == (32, 64, 1, 1)
    assert torch.equal(own["layers.mb:se/reduce.weight"], state["layers.mb:se/reduce.weight"][:16, :32])
    assert torch.equal(own["layers.mb:se/reduce.bias"], state["layers.mb:se/reduce.bias"][:16])
    assert torch.equal(own["layers.mb:se/expand.weight"], state["layers.mb:se/expand.weight"][:32, :16])
    assert torch.equal(own["layers.mb:expand.weight"], state["layers.mb:expand.weight"][:32, :16])
    without = extract(supernet, space.architecture({"width": 32, "e": 1})).state_dict()
    assert not [name for name in without if "mb:expand" in name]


def test_options_with_weights_of_their_own_share_nothing():
    x = Conv2d(4, choice(1, 3, name="k", share="none"))(Input(3, 6, 6), name="c")
    space = SearchSpace({"logits": head(x)})
    supernet = shared(space)
    keys = {key for key in supernet.layers if key.startswith("c")}
    assert keys == {"c@k=1", "c@k=3"}
    for kernel in (1, 3):
        own = extract(supernet, space.architecture({"k": kernel})).state_dict()
        assert torch.equal(own[f"layers.c@k={kernel}.weight"], supernet.state_dict()[f"layers.c@k={kernel}.weight"])


def test_nodes_of_one_key_accumulate_one_gradient_and_extraction_copies():
    x = Input(3, 6, 6)
    first = Conv2d(3, 3)(x, name="p", weights="both")
    second = Conv2d(3, 3)(first, name="q", weights="both")
    space = SearchSpace({"logits": head(second)})
    supernet = shared(space)
    assert {name.split(".")[1] for name, _ in supernet.named_parameters()} == {"both", "head"}
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    supernet(images, space.largest()).square().sum().backward()
    network = extract(supernet, space.largest())
    network(images).square().sum().backward()
    copies = [p for name, p in network.named_parameters() if "both" in name]
    assert len(copies) == 2
    assert copies[0] is not copies[1]
    assert torch.equal(copies[0], copies[1])
    summed = copies[0].grad + copies[1].grad
    assert torch.allclose(supernet.layers["both"].weight.grad, summed, rtol=1e-12)
    assert space.params(space.largest()) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("seed", range(8))
def test_extracted_networks_equal_the_path_in_both_modes_and_move_the_same_statistics(elastic_supernet, batch, seed):
    supernet = elastic_supernet(seed)
    rng, x = np.random.default_rng(seed), batch(4, seed)
    for _ in range(6):
        architecture = supernet.space.sample(rng)
        for training in (False, True):
            supernet.train(training)
            network = extract(supernet, architecture)
            found, expected = network(x), supernet(x, architecture)
            assert network.training == training
            assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
            after = extract(supernet, architecture)
            for (name, one), (_, other) in zip(network.named_buffers(), after.named_buffers(), strict=True):
                if not name.endswith("num_batches_tracked"):
                    assert torch.allclose(one, other, rtol=1e-12, atol=1e-12), name


def test_extracted_networks_are_plain_torch_modules(elastic_supernet):
    supernet = elastic_supernet(1)
    network = extract(supernet, supernet.space.largest())
    assert not [m for m in network.modules() if isinstance(m, Layer | Supernet)]
    held = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    assert held.isdisjoint(p.untyped_storage().data_ptr() for p in network.parameters())


def test_dropout_draws_the_same_in_the_supernet_and_the_extracted_network():
    x = Conv(choice(4, 8, name="w"), 3)(Input(3, 6, 6), name="c")
    space = SearchSpace({"logits": head(x, dropout=0.5)})
    supernet = shared(space).train()
    network = extract(supernet, space.smallest())
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    torch.manual_seed(3)
    found = network(images)
    torch.manual_seed(3)
    assert torch.allclose(found, supernet(images, space.smallest()), rtol=1e-12)


def pretrained_space(source, width=4):
    x = Conv(width, 3)(Input(3, 6, 6), name="c", pretrained=source)
    return SearchSpace({"logits": head(x)})


def donor():
    torch.manual_seed(5)
    return scrambled(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))


@pytest.mark.parametrize("as_state", [False, True])
def test_a_node_starts_from_a_pretrained_module_or_state(as_state):
    given = donor()
    space = pretrained_space(given.state_dict() if as_state else given)
    supernet = Supernet(space, seed=1)
    for network in (build_network(space.lower(space.largest()), seed=2), extract(supernet, space.largest())):
        state = network.state_dict()
        assert torch.equal(state["layers.c:conv.weight"], given[0].weight)
        assert torch.equal(state["layers.c:bn.weight"], given[1].weight)
        assert torch.equal(state["layers.c:bn.running_mean"], given[1].running_mean)


def test_pretrained_weights_of_other_shapes_are_refused():
    space = pretrained_space(donor(), width=5)
    with pytest.raises(ArchitectureError, match=r"node 'c' was given pretrained tensors of shapes.*expected"):
        Supernet(space)
    with pytest.raises(ArchitectureError, match="node 'c'"):
        build_network(space.lower(space.largest()))


def test_copies_of_a_supernet_are_equal_to_the_last_bit_and_independent(elastic_supernet, batch):
    supernet = elastic_supernet(2).eval()
    supernet.layers["head"].weight.requires_grad_(False)
    architecture, x = supernet.space.sample(np.random.default_rng(0)), batch()
    with supernet.recording():
        expected = supernet(x, architecture)
    for twin in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert not twin.training
        assert not twin.layers["head"].weight.requires_grad
        assert twin.views is not supernet.views
        assert all(layer.views is twin.views for layer in twin.layers.values())
        assert torch.equal(twin(x, architecture), expected)
        with torch.no_grad(), twin.recording():
            for parameter in twin.parameters():
                parameter.add_(1.0)
            assert not torch.equal(twin(x, architecture), expected)
        assert torch.equal(supernet(x, architecture), expected)


def test_state_dict_round_trip_gives_the_same_outputs(elastic_supernet, batch):
    supernet = elastic_supernet(4).eval()
    x = batch()
    other = Supernet(supernet.space, seed=9).double().eval()
    other.load_state_dict(supernet.state_dict())
    for architecture in (supernet.space.smallest(), supernet.space.largest()):
        assert torch.equal(other(x, architecture), supernet(x, architecture))


def test_nodes_may_bear_names_that_torch_modules_use_themselves():
    x = Conv(4, 1)(Input(3, 4, 4), name="double")
    for name in ("keys", "train", "training", "forward"):
        x = Conv2d(4, 1)(x, name=name)
    space = SearchSpace({"logits": head(x)})
    supernet = shared(space).eval()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    network = extract(supernet, space.largest())
    assert isinstance(network, Network)
    assert torch.allclose(network(images), supernet(images, space.largest()), rtol=1e-12)


@pytest.mark.parametrize("project", ["conv", "pool+conv"])
def test_a_projecting_shortcut_keeps_its_weights_where_its_body_vanishes(project):
    x = Conv(4, 3)(Input(3, 8, 8), name="stem")
    made = [Conv(6, 3, 2)(x, name="body"), Zero(out=6, stride=2)(x, name="zero")]
    y = residual(one_of(made, name="op", labels=("body", "zero")), x, project=project, name="r")
    space = SearchSpace({"logits": head(y)})
    supernet = shared(space).eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = extract(supernet, space.architecture({"op": "zero"}))
    assert torch.equal(
        alone.state_dict()["layers.r:shortcut/conv.weight"], supernet.state_dict()["layers.r:shortcut/conv.weight"]
    )
    assert torch.allclose(alone(images), supernet(images, space.architecture({"op": "zero"})), rtol=1e-12)
