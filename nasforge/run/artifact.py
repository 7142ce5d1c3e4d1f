"""`architecture.json`: an architecture with what is needed to build it, in one file without weights.

The space is named, not stored: it is made again by the plug-in of that name with the same options, and
the fingerprint tells whether it still is the same space.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge import registry
from nasforge.errors import ArchitectureError, DamagedError, NotInstalledError, PluginError, SpaceError, UsageError
from nasforge.run.atomic import read_json
from nasforge.run.folder import written_again
from nasforge.run.options import make, make_space
from nasforge.run.settings import Plug
from nasforge.space import Architecture, SearchSpace

SCHEMA: Final = 1
FILE: Final = "architecture.json"


@final
@dataclass(frozen=True, slots=True)
class Artifact:
    """An architecture and its space; `plug` is None where the space was made by hand.

    `published` is the name of a published architecture with its options, which make the space again in that case.
    """

    space: SearchSpace
    architecture: Architecture
    plug: Plug | None = None
    classes: int = 10
    published: Plug | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, (C, H, W)."""
        return next(iter(self.space.input_shapes.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the content of `architecture.json`."""
        return {
            "schema": SCHEMA,
            "space": None if self.plug is None else self.plug.to_json(),
            **({} if self.published is None else {"published": self.published.to_json()}),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "architecture": self.space.to_json(self.architecture),
            "network_id": self.space.network_id(self.architecture),
            "params": self.space.params(self.architecture),
            "macs": self.space.macs(self.architecture),
        }


def read_artifact(path: Path, space: SearchSpace | None = None) -> Artifact:
    """Read `architecture.json`, or that of a run folder.

    Args:
        path: the file, or a folder that holds one.
        space: the space, where it is not a plug-in.

    Raises:
        DamagedError: the file cannot be read as one.
        ArchitectureError: it is of another space.
    """
    file = path / FILE if path.is_dir() else path
    try:
        data = read_json(file)
    except FileNotFoundError as error:
        raise ArchitectureError(f"'{path}' has no {FILE}; give a run that has finished or an {FILE}.") from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"'{file}' cannot be read as JSON ({error}); {written_again(file)}.") from error
    return from_json(data, str(file), space)


def from_json(data: Any, where: str, space: SearchSpace | None = None) -> Artifact:
    """Make an artifact of the content of `architecture.json`."""
    try:
        if data["schema"] != SCHEMA:
            raise DamagedError(
                f"'{where}' has schema {data['schema']!r}, this version reads {SCHEMA}; update nasforge."
            )
        shape, classes, stored = tuple(map(int, data["input_shape"])), int(data["classes"]), data["architecture"]
        plug = None if data["space"] is None else Plug.read(data["space"], "space")
        published = Plug.read(data["published"], "published") if data.get("published") else None
        if classes < 1 or not shape or min(shape) < 1:
            raise ValueError(f"an input of {shape} and {classes} classes")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError(
            f"'{where}' is no architecture file of nasforge ({type(error).__name__}: {error}); "
            f"{written_again(Path(where))}."
        ) from error
    if space is None and published is not None:
        space = _published(published, shape, classes).space
    if space is None:
        if plug is None:
            raise ArchitectureError(f"'{where}' is of a space made in Python; pass that space to nasforge.load.")
        try:
            space = make_space(plug.name, plug.options, shape, classes)
        except (PluginError, SpaceError) as error:
            raise DamagedError(f"the space of '{where}' cannot be made: {error}") from error
    return Artifact(space, space.from_json(stored), plug, classes, published)


def named_architectures() -> dict[str, Any]:
    """Return the functions of all named architectures, from `ARCHITECTURES` of the modules that offer spaces."""
    found: dict[str, Any] = {}
    for plugin in registry.installed("spaces").values():
        found.update({name: (plugin.name, function) for name, function in _architectures_of(plugin).items()})
    return found


def _architectures_of(plugin: registry.Plugin) -> Mapping[str, Any]:
    try:
        module = importlib.import_module(plugin.value.split(":")[0])
    except (Exception, SystemExit):  # noqa: BLE001 - one broken plug-in must not hide the others' architectures
        return {}
    found: Mapping[str, Any] = getattr(module, "ARCHITECTURES", {})
    return found


def find_architecture(text: str, options: Mapping[str, Any] | None = None) -> Artifact:
    """Return what a person means: a path to a file or run, or the name of a published architecture.

    Args:
        text: the path or name.
        options: of the named architecture, such as `repeats` and `filters` of NASNet's.

    Raises:
        NotInstalledError: neither a path nor a name.
        UsageError: options for a path, or one that the named architecture does not have.
    """
    path = Path(text)
    if path.exists():
        if options:
            raise UsageError(f"'{text}' is a file or folder and takes no {' or '.join(sorted(options))}; leave it out.")
        return read_artifact(path)
    return _published(Plug(text, options or {}))


def _published(plug: Plug, shape: tuple[int, ...] | None = None, classes: int | None = None) -> Artifact:
    """Make a published architecture, for another input and other classes where it takes them.

    Raises:
        NotInstalledError: there is none of this name.
        UsageError: an option that it does not have.
    """
    named = named_architectures()
    if plug.name not in named:
        raise NotInstalledError.unknown("architecture", plug.name, named)
    _, function = named[plug.name]
    taken = inspect.signature(function).parameters
    wanted = {"input_shape": shape, "classes": classes}
    fixed = {key: value for key, value in wanted.items() if value is not None and key in taken}
    space, architecture = make(function, {**plug.options, **fixed}, f"option of architecture '{plug.name}'")
    return Artifact(space, architecture, None, classes_of(space, architecture), plug)


def remade(artifact: Artifact, shape: tuple[int, ...], classes: int, options: Mapping[str, Any]) -> Artifact:
    """Return a published architecture for another input, other classes or other options, as far as it takes them."""
    assert artifact.published is not None, "others are remade by their space's plug-in"
    return _published(Plug(artifact.published.name, {**artifact.published.options, **options}), shape, classes)


def classes_of(space: SearchSpace, architecture: Architecture) -> int:
    """Return the channels of the first output."""
    lowered = space.lower(architecture)
    number = next(iter(lowered.outputs.values()))[0]
    return int(lowered.nodes[number].output_type.channels)


def describe(artifact: Artifact) -> Mapping[str, Any]:
    """Return what `nasforge show` prints of an architecture; counts are exact integers."""
    space, architecture = artifact.space, artifact.architecture
    return {
        "space": space.name,
        "input_shape": list(artifact.input_shape),
        "classes": artifact.classes,
        "network_id": space.network_id(architecture),
        "params": space.params(architecture),
        "macs": space.macs(architecture),
        "decisions": space.describe(architecture),
    }


__all__ = [
    "FILE",
    "Artifact",
    "classes_of",
    "describe",
    "find_architecture",
    "from_json",
    "named_architectures",
    "read_artifact",
    "remade",
]
