"""The registry: lazy, complete, and clear about what is missing, broken or offered twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from nasforge import registry
from nasforge.cli.app import main
from nasforge.errors import NotInstalledError, PluginError, UsageError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put distributions with entry points on the path, as pip would leave them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(distribution: str, group: str, line: str, module: str = "", code: str = "") -> None:
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[nasforge.{group}]\n{line}\n")
        if module:
            (tmp_path / f"{module}.py").write_text(code)
        registry.installed.cache_clear()

    registry.installed.cache_clear()
    yield add
    registry.installed.cache_clear()


def test_a_plugin_is_listed_with_its_distribution_and_not_imported(install: Install) -> None:
    install("stranger", "spaces", "odd = stranger_space:make", "stranger_space", "raise SystemExit('imported')")
    assert registry.installed("spaces")["odd"].distribution == "stranger"
    assert "stranger_space" not in sys.modules


def test_load_returns_the_very_object(install: Install) -> None:
    install("stranger", "spaces", "odd = stranger_made:make", "stranger_made", "def make(): ...")
    import stranger_made  # type: ignore[import-not-found]  # written by the fixture

    assert registry.load("spaces", "odd") is stranger_made.make


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("broken_import", "import a_module_that_nobody_has", "ModuleNotFoundError"),
        ("broken_value", "raise ValueError('no licence')", "no licence"),
        ("broken_syntax", "def make(:", "SyntaxError"),
        ("broken_name", "other = 1", "AttributeError"),
        ("broken_exit", "import sys; sys.exit(7)", "SystemExit"),
        ("", "", "ModuleNotFoundError"),
    ],
)
def test_a_plugin_that_fails_to_load_names_its_distribution(
    install: Install, module: str, code: str, said: str
) -> None:
    install("stranger-broken", "strategies", f"odd = {module or 'not_there_at_all'}:make", module, code)
    with pytest.raises(PluginError, match="'odd' of distribution 'stranger-broken'") as caught:
        registry.load("strategies", "odd")
    assert said in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_broken_plugin_breaks_neither_the_list_nor_its_neighbours(install: Install) -> None:
    install("stranger-fine", "targets", "fine = stranger_fine:make", "stranger_fine", "def make(): return 3")
    install("stranger-bad", "targets", "bad = stranger_bad:make", "stranger_bad", "1 / 0")
    assert {"fine", "bad"} <= set(registry.installed("targets"))
    assert registry.load("targets", "fine")() == 3


@pytest.mark.parametrize("code", ["make = 3", "make = None", "make = {}"])
def test_what_cannot_be_called_is_no_plugin(install: Install, code: str) -> None:
    install("stranger-thing", "spaces", "odd = stranger_thing:make", "stranger_thing", code)
    with pytest.raises(PluginError, match=r"'odd' of distribution 'stranger-thing' is a \w+, where a function"):
        registry.load("spaces", "odd")
    del sys.modules["stranger_thing"]


@pytest.mark.plugins
def test_broken_plugins_are_lines_of_the_matrix_and_sentences_of_show(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {
        "odd_thing": ("make = 3", "is a int"),
        "odd_exit": ("import sys; sys.exit(7)", "SystemExit: 7"),
        "odd_error": ("def make(**options): raise KeyError('stem')", "KeyError: 'stem'"),
        "odd_kind": ("def make(input_shape=None, classes=3): return 3", "makes a int"),
    }
    for name, (code, _) in broken.items():
        for kind in ("spaces", "strategies"):
            install(f"stranger-{kind}-{name}", kind, f"{name} = {kind}_{name}:make", f"{kind}_{name}", code)
    everything, fine = registry.installed, {"mbconv", "random"}  # one that works of each kind is enough
    with monkeypatch.context() as patch:
        patch.setattr(registry, "installed", lambda kind: {
            name: plugin for name, plugin in everything(kind).items() if name in {*broken, *fine}
        })  # fmt: skip
        assert main(["list", "--compatible", "--json"]) == 0
    matrix = json.loads(capsys.readouterr().out)
    assert matrix["random"]["mbconv"] is None
    for name, (_, said) in broken.items():
        assert said in matrix["random"][name]
        assert said in matrix[name]["mbconv"]
        assert main(["show", name]) != 0
        error = capsys.readouterr().err
        assert said in error
        assert f"'{name}'" in error
        assert "unexpected" not in error


def test_one_name_from_two_distributions_is_refused_and_names_both(install: Install) -> None:
    install("first-stranger", "tasks", "same = first:make")
    install("second-stranger", "tasks", "same = second:make")
    with pytest.raises(UsageError, match="two distributions") as caught:
        registry.installed("tasks")
    assert "'first-stranger'" in str(caught.value)
    assert "'second-stranger'" in str(caught.value)


def test_the_same_distribution_seen_twice_on_the_path_is_no_duplicate(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an editable install and the checkout on the path show the same entry points twice
    install("stranger", "spaces", "odd = stranger_twice:make", "stranger_twice", "def make(): return 1")
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "stranger-1.0.dist-info").rename(other / "stranger-1.0.dist-info")
    install("stranger", "spaces", "odd = stranger_twice:make")
    monkeypatch.syspath_prepend(str(other))
    registry.installed.cache_clear()
    assert registry.load("spaces", "odd")() == 1


def test_names_come_sorted(install: Install) -> None:
    install("stranger", "suites", "zebra = a:b\nant = a:b\nmole = a:b")
    names = list(registry.installed("suites"))
    assert names == sorted(names)


def test_an_unknown_name_lists_what_is_there_and_the_nearest(install: Install) -> None:
    install("stranger", "datasets", "pictures = a:b")
    with pytest.raises(NotInstalledError, match="Did you mean 'pictures'") as caught:
        registry.load("datasets", "picturse")
    assert "dataset 'picturse' is not installed" in str(caught.value)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(NotInstalledError, match="Did you mean 'strategies'"):
        registry.installed("strategy")


def test_every_kind_has_a_singular() -> None:
    assert set(registry.SINGULAR) == set(registry.KINDS)


def test_entry_points_of_this_repository_are_in_known_groups() -> None:
    groups = {entry.group for entry in metadata.distribution("nasforge").entry_points} - {"console_scripts"}
    assert groups == {f"nasforge.{kind}" for kind in registry.KINDS}


def test_listing_imports_no_plugin_and_no_torch() -> None:
    code = (
        "import sys; from nasforge import registry\n"
        "for kind in registry.KINDS: registry.installed(kind)\n"
        "heavy = {'torch', 'ray', 'nasforge_spaces', 'nasforge_strategies'}\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & heavy))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
