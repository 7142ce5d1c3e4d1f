"""The worked example of a plug-in package, as its author would use it: built, installed, listed, searched, tested."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "NASFORGE_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a new environment with this one's libraries, and the example's wheel installed in it."""
    folder = tmp_path_factory.mktemp("example")
    package = folder / "package"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, package, folder=folder)
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    shared = sysconfig.get_paths()["purelib"]
    (site / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n", encoding="utf-8")
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, folder=folder)
    shutil.rmtree(package / "nasforge_example")  # only the installed one is left
    return folder / "venv" / "bin" / "python"


def test_the_package_is_listed_under_its_own_name(python: Path) -> None:
    listed = json.loads(run(python, "-m", "nasforge", "list", "--json", folder=python.parents[2]))
    assert listed["spaces"]["ladder"] == "nasforge-example"
    assert listed["strategies"]["hill_climbing"] == "nasforge-example"


def test_its_strategy_searches_its_space_and_those_of_nasforge(python: Path) -> None:
    folder = python.parents[2]
    for space in ("ladder", "nb201"):
        out = folder / f"run-{space}"
        options = ("--budget", "4-evaluations", "training.evaluation_epochs=1", "training.epochs=1", "--out", str(out))
        words = ("search", "--space", space, "--strategy", "hill_climbing", "--target", "gpu", "--json", *options)
        found = json.loads(run(python, "-m", "nasforge", *words, folder=folder))
        assert found["evaluations"] == 4
        assert found["strategy"]["name"] == "hill_climbing"
        assert (out / "model.onnx").is_file()


def test_its_own_tests_pass(python: Path) -> None:
    package = python.parents[2] / "package"
    printed = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=package)
    assert " passed" in printed
