"""Normalisations of one width each in a slimmable `nats_sss`; blocks of `nats_sss` and `mbconv`."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from nasforge_spaces.mbconv import mbconv
from nasforge_spaces.nats_sss import nats_sss
from torch.nn import functional

from nasforge.build import Supernet, extract, frozen_statistics
from nasforge.errors import SpaceError
from nasforge.layers.width_norm import NormPerWidth
from nasforge.ops import BatchNorm, Concat, Conv, Conv2d, GlobalPool, Linear
from nasforge.rng import generator
from nasforge.space import Input, SearchSpace, TensorType, choice
from nasforge.testing.spaces import SpaceSuite, assert_close, scrambled
from nasforge.training.config import TrainConfig
from nasforge.training.path_sgd import PathSGD


class TestSlimmable(SpaceSuite):
    """The public suite over normalisations per width."""

    name, architectures, networks, runs = "nats_sss", 30, 2, 2

    def declare(self):
        return nats_sss(self.input_shape, self.classes, norm_share="none")


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sized(space, *labels):
    return space.architecture(dict(zip([each.name for each in space.choices], map(str, labels), strict=True)))


def trained_with_one_width(norm_share):
    """Return what changed: state by name before and after two steps with all widths 24."""
    space = nats_sss((3, 8, 8), 4, norm_share=norm_share)
    supernet = scrambled(Supernet(space))
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    optimiser = PathSGD(supernet, TrainConfig(lr=0.1, momentum=0.9, weight_decay=0.1))
    for step in range(2):
        with supernet.recording():
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            functional.cross_entropy(supernet(x, sized(space, 24, 24, 24, 24, 24)), torch.arange(8) % 4).backward()
        optimiser.step()
    after = supernet.state_dict()
    return {key for key, value in before.items() if not torch.equal(value, after[key])}, set(before)


def test_training_one_width_leaves_the_normalisations_of_the_others_bit_for_bit():
    changed, names = trained_with_one_width("none")
    norms = {name for name in names if ".widths." in name}
    own = {name for name in norms if ".widths.6." in name}  # label 24 is a quarter of it in the small preset
    assert {name.rsplit(".", 1)[1] for name in own} == {"weight", "bias", "running_mean", "running_var"}
    assert changed & norms <= own
    ran = {name for name in own if ":fit" not in name}  # equal widths leave the shortcuts of cells without one
    assert {name for name in changed & norms if "running" in name} == {name for name in ran if "running" in name}
    assert {name for name in ran if name.endswith("weight")} <= changed
    assert {name for name in changed - norms if "conv" in name}


def test_the_control_with_sliced_normalisations_changes_what_other_widths_read():
    changed, names = trained_with_one_width("slice")
    assert not [name for name in names if ".widths." in name]
    assert [name for name in changed if name.endswith("running_mean")]


def test_convolutions_stay_sliced_and_every_width_has_its_normalisation():
    supernet = Supernet(nats_sss(norm_share="none"))
    conv, norm = supernet.layers["cell2/1<-0:conv"], supernet.layers["cell2/1<-0:bn"]
    assert conv.weight.shape[:2] == (64, 64)
    assert isinstance(norm, NormPerWidth)
    assert {key: each.weight.numel() for key, each in norm.widths.items()} == {str(n): n for n in range(8, 65, 8)}


def test_what_widths_share_is_no_matter_of_the_network():
    shared, own = nats_sss(classes=4), nats_sss(classes=4, norm_share="none")
    assert shared.fingerprint == own.fingerprint
    for architecture in (own.smallest(), own.largest(), own.sample(generator(0, "own"))):
        assert shared.network_id(architecture) == own.network_id(architecture)
        assert shared.params(architecture) == own.params(architecture)
        keys = [[node.key for node in space.lower(architecture).nodes] for space in (shared, own)]
        assert keys[0] == keys[1]


@pytest.mark.parametrize("training", [False, True])
def test_widths_run_masked_as_they_run_sliced(training):
    space = _plain(choice(2, 4, 6, name="width"))
    architectures = list(space.enumerate())
    x = draw(6, 3, 4, 4)
    masked, sliced = (scrambled(Supernet(space).double()).train(training) for _ in range(2))
    with torch.no_grad():
        found = masked.run_masked(x, architectures)
        for place, architecture in enumerate(architectures):
            images = slice(2 * place, 2 * place + 2)
            assert_close(found[images], sliced(x[images], architecture), 1e-12)
    for key, value in sliced.state_dict().items():
        assert_close(masked.state_dict()[key], value, 1e-12)


def _plain(width):
    x = Conv(width, 3, norm_share="none")(Input(3, 4, 4))
    return SearchSpace({"logits": Linear(5)(GlobalPool()(x))})


def test_a_normalisation_behind_a_concatenation_is_chosen_by_the_channels_that_arrive():
    image = Input(3, 4, 4)
    joined = Concat()(*(Conv2d(choice(2, 4, name=name), 3)(image) for name in ("a", "b")))
    space = SearchSpace({"logits": Linear(5)(GlobalPool()(BatchNorm(share="none")(joined, name="bn")))})
    supernet = scrambled(Supernet(space).double()).eval()
    assert set(supernet.layers["bn"].widths) == {"0+2_4+2", "0+2_4+4", "6", "8"}
    with torch.no_grad():
        for architecture in space.enumerate():
            x = draw(2, 3, 4, 4)
            assert_close(extract(supernet, architecture)(x), supernet(x, architecture), 1e-12)


def test_frozen_statistics_freeze_those_of_every_width():
    space = _plain(choice(2, 4, name="width"))
    supernet = Supernet(space).double()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    with frozen_statistics(supernet):
        supernet(draw(4, 3, 4, 4), space.largest())
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())


def test_another_share_is_refused_by_name():
    with pytest.raises(SpaceError, match="share of a normalisation 'some'"):
        BatchNorm(share="some").shape((TensorType((4, 4, 4)),))


# Blocks


def blocks_equal_the_whole(space, blocks, size):
    supernet = scrambled(Supernet(space).double())
    x, rng = draw(4, 3, size, size), generator(0, "blocks")
    cuts = [None, *(f"block{number}" for number in range(1, blocks + 1)), None]
    for training, architecture in itertools.product((False, True), (space.smallest(), space.sample(rng))):
        supernet.train(training)
        with torch.no_grad():
            value = x
            for start, stop in itertools.pairwise(cuts):
                value = supernet.run(value, architecture, start=start, stop=stop)
                if stop is not None:
                    assert torch.equal(value, supernet.run(x, architecture, stop=stop))
            assert torch.equal(value, supernet(x, architecture))


@pytest.mark.parametrize("norm_share", ["slice", "none"])
@pytest.mark.parametrize("blocks", [(2, 2, 1), (2, 1, 2), (1, 1, 1, 1, 1)])
def test_blocks_of_nats_sss_give_what_the_network_gives(blocks, norm_share):
    space = nats_sss((3, 8, 8), 4, norm_share=norm_share, blocks=blocks)
    assert space.fingerprint == nats_sss((3, 8, 8), 4).fingerprint
    blocks_equal_the_whole(space, len(blocks), 8)


@pytest.mark.parametrize(("blocks", "shape"), [((2, 2, 1), (8, 4, 4)), ((2, 1, 2), (8, 4, 4)), ((1, 4), (2, 8, 8))])
def test_a_block_of_nats_sss_ends_behind_its_places(blocks, shape):
    space = nats_sss((3, 8, 8), 4, blocks=blocks)
    value = Supernet(space).run(torch.zeros(2, 3, 8, 8), sized(space, 8, 32, 16, 24, 40), stop="block1")
    assert tuple(value.shape[1:]) == shape


@pytest.mark.parametrize("blocks", [(2, 2), (2, 2, 2), (5, 0), ()])
def test_blocks_that_do_not_cover_nats_sss_are_refused(blocks):
    with pytest.raises(SpaceError, match="nats_sss has 5 places and was given blocks of"):
        nats_sss(blocks=blocks)


@pytest.mark.parametrize("preset", ["tiny", "bossnas_small"])
def test_blocks_of_mbconv_give_what_the_network_gives(preset):
    space = mbconv((3, 16, 16), 4, preset=preset)
    blocks_equal_the_whole(space, 3, 16)


def test_bossnas_mbconv_has_blocks_of_16_and_256_paths_in_the_order_of_its_codes():
    space = mbconv(preset="bossnas")
    paths = [
        math.prod(len(c.labels) for c in space.choices if c.name.startswith(f"s{block}b")) for block in range(1, 6)
    ]
    assert paths == [16, 256, 256, 256, 256]
    assert {read.labels for read in space.choices} == {("k3e6", "k5e6", "k3e3", "k5e3")}
    nodes = space.lower(space.largest()).nodes
    shortcuts = [n for n in nodes if n.op.label().startswith("+")]
    assert len(shortcuts) == 18
    assert sum(node.op.mode == "pool+conv" for node in shortcuts) == 5
    keys = {key.split(":")[0] for key in Supernet(mbconv((3, 16, 16), preset="bossnas_small")).layers}
    assert {"s1b1/sum", "s1b1/k3e4", "s1b1/k5e2"} <= keys
