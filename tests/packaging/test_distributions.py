"""Wheel and source distribution hold the whole tree; the core passes its tests without the plug-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPPING = {
    "nasforge": "nasforge",
    "search_spaces": "nasforge_spaces",
    "strategies": "nasforge_strategies",
    "hardware_profiles": "nasforge_profiles",
    "experiments": "nasforge_experiments",
}
LEFT_OUT = ("__pycache__", "*.pyc", "*.egg-info", ".git", ".venv*", ".*_cache", ".hypothesis", ".coverage*")
LEFT_OUT_AT_TOP = ("runs", "build", "dist")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("packaging") / "nasforge"
    everywhere, at_top = shutil.ignore_patterns(*LEFT_OUT), shutil.ignore_patterns(*LEFT_OUT_AT_TOP)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return everywhere(folder, names) | (at_top(folder, names) if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    return copy


@pytest.fixture(scope="module")
def distributions(tree: Path) -> tuple[Path, Path]:
    """Return (source distribution, wheel made from that source distribution)."""
    out = tree.parent / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_the_source_distribution_holds_every_file_of_the_tree(tree: Path, distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    before = {name for name in files_below(tree) if ".egg-info" not in name}
    assert before - held == set()
    assert {"check", ".ci/run", "typings/nasforge_spaces/__init__.py"} <= held


def test_scripts_stay_executable_in_the_source_distribution(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        modes = {member.name.split("/", 1)[-1]: member.mode for member in archive.getmembers()}
    assert modes["check"] & 0o100
    assert modes[".ci/run"] & 0o100


def test_the_wheel_holds_every_file_of_the_packages_under_its_mapped_name(
    tree: Path, distributions: tuple[Path, Path]
) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"{name}/{file}" for folder, name in MAPPING.items() for file in files_below(tree / folder)}
    assert held == expected


def test_the_wheel_carries_licence_entry_points_and_types(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "nasforge/py.typed" in names
    assert "nasforge = nasforge.cli:main" in entry_points
    assert "mbconv = nasforge_spaces.mbconv:mbconv" in entry_points


def test_the_wheel_works_alone_in_an_empty_folder(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import nasforge, nasforge.config, nasforge_spaces.mbconv as m\n"
        "assert nasforge.__file__.startswith(SITE) and m.__file__.startswith(SITE), (nasforge.__file__, m.__file__)\n"
        "print(nasforge.config.compose({}, {}, ['space=mbconv_small']).settings.space.options)"
    ).replace("SITE", repr(str(tmp_path / "site")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr
    assert "'preset': 'small'" in done.stdout


HIDE_PLUGINS = '''
"""Makes the plug-ins of the repository invisible, as in an installation of the core alone."""

import sys
from importlib import metadata

HIDDEN = ("nasforge_spaces", "nasforge_strategies")
real = metadata.entry_points


def entry_points(**selection):
    if not selection:
        return real()  # of no interest to nasforge, and of another type
    return metadata.EntryPoints(entry for entry in real(**selection) if not entry.value.startswith(HIDDEN))


class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is hidden in this test", name=name)


metadata.entry_points = entry_points
sys.meta_path.insert(0, Blocker)
'''


def test_the_core_passes_its_tests_with_the_plugins_hidden(tmp_path: Path) -> None:
    (tmp_path / "hide_plugins.py").write_text(HIDE_PLUGINS, encoding="utf-8")
    plugin_rooms = ["conformance", "end_to_end", "packaging", "spaces", "strategies", "docs", "cli", "config"]
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-x", "-p", "hide_plugins", "-p", "no:cacheprovider",
            "-m", "not slow and not browser and not plugins", "tests",
            "--ignore=tests/test_doctests.py", "--ignore=tests/test_layout.py",
            *(f"--ignore=tests/{room}" for room in plugin_rooms),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
