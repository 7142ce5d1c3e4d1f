"""`nasforge profile`: measure this machine for a space, and say how far predictions are off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from nasforge.cli.output import print_json, print_table, print_text
from nasforge.errors import UsageError

if TYPE_CHECKING:
    from nasforge.hardware.profile import Profile

Text = Optional[str]  # noqa: UP045 - typer reads it at run time
Number = Optional[int]  # noqa: UP045 - as above
SPACE, NETWORKS = "mbconv", 60
NAMES = {"macs": "MACs, their best line", "params": "params, their best line"}


def profile(
    options: Annotated[
        Optional[list[str]],  # noqa: UP045 - as above
        typer.Argument(help="Options of the space or of the target: space.width=0.5 target.protocol.visits=8."),
    ] = None,
    target: Annotated[str, typer.Option(help="cpu, int8 or gpu.")] = "cpu",
    space: Annotated[str, typer.Option(help="Search space; see `nasforge list spaces`.")] = SPACE,
    data: Annotated[Text, typer.Option(help="Data that says the input's shape and the classes: digits, ...")] = None,
    resolution: Annotated[Number, typer.Option(help="Height and width of the input, in the place of --data.")] = None,
    classes: Annotated[Number, typer.Option(help="Number of classes, in the place of --data.")] = None,
    threads: Annotated[Number, typer.Option(help="Threads of ONNX Runtime; 1 without.")] = None,
    batch: Annotated[Number, typer.Option(help="Images at once; 1 without.")] = None,
    out: Annotated[Optional[Path], typer.Option(help="Write it here, and not where searches find it.")] = None,  # noqa: UP045 - as above
    export_networks: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option(help="For a device elsewhere: write networks and a table to fill in to this folder."),
    ] = None,
    networks: Annotated[int, typer.Option("--networks", "-n", help="How many, with --export-networks.")] = NETWORKS,
    from_measurements: Annotated[
        Optional[Path],  # noqa: UP045 - as above
        typer.Option(help="Fit a profile to a table that was filled in on a device elsewhere."),
    ] = None,
    name: Annotated[Text, typer.Option(help="Of the device, with --from-measurements.")] = None,
    seed: Annotated[int, typer.Option(help="Of the networks, with --export-networks.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure this machine for a space: a profile, with its error on networks that took no part in fitting.

    Interrupted, the same command goes on where it was. For a device that nasforge cannot run on: --export-networks,
    measure there, --from-measurements.
    """
    from nasforge.cli import profile_elsewhere as elsewhere

    _check_together(export_networks, from_measurements, name)
    given = _options(options)
    shape: dict[str, Any] = {"--data": data, "--classes": classes, "--out": out}
    here: dict[str, Any] = {**shape, "--target": target != "cpu", "--threads": threads, "--batch": batch}
    here["options of the target"] = given["target_options"]
    drawn = {"--networks": networks != NETWORKS, "--seed": seed != 0}
    spaces = {"--space": space != SPACE, "--resolution": resolution, "options of the space": given["space_options"]}
    if from_measurements is not None:
        _refuse("--from-measurements, which knows the networks by their manifest", {**here, **spaces, **drawn})
        elsewhere.from_measurements(from_measurements, str(name), as_json=as_json)
    elif export_networks is not None:
        _refuse("--export-networks, which measures nothing here", here)
        elsewhere.export_networks(
            space, export_networks, networks, seed, options=given["space_options"], resolution=resolution,
            as_json=as_json,
        )  # fmt: skip
    else:
        _refuse("a profile of this machine, which chooses its networks itself", drawn)
        _measure(target, space, given, (data, resolution, classes), (threads, batch), out, as_json)


def _check_together(export: Path | None, table: Path | None, name: str | None) -> None:
    if export is not None and table is not None:
        raise UsageError("--export-networks and --from-measurements were both given; give one, measure in between.")
    if (table is None) != (name is None):
        raise UsageError("--from-measurements and --name belong together; give both, such as --name my-phone.")


def _refuse(with_what: str, unused: Mapping[str, Any]) -> None:
    """Refuse options that would be ignored: they are given where their value is anything but None, False or empty."""
    found = [name for name, value in unused.items() if value is not None and value is not False and value != {}]
    if found:
        raise UsageError(f"{', '.join(found)} cannot go with {with_what}; leave out what is named first.")


def _options(words: list[str] | None) -> dict[str, dict[str, Any]]:
    """Return the options of the space, and those of the target."""
    from nasforge.cli.target_options import target_options
    from nasforge.config.options import parse_options

    of_space = [each for each in words or () if each.startswith("space.")]
    return {
        "space_options": parse_options(of_space, ("space",))["space"],
        "target_options": target_options([each for each in words or () if each not in of_space]),
    }


def _measure(
    target: str,
    space: str,
    options: Mapping[str, Any],
    made_for: tuple[str | None, int | None, int | None],
    runtime: tuple[int | None, int | None],
    out: Path | None,
    as_json: bool,
) -> None:
    from nasforge.cli.stage import stage
    from nasforge.config.profiling import make_profile

    data, resolution, classes = made_for
    threads, batch = (1 if each is None else each for each in runtime)
    with stage(f"profiling {target}", "the same command goes on where it was") as progress:
        path, made = make_profile(
            target, space, **options, data=data, resolution=resolution, classes=classes,
            threads=threads, batch=batch, out=out, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({"path": str(path), "validation": dict(made.validation), "baselines": dict(made.baselines)})
    else:
        _print(path, made)


def _print(path: Path, made: Profile) -> None:
    from nasforge.hardware.block_table import is_sound

    rows = [_row("this profile", made.validation)] if made.validation else []
    speed = made.validation.get("speed", 1.0)
    if made.validation:
        as_read = {key: made.validation.get(f"{key}_as_read", value) for key, value in made.validation.items()}
        rows.append(_row("the same, times as read", as_read))
    rows += [_row(NAMES.get(name, name), found) for name, found in made.baselines.items()]
    header = ("predicted by", "networks", "within 5 %", "within 10 %", "RMSPE", "Spearman")
    print_table(header, rows)
    unstable = sum(each.get("flag") == "unstable" for each in made.readings.values())
    quiet = made.noise.get("accepted", 1.0)
    print_text(
        f"{len(made.entries)} blocks measured, {unstable} unstable; {quiet:.0%} of visits in a quiet moment; latencies "
        "are quiet ones (minima), medians of a busy machine are higher"
    )
    if made.validation:
        print_text(
            f"held-out networks were timed by another process, whose reference network took {speed:.2f} of its time in "
            "this profile: the first row is at equal speed of the processor"
        )
    if made.noise.get("sentence"):
        print_text(made.noise["sentence"])
    if made.validation and not is_sound(made.validation):
        print_text(
            "weak: below 95 % within 10 % or Spearman 0.98; trust measured finalists, and profile again when idle"
        )
    print_text(f"profile: {path}")


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    from nasforge.hardware.predictor import intervals

    ends = intervals(found)

    def share(key: str) -> str:
        return f"{found[key]:.1%} ({ends[key][0]:.0%} to {ends[key][1]:.0%})"

    low, high = ends["spearman"]
    rank = f"{found['spearman']:.3f} ({low:.3f} to {high:.3f})"
    return (
        name,
        f"{found['n']:.0f}",
        share("within_5_percent"),
        share("within_10_percent"),
        f"{found['rmspe']:.1%}",
        rank,
    )
