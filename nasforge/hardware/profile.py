"""A latency profile: measured costs of one device, runtime and precision, as one JSON file with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from nasforge.errors import ProfileError
from nasforge.identity import canonical_json

SCHEMA: Final = 1


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
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the checksum of the rest under `sha256`."""
        data = {
            "schema": self.schema,
            "created": self.created,
            "device": dict(self.device),
            "device_key": self.device_key,
            "runtime": dict(self.runtime),
            "precision": self.precision,
            "space": dict(self.space),
            "protocol": dict(self.protocol),
            "noise": dict(self.noise),
            "entries": dict(self.entries),
            "kernels": {kind: list(map(float, row)) for kind, row in self.kernels.items()},
            "correction": dict(self.correction),
            "validation": dict(self.validation),
        }
        return {**data, "sha256": checksum(data)}


def checksum(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain data without its own `sha256`."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def read_profile(path: str | Path) -> Profile:
    """Read and check a profile.

    Raises:
        ProfileError: damaged, edited by hand, or of another schema.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfileError(
            f"profile '{path}' cannot be read ({type(error).__name__}); remove it and it is measured again."
        ) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        given = data.get("schema") if isinstance(data, dict) else None
        raise ProfileError(
            f"profile '{path}' has schema {given!r}, this version reads {SCHEMA}; remove it and it is measured again."
        )
    if data.get("sha256") != checksum(data):
        raise ProfileError(
            f"profile '{path}' does not match its checksum, so it was edited or damaged; measure it again."
        )
    values = {key: value for key, value in data.items() if key != "sha256"}
    try:
        return Profile(**values)
    except TypeError as error:
        raise ProfileError(f"profile '{path}' lacks a part ({error}); measure it again.") from error


def read_cached(
    path: Path, *, device_key: str, runtime: Mapping[str, Any], precision: str, here: str
) -> Profile | None:
    """Read a profile of the cache; None where there is none to trust: missing, cut, edited or of an older schema.

    Args:
        path: the file.
        device_key: of this machine.
        runtime: versions and settings of this machine.
        precision: what is asked for.
        here: names this machine in the error.

    Raises:
        ProfileError: a sound profile of another device, runtime or precision.
    """
    if not path.exists():
        return None
    try:
        profile = read_profile(path)
    except ProfileError:
        return None
    if (profile.device_key, dict(profile.runtime), profile.precision) != (device_key, dict(runtime), precision):
        made = f"{profile.device.get('model')}, {dict(profile.runtime)}, {profile.precision}"
        raise ProfileError(
            f"profile '{path}' was measured on {made}, and this is {here}, {dict(runtime)}, {precision}; remove it and "
            "it is measured here."
        )
    return profile


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


def describe_profile(path: Path) -> str:
    """Return a profile in one line: device, precision, date, held-out error; or why it cannot be used."""
    try:
        profile = read_profile(path)
    except ProfileError:
        return "damaged, measured again on next use"
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
