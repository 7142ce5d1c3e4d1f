"""A latency profile: measured costs of one device, runtime and precision, as one JSON file with a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

from nasforge.errors import NotInstalledError, ProfileError
from nasforge.hardware.device import Device
from nasforge.identity import canonical_json
from nasforge.space import SearchSpace

SCHEMA: Final = 2


@final
@dataclass(frozen=True)
class Profile:
    """What was measured, where and how; see LATENCY in the docs for the meaning of the parts.

    Attributes:
        device: as `Device.to_json`.
        device_key: hash of what decides its speed.
        runtime: versions, provider, threads, batch.
        precision: `float32` or `int8`.
        space: name, fingerprint and input shape it was made for.
        protocol: how it was timed.
        noise: how quiet the host was.
        entries: ms by latency key.
        kernels: coefficients by kind of operator, for keys that were not measured.
        correction: offset, ms per block, factors by kind of block, fitted on whole networks.
        validation: held-out error.
        created: UTC time.
        readings: of each entry: `p10_ms`, `median_ms`, `runs`, `visits`, `spread` (second-best visit / best - 1),
            `flag`, and `visits_ms`: least run and median of every visit, as they were read.
        fitted: the networks of `correction`: decisions, `measured_ms`, and as of an entry.
        reference: fixed networks by name, best ms of each; measured again when the profile is used.
        quant: how INT8 networks are quantised; empty for float32.
        scales: hyper-parameters of the models of unmeasured blocks, see `BlockModel`.
        held_out: the networks of `validation`: decisions, `measured_ms`, `predicted_ms`.
        baselines: the error that MACs and params alone have on the held-out networks.
        tool_version: of nasforge.
        synthetic: made up for a test; refused elsewhere.
    """

    device: Mapping[str, Any]
    device_key: str
    runtime: Mapping[str, Any]
    precision: str
    space: Mapping[str, Any]
    protocol: Mapping[str, Any]
    noise: Mapping[str, Any]
    entries: Mapping[str, float]
    kernels: Mapping[str, list[float]]
    correction: Mapping[str, Any]
    validation: Mapping[str, float]
    created: str
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    quant: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fitted: Sequence[Mapping[str, Any]] = field(default_factory=list)
    held_out: Sequence[Mapping[str, Any]] = field(default_factory=list)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tool_version: str = field(default_factory=lambda: version("nasforge"))
    synthetic: bool = False
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the checksum of the rest under `sha256`."""
        data = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return {**data, "sha256": checksum(data)}


def checksum(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain data without its own `sha256`."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def read_profile(path: str | Path, *, synthetic: bool = False) -> Profile:
    """Read and check a profile.

    Args:
        path: the file.
        synthetic: accept one that was made up for a test.

    Raises:
        ProfileError: damaged, edited by hand, or of another schema.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfileError(
            f"profile '{path}' cannot be read ({type(error).__name__}); remove it and it is measured again."
        ) from error
    if isinstance(data, dict) and "kind" in data:
        raise ProfileError(
            f"profile '{path}' was not measured on a processor, but is a {data['kind']} one; use it with --target gpu "
            "and target.card=NAME, or with --target profile:NAME where it is of a device elsewhere."
        )
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        given = data.get("schema") if isinstance(data, dict) else None
        newer = isinstance(given, int) and given > SCHEMA
        raise ProfileError(
            f"profile '{path}' has schema {given!r}, this version reads {SCHEMA}; "
            f"{'update nasforge, or measure it again.' if newer else 'measure it again with `nasforge profile`.'}"
        )
    if data.get("sha256") != checksum(data):
        raise ProfileError(
            f"profile '{path}' does not match its checksum, so it was edited or damaged; measure it again."
        )
    if data.get("synthetic") and not synthetic:
        raise ProfileError(f"profile '{path}' was made up for a test; measure one with `nasforge profile`.")
    values = {key: value for key, value in data.items() if key != "sha256"}
    try:
        profile = Profile(**values)
    except TypeError as error:
        raise ProfileError(f"profile '{path}' lacks a part ({error}); measure it again.") from error
    for name in _unreadable(values):
        raise ProfileError(f"part '{name}' of profile '{path}' is not as nasforge writes it; measure it again.")
    return profile


NUMBERS: Final = ("entries", "validation", "reference")
TEXTS: Final = ("device_key", "precision", "created", "tool_version")
LISTS: Final = ("fitted", "held_out")
PLAIN: Final = ("synthetic", "schema")


def _unreadable(values: Mapping[str, Any]) -> list[str]:
    """Return the parts whose content is of another kind than `Profile` says."""

    def sound(name: str, value: Any) -> bool:
        if name in TEXTS:
            return isinstance(value, str)
        if name in LISTS:
            return isinstance(value, list) and all(isinstance(each, dict) for each in value)
        if not isinstance(value, dict):
            return name in PLAIN
        return name not in NUMBERS or all(type(each) in (int, float) for each in value.values())

    return [name for name, value in values.items() if not sound(name, value)]


def facts_of(space: SearchSpace) -> dict[str, Any]:
    """Return what a profile says of its space."""
    shapes = {name: list(shape) for name, shape in space.input_shapes.items()}
    return {"name": space.name, "fingerprint": space.fingerprint, "input_shapes": shapes}


def differences(profile: Profile, *, device: Device, runtime: Mapping[str, Any], precision: str) -> list[str]:
    """Say in words what keeps a profile from being used here; empty where nothing does.

    Runtimes are the same while their minor versions are.
    """
    found = []
    if profile.device_key != device.key:
        found.append(f"it was measured on {profile.device.get('model')}, and this is {device.model}")
    if profile.precision != precision:
        found.append(f"it is of {profile.precision}, and {precision} was asked for")
    for key in sorted({*profile.runtime, *runtime}):
        theirs, ours = profile.runtime.get(key), runtime.get(key)
        if _minor(theirs) != _minor(ours):
            found.append(f"its {key} is {theirs}, and here it is {ours}")
    return found


def _minor(value: Any) -> Any:
    return ".".join(value.split(".")[:2]) if isinstance(value, str) else value


def read_cached(path: Path) -> Profile | None:
    """Read a profile of the cache; None where there is none to trust: missing, cut, edited or of another schema."""
    try:
        return read_profile(path) if path.exists() else None
    except ProfileError:
        return None


def find_profile(name: str) -> Path:
    """Return the file of a profile: a path, a name in the cache, or one that ships with nasforge.

    Raises:
        ProfileError: it is one of a device elsewhere.
        NotInstalledError: none of them.
    """
    if Path(name).suffix == ".json" and Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in (*shipped_profiles(), *sorted(cache_folder().glob("*.json")))}
    if name.startswith("profile:") or (name not in known and (cache_folder() / "profiles" / f"{name}.json").is_file()):
        raise ProfileError(
            f"profile '{name}' is of a device elsewhere; it is a target by itself: --target profile:"
            f"{name.removeprefix('profile:')}."
        )
    if name not in known:
        raise NotInstalledError.unknown("profile", name, known)
    return known[name]


def shipped_profiles() -> list[Path]:
    """Return the profiles that ship with nasforge."""
    try:
        files = resources.files("nasforge_profiles")
    except ModuleNotFoundError:
        return []
    return sorted(Path(str(file)) for file in files.iterdir() if file.name.endswith(".json"))


def write_profile(path: str | Path, profile: Profile) -> None:
    """Write a profile atomically.

    Raises:
        ProfileError: the folder cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(profile.to_json(), indent=1, sort_keys=True), encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise ProfileError(
            f"profile '{target}' cannot be written ({error.strerror}); set NASFORGE_CACHE to a folder of yours."
        ) from error


def check_writable(folder: Path) -> None:
    """Try to write, before minutes go into what is to be kept there; the folder is made.

    Raises:
        ProfileError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ProfileError(
            f"the folder '{folder}' cannot be written ({error.strerror}), so no profile can be kept there; set "
            "NASFORGE_CACHE to a folder of yours."
        ) from error


def describe_profile(path: Path) -> str:
    """Return a profile in one line: device, precision, date, held-out error; or why it cannot be used."""
    try:
        profile = read_profile(path)
    except ProfileError:
        return "damaged or of another version, measured again on next use"
    found = profile.validation
    share = found.get("within_10_percent")
    error = "no held-out error" if share is None else f"{share:.0%} of {found['n']:.0f} networks within 10 %"
    model = profile.device.get("model", "unknown device")
    return f"{model}, {profile.precision}, measured {profile.created[:10]}, {error}"


def cache_folder() -> Path:
    """Return where profiles are cached: $NASFORGE_CACHE, or the user's cache folder."""
    given = os.environ.get("NASFORGE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nasforge"
