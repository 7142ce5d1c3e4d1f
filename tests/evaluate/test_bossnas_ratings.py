"""BossNAS's published ratings: read as text, damage is named, and its six correlations (these need NASFORGE_DATA)."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from nasforge import registry
from nasforge.errors import DataError
from nasforge.evaluate.published.bossnas import block_ratings, rating, trained_networks

DATA = Path(os.environ.get("NASFORGE_DATA", "nowhere"))
needs_ratings = pytest.mark.skipif(
    not (DATA / "bossnas").is_dir() or not (DATA / "nats_sss").is_dir(),
    reason="NASFORGE_DATA does not name a folder with bossnas/ and nats_sss/",
)


def written(layers, options, rows=None):
    paths = ["".join(digits) for digits in itertools.product(map(str, range(options)), repeat=layers)]
    made = [f"- !!python/tuple\n  - '{path}'\n  - {-3.5 + number * 2**-10}\n" for number, path in enumerate(paths)]
    return "".join(made[:rows])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    files = tmp_path / "bossnas" / "nats_path_rank"
    files.mkdir(parents=True)
    for number, layers in enumerate((2, 2, 1)):
        (files / f"path_rank_{number}.yml").write_text(written(layers, 8))
    return files


def test_a_file_gives_a_number_for_every_path(folder):
    first, second, last = block_ratings("nats_sss")
    assert (len(first), len(second), len(last)) == (64, 64, 8)
    assert (first["00"], first["01"], first["77"]) == (-3.5, -3.5 + 2**-10, -3.5 + 63 * 2**-10)
    assert rating((first, second, last), (0, 1, 7, 7, 2)) == 1.5 + (1 + 63 + 2) * 2**-10


@pytest.mark.parametrize(
    "content",
    [
        "",
        written(2, 8, rows=63),
        written(2, 8) + "- !!python/tuple\n  - '00'\n  - -1.0\n",
        written(2, 8).replace("'77'", "'78'"),
        written(2, 8).replace("!!python/tuple", "!!python/object/apply:os.system"),
        written(2, 8).replace("'77'", "'777'"),
    ],
    ids=["empty", "cut short", "twice", "no such option", "another tag", "another length"],
)
def test_a_file_that_does_not_hold_every_path_once_is_named(folder, content):
    (folder / "path_rank_1.yml").write_text(content)
    with pytest.raises(DataError, match=r"path_rank_1\.yml' holds \d+ ratings; expected one for each of the 8\^2"):
        block_ratings("nats_sss")


def test_unknown_and_missing_ratings_are_refused(folder):
    with pytest.raises(DataError, match="space with ratings of BossNAS 'hytra'"):
        block_ratings("hytra")
    with pytest.raises(DataError, match=r"path_rank_0\.yml' does not exist"):
        block_ratings("mbconv")
    file = folder.parent / "mbconv_23_architectures.json"
    for content in ("{", json.dumps({"architectures": [{"encoding": 3}]})):
        file.write_text(content)
        with pytest.raises(DataError, match=r"mbconv_23_architectures\.json' cannot be read"):
            trained_networks()


def three_decimals(values, accuracy):
    return [round(float(f(values, accuracy).statistic), 3) for f in (kendalltau, spearmanr, pearsonr)]


@pytest.mark.plugins
@needs_ratings
def test_the_correlations_of_the_23_networks_are_the_published_ones_and_macs_are_ahead():
    ratings, networks = block_ratings("mbconv"), trained_networks()
    assert [len(block) for block in ratings] == [16, 256, 256, 256, 256]
    accuracy = [network.accuracy for network in networks]
    scores = [rating(ratings, network.options) for network in networks]
    assert three_decimals(scores, accuracy) == [-0.644, -0.777, -0.847]
    space = registry.load("spaces", "mbconv")(preset="bossnas")
    macs = space.cost("macs").batch(np.asarray([network.options for network in networks]))
    assert three_decimals(macs, accuracy)[:2] == [0.755, 0.903]


@pytest.mark.plugins
@needs_ratings
def test_the_correlations_of_all_sizes_are_the_published_ones_and_the_sum_of_widths_is_ahead():
    ratings, table = block_ratings("nats_sss"), registry.load("tables", "nats_sss")()
    architectures = list(table.space.enumerate())
    accuracy = [table.evaluate(each)["accuracy"] for each in architectures]
    scores = [rating(ratings, each.decisions) for each in architectures]
    assert three_decimals(scores, accuracy) == [-0.534, -0.734, -0.718]
    assert three_decimals([sum(each.decisions) for each in architectures], accuracy)[:2] == [0.785, 0.925]
