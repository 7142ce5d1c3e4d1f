"""The configurations that ship: each one composes, and an explicit word wins over a preset."""

from __future__ import annotations

from importlib import resources

import pytest

from nasforge import registry
from nasforge.config import compose
from nasforge.errors import UsageError

ROOT = resources.files("nasforge_experiments")
PRESETS = sorted(
    (group.name, preset.name.removesuffix(".yaml"))
    for group in ROOT.iterdir()
    if group.is_dir() and group.name != "__pycache__"
    for preset in group.iterdir()
    if preset.name.endswith(".yaml")
)
KINDS = {"space": "spaces", "strategy": "strategies", "target": "targets", "task": "tasks"}

pytestmark = pytest.mark.plugins


@pytest.mark.parametrize(("group", "preset"), PRESETS)
def test_every_preset_composes_and_names_installed_plugins(group: str, preset: str) -> None:
    settings = compose({}, {}, [f"{group}={preset}"]).settings
    for part, kind in KINDS.items():
        assert getattr(settings, part).name in registry.installed(kind)


@pytest.mark.parametrize(("group", "preset"), PRESETS)
def test_every_preset_changes_something_or_is_the_default_itself(group: str, preset: str) -> None:
    # presets compose onto another default, so that a file with the wrong package would be seen
    changed = compose({}, {}, [f"{group}={preset}"]).settings.to_json()
    default = compose({}, {}, []).settings.to_json()
    assert changed != default or (group, preset) == ("budget", "quick")


def test_no_preset_hides_a_plugin_of_its_name() -> None:
    for group, preset in PRESETS:
        if group in KINDS:
            assert preset not in registry.installed(KINDS[group])


def test_the_experiments_hold_all_yaml_in_known_groups() -> None:
    assert {group for group, _ in PRESETS} <= {*KINDS, "budget", "experiment"}


@pytest.mark.parametrize(
    ("overrides", "option", "expected"),
    [
        (["experiment=nb201_evolution"], None, "32-evaluations"),
        (["experiment=nb201_evolution", "budget=hour"], None, "60min"),
        (["budget=hour", "experiment=nb201_evolution"], None, "60min"),
        (["experiment=nb201_evolution"], "hour", "60min"),
        (["experiment=nb201_evolution"], "2min", "2min"),
        (["budget=7min"], "night", "600min"),
        ([], None, "quick"),
    ],
)
def test_the_most_explicit_budget_wins(overrides: list[str], option: str | None, expected: str) -> None:
    assert str(compose({}, {"budget": option}, overrides).settings.budget) == expected


def test_an_option_of_the_command_wins_over_an_experiment() -> None:
    settings = compose({"strategy": "random"}, {"seed": 5}, ["experiment=first_search"]).settings
    assert (settings.strategy.name, settings.seed, settings.target.name) == ("random", 5, "gpu")


def test_an_unknown_experiment_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'first_search'"):
        compose({}, {}, ["experiment=first_serch"])
