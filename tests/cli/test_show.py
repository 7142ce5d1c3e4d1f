"""`nasforge show`: what is asked for is what is shown, counts are integers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from nasforge.cli.app import main
from nasforge.run.options import make_space, option_defaults

pytestmark = pytest.mark.plugins


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["show", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_size_and_classes_each_count_alone(capsys: pytest.CaptureFixture[str]) -> None:
    default, classes = shown(capsys, "mbconv"), shown(capsys, "mbconv", "--classes", "7")
    assert default["input_shapes"] == classes["input_shapes"]
    assert classes["most_params"] < default["most_params"]
    space = make_space("mbconv", {}, classes=7)
    assert classes["most_params"] == space.params(space.largest("params"))
    sized = shown(capsys, "mbconv", "--size", "32")
    assert list(sized["input_shapes"].values()) == [[3, 32, 32]]
    assert sized["most_params"] < shown(capsys, "mbconv", "--size", "32", "--classes", "5000")["most_params"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "0"), "3 x 0 x 0"),
        (("--size", "-4"), "3 x -4 x -4"),
        (("--classes", "0"), "classes was given 0"),
        (("--classes", "-3"), "classes was given -3"),
        (("--size", "32", "--classes", "-3"), "classes was given -3"),
    ],
)
def test_sizes_and_classes_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert main(["show", "mbconv", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_a_strategy_shows_what_its_presets_hold(capsys: pytest.CaptureFixture[str]) -> None:
    presets = shown(capsys, "strategy:bignas")["presets"]
    assert set(presets) == {"quick", "paper", "attentive"}
    assert presets["paper"]["optimiser"] == "'rmsprop'"
    assert main(["show", "strategy:bignas"]) == 0
    assert re.search(r"^optimiser +'sgd' +'rmsprop' +'sgd'$", capsys.readouterr().out, re.MULTILINE)
    assert shown(capsys, "random")["presets"] == {}


def test_a_space_shows_what_its_options_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "pooling"]) == 0
    assert re.search(
        r"^preset +None +`resnet20` \(36 architectures\), `resnet18`", capsys.readouterr().out, re.MULTILINE
    )


def test_a_strategy_shows_its_options_with_defaults_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "evolution")
    assert found["strategy"] == "evolution"
    assert found["summary"]
    defaults = option_defaults("strategies", "evolution")
    assert {option: each["default"] for option, each in found["options"].items()} == {
        option: repr(value) for option, value in defaults.items()
    }
    assert all(each["help"] for each in found["options"].values())
    assert main(["show", "evolution"]) == 0
    assert all(each["help"] in capsys.readouterr().out for each in list(found["options"].values())[:1])


@pytest.mark.parametrize(("kind", "name"), [("target", "gpu"), ("task", "classification"), ("dataset", "digits")])
def test_other_plugins_show_theirs(capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    found = shown(capsys, name)
    assert name in found.values()
    assert found["summary"]


def test_a_strategy_that_has_the_name_of_a_space_is_shown_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "eeea")["space"] == "eeea"
    found = shown(capsys, "strategy:eeea")
    assert found["strategy"] == "eeea"
    assert "beta" in found["options"]


def test_a_published_architecture_takes_options_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    from nasforge_spaces.nasnet import nasnet_a

    given = ("--repeats", "1", "--filters=96", "--size", "16", "--classes", "7")
    for more, options in (((), {}), (("--stem-multiplier", "4"), {"stem_multiplier": 4})):
        found = shown(capsys, "nasnet-a", *given, *more)
        space, architecture = nasnet_a(1, 96, (3, 16, 16), 7, **options)  # type: ignore[arg-type]  # of one kind
        assert (found["input_shape"], found["classes"]) == ([3, 16, 16], 7)
        assert (found["params"], found["macs"]) == (space.params(architecture), space.macs(architecture))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nasnet-a", "--repets", "3"), "Did you mean 'repeats'"),
        (("nasnet-a", "--repeats", "many"), "expected int"),
        (("nasnet-a", "--repeats"), "expected --option value"),
        (("mbconv", "--repeats", "3"), "only published architectures"),
    ],
)
def test_options_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert main(["show", *arguments]) == 2
    assert said in capsys.readouterr().err
