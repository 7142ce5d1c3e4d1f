"""A device that nasforge cannot run on: networks to measure there as files, and a profile from what was measured.

The person in the middle gets ONNX files and a table to fill in. A manifest beside them says which architecture is in
which file, under a checksum, so that latencies are never taken for those of other networks.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import DamagedError, DataError, UsageError, WrongFolderError
from nasforge.hardware.block_table import spread_networks
from nasforge.hardware.fitted_file import profile_path
from nasforge.hardware.fitted_profile import FittedProfile, space_facts, write_fitted
from nasforge.hardware.kernel import network_kernels
from nasforge.hardware.profile import check_writable, checksum
from nasforge.hardware.whole_network import (
    LEAST_NETWORKS,
    Nodes,
    compared,
    cross_validate,
    fit_networks,
    folds_of,
)
from nasforge.run.artifact import Artifact, classes_of, from_json
from nasforge.run.atomic import read_json, write_json, write_text
from nasforge.run.measurements import FILE_COLUMN, LATENCY_COLUMN, read_measurements
from nasforge.run.options import make_space
from nasforge.run.settings import Plug
from nasforge.space import SearchSpace
from nasforge.targets.blocks import write_network

MANIFEST: Final = "manifest.json"
TABLE: Final = "measurements.csv"
SCHEMA: Final = 1
COUNT: Final = 60
Progress = Callable[[float, float], None]


@final
@dataclass(frozen=True)
class Fitted:
    """A new profile, its file, and its cross-validated error beside that of counting.

    Attributes:
        profile: the profile.
        path: its file.
        errors: what `compared` returns for the profile, and for a line through MACs and through params.
        median_ms: of the measurements, so that a unit that is wrong throughout is seen.
    """

    profile: FittedProfile
    path: Path
    errors: Mapping[str, Mapping[str, float]]
    median_ms: float


def named_space(
    name: str, options: Mapping[str, Any] | None = None, resolution: int | None = None
) -> tuple[SearchSpace, Plug, int]:
    """Return the space of a name, how to make it again, and its number of classes.

    Args:
        name: of an installed space.
        options: of the space, such as `{"preset": "small"}`.
        resolution: height and width of the input; the space's own without.

    Raises:
        UsageError: no such space or option, or an input too small for it.
    """
    given = dict(options or {})
    space = make_space(name, given)
    if resolution is not None:
        channels = next(iter(space.input_shapes.values()))[0]
        space = make_space(name, given, (channels, resolution, resolution))
    return space, Plug(name, given), classes_of(space, space.smallest())


def export_networks(
    space: SearchSpace,
    folder: Path,
    count: int = COUNT,
    seed: int = 0,
    *,
    plug: Plug | None = None,
    classes: int = 10,
    progress: Progress | None = None,
) -> Path:
    """Write networks spread over a space as ONNX, a manifest, and a table to fill in.

    Args:
        space: the space.
        folder: a new or empty folder.
        count: how many networks.
        seed: of the draw.
        plug: name and options of the space, by which `from_measurements` makes it again; without it, it asks for it.
        classes: that the space was made for.
        progress: hears of networks done and in total.

    Returns:
        The table, with the columns `file` and `latency_ms`.

    Raises:
        UsageError: fewer networks than a profile needs, or the space has no more.
        WrongFolderError: the folder holds something.
    """
    if count < LEAST_NETWORKS:
        raise UsageError(f"{count} networks were asked for; a profile needs {LEAST_NETWORKS} or more, better 50.")
    networks = spread_networks(space, count, seed)
    if len(networks) < LEAST_NETWORKS:
        raise UsageError(
            f"space '{space.name}' has {len(networks)} networks, and a profile needs {LEAST_NETWORKS}; use another."
        )
    _make_empty(folder)
    entries, width = [], len(str(len(networks) - 1))
    for number, architecture in enumerate(networks):
        file = write_network(space.lower(architecture), folder / f"network_{number:0{width}d}.onnx")
        stored = Artifact(space, architecture, plug, classes).to_json()
        entries.append({"file": file.name, "sha256": _sha256(file), **stored})
        if progress is not None:
            progress(number + 1, len(networks))
    manifest = {"schema": SCHEMA, "space": space_facts(space), "seed": seed, "networks": entries}
    write_json(folder / MANIFEST, {**manifest, "sha256": checksum(manifest)})
    rows = [f"{FILE_COLUMN},{LATENCY_COLUMN}", *(f"{entry['file']}," for entry in entries)]
    write_text(folder / TABLE, "\n".join(rows) + "\n")
    return folder / TABLE


def from_measurements(
    table: Path, name: str, *, space: SearchSpace | None = None, progress: Progress | None = None
) -> Fitted:
    """Fit a profile to the latencies of a filled table, and keep it under the user's profiles.

    Args:
        table: what `export_networks` returned, filled in; the manifest is beside it.
        name: of the device; the profile's name.
        space: the space, where it was made in Python.
        progress: hears of folds done and in total.

    Raises:
        UsageError: the name cannot be a file's.
        DataError: a mistake in the table, by its line; or there is no manifest.
        DamagedError: the manifest was altered.
        ProfileError: the profile cannot be written.
    """
    path = profile_path(name)
    if not table.is_file():
        raise DataError(f"'{table}' is not a file; give the {TABLE} that `nasforge profile --export-networks` wrote.")
    artifacts = read_manifest(table.parent / MANIFEST, space)
    made = next(iter(artifacts.values())).space
    nodes = {file: network_kernels(made.lower(each.architecture)) for file, each in artifacts.items()}
    measured = read_measurements(table, rough_costs(nodes), LEAST_NETWORKS)
    check_writable(path.parent)
    profile, errors = fit_profile(
        made,
        name,
        [artifacts[file] for file in measured],
        [nodes[file] for file in measured],
        list(measured.values()),
        progress,
    )
    write_fitted(path, profile)
    return Fitted(profile, path, errors, float(np.median(list(measured.values()))))


def fit_profile(
    space: SearchSpace,
    name: str,
    artifacts: Sequence[Artifact],
    nodes: Sequence[Nodes],
    measured_ms: Sequence[float],
    progress: Progress | None = None,
) -> tuple[FittedProfile, dict[str, dict[str, float]]]:
    """Return a profile of measured networks, and its cross-validated error beside that of MACs and params."""
    truth = np.asarray(measured_ms, dtype=np.float64)
    errors = {"profile": cross_validate(nodes, measured_ms, progress)}
    counts = {"MACs": space.macs, "params": space.params}
    for metric, function in counts.items():
        values = np.asarray([function(each.architecture) for each in artifacts], dtype=np.float64)
        errors[metric] = cross_validate_line(values, truth)
    created = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
    fit = fit_networks(nodes, measured_ms)
    return FittedProfile(name, space_facts(space), fit, errors["profile"], created), errors


def cross_validate_line(values: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> dict[str, float]:
    """Compare latencies with a line through a count, fitted on the other folds by relative error."""
    rows = np.column_stack([np.ones(len(values)), values / max(float(values.mean()), 1e-12)])
    guess = np.zeros(len(truth))
    for held_out in folds_of(len(truth)):
        kept = np.setdiff1d(np.arange(len(truth)), held_out)
        line = np.linalg.lstsq(rows[kept] / truth[kept, None], np.ones(len(kept)), rcond=None)[0]
        guess[held_out] = rows[held_out] @ line
    return compared(guess, truth)


def rough_costs(nodes: Mapping[str, Nodes]) -> dict[str, float]:
    """Return what networks roughly cost: calls, MACs and bytes, each over its mean."""
    kernels = {file: [each for node in network for each in node] for file, network in nodes.items()}
    sizes = np.asarray(
        [(len(row), sum(k.macs for k in row), sum(k.moved for k in row)) for row in kernels.values()], dtype=np.float64
    )
    rough = (sizes / np.maximum(sizes.mean(axis=0), 1e-12)).mean(axis=1)
    return dict(zip(kernels, rough.tolist(), strict=True))


def read_manifest(path: Path, space: SearchSpace | None = None) -> dict[str, Artifact]:
    """Return the architectures by file.

    Raises:
        DataError: there is no manifest.
        DamagedError: it cannot be read, or was altered.
    """
    again = "copy it again from where the networks were exported, or export them again"
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing, so nobody knows which networks were measured; {again}.") from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"'{path}' cannot be read as JSON ({error}); {again}.") from error
    if not isinstance(data, dict) or data.get("sha256") != checksum(data):
        raise DamagedError(f"'{path}' does not match its checksum, so it was altered or damaged; {again}.")
    if data.get("schema") != SCHEMA:
        raise DamagedError(f"'{path}' has schema {data.get('schema')!r}, this version reads {SCHEMA}; update nasforge.")
    found: dict[str, Artifact] = {}
    for entry in data["networks"]:
        found[entry["file"]] = from_json(entry, str(path), space)
        space = found[entry["file"]].space
    return found


def _make_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WrongFolderError(f"'{folder}' is not an empty folder; choose a new one for the networks.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongFolderError(f"'{folder}' cannot be made ({error.strerror}); choose another folder.") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe_errors(errors: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of the table that is printed: who predicts, and how well."""
    return [
        [
            name,
            f"{found['within_5_percent']:.0%}",
            f"{found['within_10_percent']:.0%}",
            f"{found['rmspe']:.1%}",
            f"{found['spearman']:.3f}",
            f"{found['explained_variance']:.3f}",
        ]
        for name, found in errors.items()
    ]
