"""The target `profile`: the public suite on its own space and on another, and what it says where it cannot serve."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest

from nasforge.errors import TargetError, UsageError
from nasforge.hardware.block_table import spread_networks
from nasforge.hardware.fitted_file import profile_path
from nasforge.hardware.fitted_profile import FittedProfile, space_facts, write_fitted
from nasforge.hardware.kernel import network_kernels
from nasforge.hardware.whole_network import cross_validate, fit_networks
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.options import make_target
from nasforge.space import Input, SearchSpace, choice
from nasforge.targets.base import Target
from nasforge.testing.targets import TargetSuite, small_space


def convolutions() -> SearchSpace:
    x = Conv(choice(8, 16, 32, name="a"), choice(1, 3, name="k"))(Input(3, 8, 8))
    x = Conv(choice(8, 16, 32, name="b"), 3, 2)(x)
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x))}, name="convolutions")


def profile_of(space: SearchSpace) -> FittedProfile:
    architectures = spread_networks(space, 12)
    networks = [network_kernels(space.lower(each)) for each in architectures]
    truth = [0.5 + space.macs(each) / 1e5 for each in architectures]
    fit, found = fit_networks(networks, truth), cross_validate(networks, truth)
    return FittedProfile("board", space_facts(space), fit, found, "2026-01-02T03:04:05")


class OfAFile(TargetSuite):
    """The suite works in a cache folder of its own, so the profile is named by its file."""

    name = "profile"
    measured_on = staticmethod(small_space)
    _files: tempfile.TemporaryDirectory | None = None

    def make(self) -> Target:
        cls = type(self)
        if cls._files is None:
            cls._files = tempfile.TemporaryDirectory()
            write_fitted(Path(cls._files.name) / "board.json", profile_of(cls.measured_on()))
        return make_target("profile", {"profile": f"{cls._files.name}/board.json"})

    @classmethod
    def teardown_class(cls) -> None:
        with contextlib.suppress(AttributeError):
            cls._files.cleanup()


class TestOnItsOwnSpace(OfAFile):
    pass


class TestOnAnotherSpace(OfAFile):
    measured_on = staticmethod(convolutions)


del OfAFile, TargetSuite  # pytest would collect them


@pytest.fixture
def board(monkeypatch, tmp_path):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    profile = profile_of(small_space())
    write_fitted(profile_path("board"), profile)
    return profile


def test_the_short_form_and_the_option_name_the_same_profile(board):
    rows = small_space().sample_batch(50, np.random.default_rng(0))
    short, long = make_target("profile:board", {}), make_target("profile", {"profile": "board"})
    found = [each.predictor(small_space()).cost.batch(rows) for each in (short, long)]
    np.testing.assert_array_equal(*found)
    assert "'board'" in short.predictor(small_space()).source


def test_it_measures_nothing_and_says_that_the_device_is_elsewhere(board, tmp_path):
    target = make_target("profile:board", {})
    assert "'board' is not this machine" in str(target.available())
    with pytest.raises(TargetError, match="use the prediction, or measure the ONNX file on the device"):
        target.measure(tmp_path / "network.onnx")


def test_without_a_name_it_says_which_there_are(board):
    with pytest.raises(UsageError, match=r"profile:NAME \(known here: board\)"):
        make_target("profile", {}).predictor(small_space())
    with pytest.raises(UsageError, match="Did you mean 'board'"):
        make_target("profile:bored", {}).predictor(small_space())
