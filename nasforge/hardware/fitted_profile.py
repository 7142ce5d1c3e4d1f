"""A latency profile of a device that nasforge cannot run on, fitted to whole networks measured there.

The file keeps the networks' kernels with their latencies, so the fit is made again when it is read: it stays exact, is
never unpickled, and can say how sure it is of networks that nothing like it was measured of. The checksum tells where a
file was edited.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from nasforge.errors import ProfileError, UsageError, unknown_name_sentence
from nasforge.hardware.fitted_file import AGAIN, KIND, SCHEMA, fitted_names, profile_path, read_fitted_data, sentence
from nasforge.hardware.kernel import Kernel, network_kernels
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.hardware.profile import checksum
from nasforge.hardware.whole_network import WholeNetworkFit
from nasforge.space import SearchSpace

_SAMPLED: Final = 32
"""Networks of another space that the model's own error is estimated on."""


@final
@dataclass(frozen=True)
class FittedProfile:
    """A device as its networks' latencies tell it.

    Attributes:
        name: of the device.
        space: name, fingerprint and input shapes of the space that the networks are of.
        fit: kernels, counts, latencies and hyper-parameters.
        validation: cross-validated error.
        created: UTC time.
    """

    name: str
    space: Mapping[str, Any]
    fit: WholeNetworkFit
    validation: Mapping[str, float]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the checksum of the rest under `sha256`."""
        rows = [{str(place): count for place, count in enumerate(row) if count} for row in self.fit.counts.tolist()]
        data = {
            "schema": SCHEMA,
            "kind": KIND,
            "name": self.name,
            "created": self.created,
            "space": dict(self.space),
            "kernels": [kernel.to_json() for kernel in self.fit.kernels],
            "networks": [
                {"latency_ms": latency_ms, "kernels": row}
                for latency_ms, row in zip(self.fit.measured_ms.tolist(), rows, strict=True)
            ],
            "noise": self.fit.noise,
            "spread": self.fit.spread,
            "validation": dict(self.validation),
        }
        return {**data, "sha256": checksum(data)}

    @property
    def sentence(self) -> str:
        """Device, date and error, in one line."""
        return sentence(self.name, self.space["name"], self.created, self.validation)

    def is_of(self, space: SearchSpace) -> bool:
        """Say whether the networks are of this space, at this size of input."""
        return all(self.space[key] == value for key, value in space_facts(space).items())

    def predictor(self, space: SearchSpace, where: str) -> LatencyPredictor:
        """Return the predictor for a space; for one that nothing was measured of, with the wider error that it has.

        Args:
            space: any space.
            where: the profile's file.
        """
        details = {"kind": KIND, "device": self.name, "networks": len(self.fit.measured_ms), "space": dict(self.space)}
        cost = self.fit.cost(space)
        if self.is_of(space):
            return LatencyPredictor(cost, self.sentence, where, dict(self.validation), details)
        error, unknown = self.foreign_error(space)
        names = ", ".join(unknown)
        source = (
            f"{self.sentence}; none of them is of this space at this size, so expect errors of about {error:.0%} (one "
            "standard deviation, not validated)" + (f"; kernels of a kind never measured: {names}" if names else "")
        )
        details |= {"expected_relative_error": error, "unknown_kinds": unknown}
        return LatencyPredictor(cost, source, where, {}, details)

    def foreign_error(self, space: SearchSpace) -> tuple[float, list[str]]:
        """Return the expected relative error over a space, and the kinds of kernels that were never measured.

        The model's own deviation grows with what is unlike anything measured; the cross-validated error adds to it.
        """
        rng = np.random.default_rng(0)
        networks = [network_kernels(space.lower(space.sample(rng))) for _ in range(_SAMPLED)]
        known = {kernel.kind for kernel in self.fit.kernels}
        kinds = {kernel.kind for nodes in networks for node in nodes for kernel in node}
        own = float(np.sqrt((self.fit.deviation(networks) ** 2).mean()))
        return float(np.hypot(own, self.validation["rmspe"])), sorted(kinds - known)


def space_facts(space: SearchSpace) -> dict[str, Any]:
    """Return what tells a space from others, as the profile keeps it."""
    shapes = {name: list(shape) for name, shape in space.input_shapes.items()}
    return {"name": space.name, "fingerprint": space.fingerprint, "input_shapes": shapes}


def find_fitted(text: str) -> tuple[FittedProfile, Path]:
    """Return the profile of a name or a path, and its file.

    Raises:
        UsageError: no such profile; the nearest is named.
        ProfileError: it is damaged.
    """
    path = Path(text).expanduser()
    if path.suffix == ".json" or os.sep in text:
        if not path.is_file():
            raise UsageError(
                f"profile '{text}' does not exist; give the name or the file of one, made by "
                "`nasforge profile --from-measurements`."
            )
        return read_fitted(path), path
    path = profile_path(text)
    if not path.is_file():
        hint = " Make one with `nasforge profile --export-networks` and `--from-measurements`."
        raise UsageError(unknown_name_sentence("profile", text, fitted_names()) + hint)
    return read_fitted(path), path


def write_fitted(path: Path, profile: FittedProfile) -> None:
    """Write a profile atomically.

    Raises:
        ProfileError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(profile.to_json(), indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ProfileError(
            f"profile '{path}' cannot be written ({error.strerror}); set NASFORGE_CACHE to a folder of yours."
        ) from error


def read_fitted(path: Path) -> FittedProfile:
    """Read and check a profile.

    Raises:
        ProfileError: damaged, edited by hand, of another kind or another schema.
    """
    data = read_fitted_data(path)
    try:
        kernels = tuple(Kernel(*row) for row in data["kernels"])
        fit = WholeNetworkFit(kernels, *_observed(data["networks"], len(kernels)), data["noise"], data["spread"])
        return FittedProfile(data["name"], data["space"], fit, data["validation"], data["created"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProfileError(f"profile '{path}' lacks a part ({error}); {AGAIN}.") from error


def _observed(networks: Sequence[Mapping[str, Any]], size: int) -> tuple[Any, Any]:
    counts = np.zeros((len(networks), size))
    for row, network in zip(counts, networks, strict=True):
        for place, count in network["kernels"].items():
            row[int(place)] = count
    return counts, np.asarray([network["latency_ms"] for network in networks], dtype=np.float64)
