"""FBNet's published networks: the declaration counts as the table does, and a device is learnt. Needs NASFORGE_DATA."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FILE = Path(os.environ.get("NASFORGE_DATA", "nowhere")) / "fbnet_latency" / "fbnet5000.npz"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="NASFORGE_DATA does not name a folder with fbnet_latency/fbnet5000.npz"
)


@pytest.fixture(scope="module")
def fbnet():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import fbnet

    yield fbnet
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def table(fbnet):
    return fbnet.read_table()


def test_params_and_flops_are_those_of_the_table_in_every_row(fbnet, table):
    params = table.space.cost("params").batch(table.decisions)
    np.testing.assert_array_equal(params, table.params)
    flops = table.space.additive("flops", fbnet.table_flops).batch(table.decisions)
    np.testing.assert_array_equal(flops, table.flops)


def test_every_row_is_an_architecture_of_the_space(fbnet, table):
    assert len(table.decisions) == 5000
    assert len(np.unique(table.decisions, axis=0)) == 5000
    assert set(table.latency_ms) == set(fbnet.DEVICES)
    architecture = table.architecture(0)
    labels = list(table.space.describe(architecture).values())
    assert labels == [fbnet.LABELS[option] for option in table.decisions[0]]


@pytest.mark.parametrize(("device", "goal"), [("pixel3", 0.995), ("gold_6226", 0.945)])
def test_fifty_networks_teach_a_device(table, device, goal):
    from nasforge.hardware.kernel import network_kernels
    from nasforge.hardware.whole_network import compared, fit_networks

    truth = table.latency_ms[device]
    ranks = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(truth))
        given, other = order[:50], order[50:]
        networks = [network_kernels(table.space.lower(table.architecture(row))) for row in given]
        guess = fit_networks(networks, truth[given].tolist()).cost(table.space).batch(table.decisions[other])
        ranks.append(compared(guess, truth[other])["spearman"])
    assert np.mean(ranks) >= goal
