"""The parts of `nasforge profile` for a device elsewhere: `--export-networks` and `--from-measurements`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.cli.output import print_json, print_pairs, print_table, print_text
from nasforge.cli.stage import stage

HEADER = ["predicted by", "within 5 %", "within 10 %", "RMSPE", "Spearman", "explained variance"]


def export_networks(
    space: str,
    folder: Path,
    count: int,
    seed: int,
    *,
    options: Mapping[str, Any] | None = None,
    resolution: int | None = None,
    as_json: bool = False,
) -> None:
    """Write networks of a space as ONNX files with a table to fill in, and say what to do next.

    Args:
        space: name of a space.
        folder: a new or empty folder.
        count: how many networks.
        seed: of the draw.
        options: of the space, such as `{"preset": "small"}`.
        resolution: height and width of the input; the space's own without.
        as_json: print JSON.
    """
    from nasforge.run import elsewhere

    made, plug, classes = elsewhere.named_space(space, options, resolution)
    with stage("writing networks") as progress:
        table = elsewhere.export_networks(made, folder, count, seed, plug=plug, classes=classes, progress=progress)
    if as_json:
        print_json({"table": str(table), "manifest": str(folder / elsewhere.MANIFEST)})
        return
    print_text(f"Measure each network of '{folder}' on the device and fill in latency_ms, in milliseconds; then:")
    print_text(f"  nasforge profile --from-measurements {table} --name my-device")


def from_measurements(table: Path, name: str, *, as_json: bool = False) -> None:
    """Fit a profile to a filled table, print its cross-validated error, and say how to use it.

    Args:
        table: the filled CSV.
        name: of the device.
        as_json: print JSON.
    """
    from nasforge.run import elsewhere

    with stage("cross-validating") as progress:
        fitted = elsewhere.from_measurements(table, name, progress=progress)
    if as_json:
        print_json({"profile": str(fitted.path), "median_ms": fitted.median_ms, "errors": fitted.errors})
        return
    print_table(HEADER, elsewhere.describe_errors(fitted.errors))
    print_text()
    networks = f"{len(fitted.profile.fit.measured_ms)} (cross-validated, each predicted from the other folds)"
    print_pairs({"networks": networks, "median": f"{fitted.median_ms:.4g} ms", "profile": str(fitted.path)})
    print_text(f"use it with --target profile:{name}; results stay unverified, since the device is elsewhere.")
