"""The program: exit codes, one-sentence errors, exact counts, and a start that loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from nasforge.cli.app import main


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("search", "--space", "mbcon"), "Did you mean 'mbconv'"),
        (("search", "--strategy", "evolutoin"), "Did you mean 'evolution'"),
        (("search", "--target", "inte8"), "Did you mean 'int8'"),
        (("search", "--task", "clasification"), "Did you mean 'classification'"),
        (("search", "--max-latency", "5"), "such as 5ms"),
        (("search", "--max-params", "2Q"), "max-params"),
        (("search", "--budget", "soon"), "NN-evaluations"),
        (("search", "space.widht=2"), "Did you mean 'width'"),
        (("search", "--workers", "0"), "workers was given 0"),
        (("search", "--workers", "many"), "workers"),
        (("list", "space"), "Did you mean 'spaces'"),
        (("show", "proxyless-mobil"), "Did you mean 'proxyless-mobile'"),
        (("resume",), "Missing argument"),
        (("serch",), "serch"),
    ],
)
def test_bad_usage_is_one_sentence_on_standard_error_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    code, error = failed(capsys, *arguments)
    assert code == 2
    assert expected in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_the_version_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nasforge {version('nasforge')}\n"


def test_the_traceback_comes_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nothing-like-it", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    code, error = failed(capsys, "resume", str(tmp_path))
    assert code == 1
    assert "holds no run" in error


def test_an_impossible_limit_is_refused_with_the_least_possible_and_exit_code_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, error = failed(capsys, "search", "--strategy", "random", "--max-params", "3")
    assert code == 3
    assert "--max-params 3 was asked for" in error
    assert "the least" in error


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("proxyless-mobile", 4_080_512, 320_427_584), ("proxyless-gpu", 7_119_848, 465_260_160)],
)
def test_show_prints_published_counts_exactly(
    capsys: pytest.CaptureFixture[str], name: str, params: int, macs: int
) -> None:
    assert main(["show", name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["params"], facts["macs"]) == (params, macs)
    assert main(["show", name]) == 0
    text = capsys.readouterr().out
    assert str(params) in text
    assert str(macs) in text


def test_list_prints_every_kind_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "spaces",
        "strategies",
        "targets",
        "tasks",
        "datasets",
        "tables",
        "suites",
        "scores",
        "profiles",
    }
    assert "mbconv" in found["spaces"]


def test_list_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, nasforge; from nasforge.cli.app import main; main(['list']); "
        "print([name for name in ('torch', 'ray', 'hydra', 'optuna', 'onnx', 'scipy') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


def test_public_names_are_those_of_all_and_importable() -> None:
    import nasforge

    for name in nasforge.__all__:
        assert getattr(nasforge, name) is not None
    assert sorted(set(nasforge.__all__)) == sorted(nasforge._HOME)
    assert nasforge.__version__
