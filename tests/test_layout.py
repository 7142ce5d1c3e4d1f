"""The layout of the repository: public names, light imports, one name for each package, presets, classes, commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import nasforge
from nasforge import registry

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAPPING: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
SOURCES = sorted(
    path for folder in MAPPING.values() for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts
)
PACKAGES = sorted(path.parent for path in SOURCES if path.name == "__init__.py")


def module_name(path: Path) -> str:
    """Return the installed name of a source file or package folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = next(name for name, folder in MAPPING.items() if folder == parts[0])
    return ".".join([name, *(part for part in parts[1:] if part != "__init__")])


def run_python(code: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, **variables},
    )


def imported_names(tree: ast.Module) -> set[str]:
    """Return the public names a package file defines or imports: at once, for type checkers, or when asked for."""
    names: set[str] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MAPPING:
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES, ids=module_name)
def test_the_public_names_of_a_package_are_its_all(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    module = importlib.import_module(module_name(package))
    declared = getattr(module, "__all__", None)
    if declared is None:
        # a namespace only: it must export nothing but functions of its own (`nasforge.cli.main`)
        assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module != "__future__"]
        return
    assert len(declared) == len(set(declared))
    assert set(declared) == imported_names(tree)
    assert not [name for name in declared if not hasattr(module, name)]


def test_dir_of_nasforge_is_all_and_the_version() -> None:
    assert set(dir(nasforge)) == {*nasforge.__all__, "__version__"}
    assert nasforge.__version__ == metadata.version("nasforge") == PROJECT["project"]["version"]


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        nasforge.no_such_name  # noqa: B018 - the access itself is tested


HEAVY = ("torch", "torchvision", "timm", "ray", "onnx", "onnxruntime", "optuna", "sklearn", "scipy", "plotly")


@pytest.mark.parametrize(
    "code",
    [
        "import nasforge",
        "from nasforge import SearchSpace, Strategy, choice",
        "import nasforge.space, nasforge.ops, nasforge.goals, nasforge.hardware, nasforge.strategy, nasforge.registry",
        "from nasforge.cli.app import main; assert main(['list']) == 0",
        "from nasforge.cli.app import main; main(['--help'])",
    ],
)
def test_light_parts_load_nothing_heavy(code: str) -> None:
    done = run_python(f"{code}\nimport sys; print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(("name", "folder"), [pair for pair in MAPPING.items() if pair[0] != pair[1]])
def test_a_plugin_package_refuses_any_name_but_the_mapped_one(name: str, folder: str) -> None:
    done = run_python(f"import {folder}")
    assert done.returncode != 0
    assert f"ImportError: this package is '{name}', and was imported as '{folder}'" in done.stderr
    assert run_python(f"import {name}").returncode == 0


def test_every_package_is_listed_for_the_wheel() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(module_name(package) for package in PACKAGES)


def test_every_folder_with_sources_is_a_package() -> None:
    assert {path.parent for path in SOURCES} == set(PACKAGES)


def test_entry_points_as_installed_are_those_of_the_project() -> None:
    installed = {
        (entry.group, entry.name, entry.value)
        for entry in metadata.distribution("nasforge").entry_points
        if entry.group.startswith("nasforge.")
    }
    written = {
        (group, name, value)
        for group, entries in PROJECT["project"]["entry-points"].items()
        for name, value in entries.items()
    }
    assert installed == written


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("kind", "name"),
    [(group.split(".")[1], name) for group, entries in PROJECT["project"]["entry-points"].items() for name in entries],
)
def test_every_entry_point_of_this_repository_loads(kind: str, name: str) -> None:
    assert callable(registry.load(kind, name))


@pytest.mark.plugins
@pytest.mark.parametrize("folder", ["search_spaces", "strategies"])
def test_every_plugin_file_is_an_entry_point(folder: str) -> None:
    values = {
        value.split(":")[0] for entries in PROJECT["project"]["entry-points"].values() for value in entries.values()
    }
    files = {module_name(path) for path in SOURCES if path.parent == ROOT / folder and path.name != "__init__.py"}
    assert files <= values


def test_typings_are_links_to_the_plugin_packages() -> None:
    for name in ("nasforge_spaces", "nasforge_strategies"):
        assert (ROOT / "typings" / name).resolve() == (ROOT / MAPPING[name]).resolve() or (
            ROOT / "typings" / name / "__init__.py"
        ).is_file()  # an unpacked source distribution holds copies


def test_every_profile_validates() -> None:
    from nasforge.hardware.card_profile import KIND, make_card_profile
    from nasforge.hardware.profile import read_profile

    for file in (ROOT / "hardware_profiles").glob("*.json"):
        data = json.loads(file.read_text(encoding="utf-8"))
        if data.get("kind") == KIND:
            assert make_card_profile(data, file.name).to_json() == data
        else:
            assert read_profile(file).to_json() == data


def classes(module: ModuleType) -> list[type]:
    return [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py"], ids=module_name)
def test_every_class_is_abstract_or_final(path: Path) -> None:
    name = module_name(path)
    if name.startswith("nasforge.testing"):
        return  # suites are made to be inherited
    open_classes = [
        each.__name__
        for each in classes(importlib.import_module(name))
        if not (
            inspect.isabstract(each)
            or getattr(each, "_is_protocol", False)
            or getattr(each, "__final__", False)
            or issubclass(each, BaseException)  # a tree, to be caught by base
            or "__init_subclass__" in vars(each)  # abstract by a check of its own, where one of two methods is needed
        )
    ]
    assert open_classes == []


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[:2]


def test_the_readme_opens_with_the_two_commands_that_ci_runs() -> None:
    job, tests = readme_commands()
    assert job.rstrip().endswith("nasforge search --space mbconv --strategy proxyless --target gpu")
    assert tests.rstrip().endswith("./check --all")
    assert all("pip install -e" in command and "venv" in command for command in (job, tests))


@pytest.mark.parametrize("script", ["check", ".ci/run"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(ROOT / script)], check=False).returncode == 0


def test_check_refuses_an_unknown_option() -> None:
    done = subprocess.run([str(ROOT / "check"), "--al"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--all" in done.stderr
