"""`nasforge show`: a space, an architecture, a run, or a published architecture by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from nasforge import registry
from nasforge.cli.output import figure, print_json, print_pairs, print_table, print_text
from nasforge.errors import UsageError

if TYPE_CHECKING:
    from nasforge.run.artifact import Artifact
    from nasforge.space import SearchSpace

OPTIONED = ("strategies", "targets", "tasks", "datasets", "suites")
COUNTS = ("params", "macs", "activation_bytes")  # which run folders hold as floats, as all metrics


def show(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="A space or another plug-in, an architecture.json, a run folder, or a name such as proxyless-mobile."
        ),
    ],
    size: Annotated[Optional[int], typer.Option(help="Height and width of the input, for a space or a name.")] = None,  # noqa: UP045 - typer reads it
    classes: Annotated[Optional[int], typer.Option(help="Number of classes, for a space or a name.")] = None,  # noqa: UP045 - as above
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    svg: Annotated[Optional[Path], typer.Option(help="Write a drawing of an architecture to this file.")] = None,  # noqa: UP045 - as above
) -> None:
    """Print params and MACs of an architecture exactly, what a space offers, or the options of any plug-in.

    A published architecture takes options of its own by name, such as `nasnet-a --repeats 6 --filters 768`.
    """
    given = _own_options(what, context.args)
    from nasforge.run.artifact import describe, find_architecture, named_architectures

    if given and (Path(what).exists() or what not in named_architectures()):
        raise UsageError(
            f"option --{next(iter(given))} is unknown; only published architectures have some of their own."
        )
    if not Path(what).exists() and what in registry.installed("spaces"):
        if svg is not None:
            raise UsageError(
                f"--svg was given with the space '{what}'; give an architecture, a run, or a name to draw."
            )
        _show_space(what, size, classes, as_json)
        return
    plugin = _plugin(what)
    if plugin is not None and not Path(what).exists() and what not in named_architectures():
        _show_plugin(*plugin, as_json)
        return
    if not Path(what).exists() and what not in (named := named_architectures()):
        from nasforge.errors import NotInstalledError

        raise NotInstalledError.unknown("space, file or architecture", what, {*named, *registry.installed("spaces")})
    artifact = find_architecture(what, given if Path(what).exists() else {**_sized(size, classes), **given})
    facts = dict(describe(artifact))
    if svg is not None:
        _draw(artifact, svg, what)
    result = _result(Path(what))
    if result is not None:
        metrics = (result["best"] or {"metrics": {}})["metrics"]
        facts["metrics"] = {key: int(value) if key in COUNTS and value else value for key, value in metrics.items()}
        facts["status"] = result["status"]
    if as_json:
        print_json(facts)
        return
    decisions = facts.pop("decisions")
    metrics = facts.pop("metrics", {})
    print_pairs({key: figure(value) for key, value in {**facts, **metrics}.items()})
    print_text()
    print_pairs(decisions)


def _plugin(what: str) -> tuple[str, str] | None:
    """Return kind and name of a plug-in: of `gpu`, or of `strategy:eeea` where a space has that name too."""
    kinds = {registry.SINGULAR[each]: each for each in OPTIONED}
    kind, _, name = what.partition(":")
    if kind in kinds and name in registry.installed(kinds[kind]):
        return kinds[kind], name
    return next(((each, what) for each in OPTIONED if what in registry.installed(each)), None)


def _sized(size: int | None, classes: int | None) -> dict[str, Any]:
    """Return what a published architecture is to be made for."""
    found: dict[str, Any] = {} if size is None else {"input_shape": (3, size, size)}
    return found if classes is None else {**found, "classes": classes}


def _own_options(what: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return the options that no command knows, `--name value` or `--name=value`, for a published architecture."""
    from nasforge.config.options import read_value
    from nasforge.run.artifact import named_architectures

    found, rest = dict[str, Any](), list(texts)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or not (equals or rest):
            raise UsageError(f"'{name}' was given; expected --option value.")
        found[name[2:].replace("-", "_")] = read_value(value if equals else rest.pop(0), name)
    if found and (Path(what).exists() or what not in named_architectures()):
        raise UsageError(f"option --{next(iter(found))} is unknown; only published architectures have options.")
    return found


def _draw(artifact: Artifact, path: Path, title: str) -> None:
    from nasforge.report import draw
    from nasforge.run.atomic import write_text

    write_text(path, draw(artifact.space.lower(artifact.architecture), title) + "\n")


def _result(path: Path) -> dict[str, Any] | None:
    from nasforge.run.result import FILE, read_result

    return read_result(path) if path.is_dir() and (path / FILE).exists() else None


def _show_space(name: str, size: int | None, classes: int | None, as_json: bool) -> None:
    from nasforge.run.option_help import plugin_help
    from nasforge.run.options import make_space, option_defaults

    space = make_space(name, {}, None if size is None else (3, size, size), classes)
    facts: dict[str, Any] = {
        "space": space.name,
        "fingerprint": space.fingerprint,
        "input_shapes": {key: list(value) for key, value in space.input_shapes.items()},
        "architectures": space.size,
        "choices": {str(choice.name): list(choice.labels) for choice in space.choices},
        "options": {key: repr(value) for key, value in option_defaults("spaces", name).items()},
        **_extremes(space),
    }
    if as_json:
        print_json(facts)
        return
    choices, options = facts.pop("choices"), facts.pop("options")
    print_pairs(facts)
    print_text()
    meanings = plugin_help("spaces", name).meanings
    print_table(("option", "default", "help"), [(key, value, meanings[key]) for key, value in options.items()])
    print_text()
    kinds = {str(choice.name): choice.kind for choice in space.choices}
    print_table(("choice", "kind", "labels"), [(key, kinds[key], " ".join(labels)) for key, labels in choices.items()])


def _show_plugin(kind: str, name: str, as_json: bool) -> None:
    from nasforge.run.option_help import plugin_help

    found = plugin_help(kind, name)
    options = {
        option: {"default": default, "help": found.meanings[option]} for option, default in found.defaults.items()
    }
    if as_json:
        shown = {option: {**each, "default": repr(each["default"])} for option, each in options.items()}
        presets = {preset: {key: repr(value) for key, value in held.items()} for preset, held in found.presets.items()}
        print_json({registry.SINGULAR[kind]: name, "summary": found.summary, "options": shown, "presets": presets})
        return
    print_text(f"{registry.SINGULAR[kind]} {name}: {found.summary}")
    if options:
        print_text()
        print_table(
            ("option", "default", "help"), [(key, repr(each["default"]), each["help"]) for key, each in options.items()]
        )
    if found.presets:
        print_text("\nWhat presets hold, where an option is None:\n")
        held = list(found.presets.values())
        print_table(("option", *found.presets), [(key, *(repr(each[key]) for each in held)) for key in held[0]])


def _extremes(space: SearchSpace) -> dict[str, int]:
    facts = {}
    for metric in ("params", "macs"):
        cost = space.cost(metric)
        facts[f"least_{metric}"] = int(cost(space.smallest(metric)))
        facts[f"most_{metric}"] = int(cost(space.largest(metric)))
    return facts
