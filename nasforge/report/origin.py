"""How the result was made: options, data, budget, time, where latencies come from, machine, and the commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

from nasforge.errors import NasforgeError
from nasforge.report.contents import Contents
from nasforge.report.markup import Content, Markup, element, joined, table
from nasforge.report.quantity import NOTHING, number, quantity, seconds_text
from nasforge.run.options import option_defaults
from nasforge.run.settings import Settings

_PLUGS: Final = {"space": "spaces", "strategy": "strategies", "target": "targets", "task": "tasks"}
_FLAGS: Final = {
    "space.name": "--space", "strategy.name": "--strategy", "target.name": "--target", "task.name": "--task",
    "data": "--data", "limits.latency": "--max-latency", "limits.params": "--max-params", "limits.macs": "--max-macs",
    "objective": "--objective", "budget": "--budget", "seed": "--seed",
}  # fmt: skip
_ALWAYS: Final = ("space.name", "strategy.name", "target.name", "data", "budget", "seed")
_NEVER: Final = ("out",)
NONE: Final = "none"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./:+-]*")


def how_it_was_made(contents: Contents) -> Markup:
    """Return the boxes of this part."""
    result = contents.result
    boxes = [
        _box("What was asked", _asked(contents)),
        _box("Data and splits", _splits(contents)),
        _box("Budget and limits", _pairs({"seed": result["seed"], **result["budget"]})),
        _box("Time", _seconds(result["seconds"])),
        *([_box("What the search cost", _cost(result["cost"]))] if result.get("cost") else []),
        _box("Latency", _latency(result["latency"])),
        _box("Machine and versions", _pairs({"nasforge": result["nasforge"], **result["environment"]})),
    ]
    if contents.best is not None:
        boxes.append(_box("Provenance of the chosen network", _pairs(contents.best.provenance)))
    return joined([element("div", *boxes, class_="boxes"), _box("Commands", _commands(contents))])


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of every leaf of nested plain data; texts stay exactly as they are.

    >>> list(flat({"a": {"b": 1, "c": []}, "d": None}))
    [('a.b', '1'), ('a.c', 'none'), ('d', 'none')]
    """
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from flat(entry, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        yield path, ", ".join(text for each in value for _, text in flat(each))
    elif value is None or value == {} or value == []:
        yield path, NONE
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _box(name: str, content: Content) -> Markup:
    return element("section", element("h3", name), content, class_="box")


def _pairs(values: Mapping[str, Any]) -> Markup:
    return _list(flat(values))


def _list(pairs: Iterable[tuple[str, Content]]) -> Markup:
    rows = [element("div", element("dt", _breakable(key)), element("dd", text)) for key, text in pairs]
    return element("dl", *rows)


def _breakable(key: str) -> Markup:
    """Return a dotted name that may be broken behind a dot or an underscore only."""
    return joined([joined(part.split("_"), Markup("_<wbr>")) for part in key.split(".")], Markup(".<wbr>"))


def _asked(contents: Contents) -> Markup:
    """Return the settings, and folded away the options that were left at their defaults."""
    result = contents.result
    given: Mapping[str, Any] = contents.config or {key: result[key] for key in _PLUGS}
    rows: list[tuple[str, Content]] = [(key, text) for key, text in flat(given) if text != NONE]
    rows.insert(1, ("space.fingerprint", str(result["space"].get("fingerprint", NOTHING))))
    defaults: list[tuple[str, Content]] = []
    if result["nasforge"] == version("nasforge"):
        for kind in ("space", "strategy"):
            defaults += [(f"{kind}.{key}", text) for key, text in _defaults(kind, given.get(kind))]
    if not defaults:
        return _list(rows)
    summary = element("summary", f"{len(defaults)} options left at their defaults")
    return joined([_list(rows), element("details", summary, _list(defaults))])


def _defaults(kind: str, plug: Any) -> list[tuple[str, Content]]:
    """Return the options of an installed plug-in that were not given, marked as defaults."""
    if not isinstance(plug, Mapping) or not isinstance(plug.get("name"), str):
        return []
    try:
        known = option_defaults(_PLUGS[kind], plug["name"])
    except NasforgeError:
        return []  # the run came from another machine, or from Python with an object
    return [(key, NONE if value is None else str(value)) for key, value in known.items() if key not in plug]


def _splits(contents: Contents) -> Markup:
    result, best = contents.result, contents.best
    config = contents.config or {}
    rows: list[tuple[str, Content]] = [("data", str(result["task"].get("data", NOTHING)))]
    rows += list(flat(config["data_options"])) if config.get("data_options") else []
    if contents.artifact is not None:
        shape = "\N{MULTIPLICATION SIGN}".join(map(str, contents.artifact.input_shape))
        rows += [("input", shape), ("classes", str(contents.artifact.classes))]
    if best is not None:
        splits = best.provenance.get("splits")
        rows += [(f"{key} is on", text) for key, text in flat(splits if isinstance(splits, Mapping) else {})]
        rows.append(("weights of the chosen network", str(best.provenance.get("weights", NOTHING))))
    inside = {str(each.provenance.get("weights", NOTHING)) for each in contents.pareto}
    rows += [("weights in the search", ", ".join(sorted(inside)))] if inside else []
    rule = "Weights learn on train; the search sees only valid, held out of train; test is opened once, at the end."
    return joined([element("p", rule), _list(rows)])


_COUNTED: Final = ("steps", "drawn", "forward", "backward", "image_macs")


def _cost(cost: Any) -> Markup:
    """Return the counts of training and of rating; a backward pass costs as much as two forward ones."""
    parts = cost.items() if isinstance(cost, Mapping) else ()
    rows = [
        [
            element("th", str(part), scope="row"),
            *(element("td", _counted(counts.get(name) if isinstance(counts, Mapping) else None)) for name in _COUNTED),
        ]
        for part, counts in parts
    ]
    return table(["part", "steps", "images drawn", "passes", "backward", "image-MACs"], rows, "figures")


def _counted(value: Any) -> str:
    found = number(value)
    if found is None:
        return NOTHING
    return f"{found:,.0f}" if found < 1e7 else f"{found:.3g}"


def _seconds(seconds: Mapping[str, Any]) -> Markup:
    known = {str(key): found for key, value in seconds.items() if (found := number(value)) is not None}
    whole = max([*known.values(), 1e-9])
    rows = [
        [
            element("th", key.replace("_", " "), scope="row"),
            element("data", seconds_text(value), value=repr(value), title=f"{value} s"),
            element("td", element("span", "", class_="bar", style=f"width:{100 * value / whole:.1f}%"), class_="bars"),
        ]
        for key, value in known.items()
    ]
    return table(["part", "time", "share"], rows, "figures time")


def _latency(latency: Mapping[str, Any]) -> Markup:
    validated = latency.get("validated")
    if isinstance(validated, Mapping) and validated:
        error: Content = _list([
            (str(key), quantity(str(key), number(value)))
            for key, value in validated.items()
        ])  # fmt: skip
    else:
        error = element("p", "No error was validated: nothing was held out and measured.", class_="missing")
    rest = {key: value for key, value in latency.items() if key not in ("source", "validated")}
    return joined([
        element("p", str(latency.get("source", NOTHING)), class_="quote"),
        element("h4", "Error on networks held out"), error,
        element("h4", "Details"), _pairs(rest),
    ])  # fmt: skip


def _commands(contents: Contents) -> Markup:
    run = shlex.quote(str(contents.folder))
    lines: list[tuple[str, str | None]] = [
        ("carry on, or print the result again", f"nasforge resume {run}"),
        ("search once more in a new folder", search_command(contents)),
        ("write this page again", f"nasforge report {run}"),
        ("use the network", f"nasforge classify {run} IMAGE..."),
    ]
    return joined(
        element("div", element("span", what), element("pre", element("code", line)), class_="command")
        for what, line in lines
        if line is not None
    )


def search_command(contents: Contents) -> str | None:
    """Return the command that repeats the search; None where it is not known or was started from objects in Python."""
    if contents.config is None or (contents.artifact is not None and contents.artifact.plug is None):
        return None
    default = dict(_leaves(Settings().to_json()))
    flags, overrides = [], []
    for key, value in _leaves(contents.config):
        if key in _NEVER or (key not in _ALWAYS and default.get(key) == value):
            continue
        if key in _FLAGS:
            flags += [_FLAGS[key], shlex.quote(str(value))]
        else:
            overrides.append(shlex.quote(f"{key}={_override(value)}"))
    return " ".join(["nasforge search", *flags, *overrides])


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        name = f"{path}{key}"
        if isinstance(entry, Mapping):
            yield from _leaves(entry, f"{name}.")
        else:
            yield name, entry


def _override(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_override, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and text not in ("null", "true", "false")):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
