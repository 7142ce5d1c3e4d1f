"""Composition: every installed plug-in is a member of its group, and mistakes are named."""

from __future__ import annotations

import pytest

from nasforge.config import compose
from nasforge.errors import UsageError


def test_options_and_overrides_reach_the_settings() -> None:
    composed = compose(
        {"space": "mbconv", "strategy": "random"},
        {"limits.latency": "5ms", "seed": 7, "data": "image_folder:/a b/c=d"},
        ["space.width=0.5", "training.epochs=3", "budget=4-evaluations"],
    )
    settings = composed.settings
    assert settings.space.to_json() == {"name": "mbconv", "width": 0.5}
    assert settings.limits.latency_ms == 5.0
    assert (settings.seed, settings.data, settings.training) == (7, "image_folder:/a b/c=d", {"epochs": 3})
    assert str(settings.budget) == "4-evaluations"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["space.widht=2"], "Did you mean 'width'"),
        (["space=mbcon"], "Did you mean 'mbconv'"),
        (["strateggy=random"], "Did you mean 'strategy'"),
        (["bugdet=quick"], "Did you mean 'budget'"),
        (["budget=fast"], "NNmin"),
        (["width"], "key=value"),
        (["seed=[1"], "do not compose"),
    ],
)
def test_mistakes_are_named_in_one_sentence(overrides: list[str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        compose({"strategy": "random"}, {}, overrides)
    assert "\n" not in str(caught.value)


def test_environment_interpolations_stay_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASFORGE_TEST_DATA", "digits")
    composed = compose({"strategy": "random"}, {}, ["data='${oc.env:NASFORGE_TEST_DATA}'"])
    assert composed.settings.data == "digits"
    assert composed.written["data"] == "${oc.env:NASFORGE_TEST_DATA}"


def test_instantiation_keys_are_refused() -> None:
    with pytest.raises(UsageError):
        compose({"strategy": "random"}, {}, ["space._target_=os.system"])
