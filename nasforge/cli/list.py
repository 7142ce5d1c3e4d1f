"""`nasforge list`: what is installed, without importing any of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Optional

import typer

from nasforge import registry
from nasforge.cli.output import print_json, print_table, print_text
from nasforge.errors import NotInstalledError

LISTED = ("spaces", "strategies", "targets", "tasks", "datasets", "tables", "suites", "scores", "profiles")


def list_command(
    kind: Annotated[Optional[str], typer.Argument(help=", ".join(LISTED))] = None,  # noqa: UP045 - typer reads it
    compatible: Annotated[bool, typer.Option("--compatible", help="Which strategy can search which space.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List installed spaces, strategies, targets, tasks, data sets, tables, suites and latency profiles."""
    if compatible:
        _print_matrix(as_json)
        return
    if kind is not None and kind not in LISTED:
        raise NotInstalledError.unknown("list", kind, LISTED)
    found = {each: _names(each) for each in ([kind] if kind else LISTED)}
    if as_json:
        print_json(found)
        return
    for each, entries in found.items():
        print_text(f"{each}:")
        for name, distribution in entries.items():
            print_text(f"  {name:<24} {distribution}")
    if found.get("profiles"):
        from nasforge.hardware.profile import cache_folder

        print_text(
            f"profiles measured here are in {cache_folder()}; one that is removed is measured again on next use."
        )


def _names(kind: str) -> dict[str, str]:
    if kind == "profiles":
        return describe_profiles()
    return {name: plugin.distribution for name, plugin in registry.installed(kind).items()}


def describe_profiles() -> dict[str, str]:
    """Return shipped profiles and those measured here, with what they are of."""
    from nasforge.hardware.card_profile import describe_shipped
    from nasforge.hardware.profile import cache_folder, describe_profile, shipped_profiles

    here = {path.stem: describe_profile(path) for path in sorted(cache_folder().glob("*.json"))}
    cards = describe_shipped()
    others = {path.stem: f"{describe_profile(path)}, shipped" for path in shipped_profiles() if path.stem not in cards}
    return {**others, **cards, **here, **_fitted()}


def _fitted() -> dict[str, str]:
    """Return the profiles of devices elsewhere, as the target `profile` names them."""
    from nasforge.hardware.fitted_file import describe_fitted, fitted_folder

    return {f"profile:{path.stem}": describe_fitted(path) for path in sorted(fitted_folder().glob("*.json"))}


def _common(reasons: Iterable[str | None]) -> str | None:
    """Return the one reason that all strategies have, of several; None otherwise."""
    found = list(reasons)
    return found[0] if len(found) > 1 and len(set(found)) == 1 else None


def _print_matrix(as_json: bool) -> None:
    """Print for each pair whether it works; plug-ins that do not load are marked so."""
    from nasforge.run.matrix import compatibility

    matrix = compatibility()
    if as_json:
        print_json(matrix)
        return
    spaces = list(registry.installed("spaces"))
    rows = [[name, *("yes" if row[space] is None else "no" for space in spaces)] for name, row in matrix.items()]
    print_table(["strategy", *spaces], rows)
    broken = {space: _common(row[space] for row in matrix.values()) for space in spaces}
    for space, reason in broken.items():
        if reason is not None:
            print_text(f"any strategy x {space}: {reason}")
    for name, row in matrix.items():
        reasons = {space: reason for space, reason in row.items() if reason is not None and broken[space] is None}
        if len(set(reasons.values())) == 1 and len(reasons) > 1:
            reasons = {"any space": next(iter(reasons.values()))}
        for space, reason in reasons.items():
            print_text(f"{name} x {space}: {reason}")
