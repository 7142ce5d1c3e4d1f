"""Which runs belong together, what to call them, and whether they may be compared at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasforge.bench.runs import Run
from nasforge.errors import UsageError


def differing_of(runs: Sequence[Run]) -> list[str]:
    """Say of everything that must be the same, and is not, which runs have what."""
    sentences = []
    sames = [(run, run.same()) for run in runs]
    for key in sames[0][1]:
        values: dict[str, list[str]] = {}
        for run, same in sames:
            values.setdefault(same[key], []).append(run.folder.name)
        if len(values) > 1:
            which = " and ".join(f"{value} ({_few(names)})" for value, names in values.items())
            sentences.append(f"they differ in {key}: {which}")
    return sentences


def grouped(runs: Sequence[Run], notes: list[str]) -> dict[str, dict[int, Run]]:
    """Return the runs by configuration and seed, in the order they were named."""
    found: dict[tuple[tuple[str, str], ...], dict[int, Run]] = {}
    for run in runs:
        group = found.setdefault(tuple(sorted(run.settings.items())), {})
        if run.seed in group:
            notes.append(
                f"'{run.folder}' is left out, for '{group[run.seed].folder}' has the same settings and seed {run.seed}."
            )
        else:
            group[run.seed] = run
    settings = [dict(each) for each in found]
    return dict(zip(_labels(settings), found.values(), strict=True))


def baseline_of(given: str | None, groups: Mapping[str, Mapping[int, Run]]) -> str:
    """Return the label of the configuration that is meant; the first without.

    Raises:
        UsageError: none fits, or more than one.
    """
    if given is None:
        return next(iter(groups))
    if given in groups:
        return given
    for label, runs in groups.items():
        if Path(given).exists() and any(run.folder.resolve() == Path(given).resolve() for run in runs.values()):
            return label
    wanted = dict(part.partition("=")[::2] for part in re.split(r"[\s]+", given.strip()))
    found = [
        label
        for label, runs in groups.items()
        if all(next(iter(runs.values())).settings.get(key) == value for key, value in wanted.items())
    ]
    if len(found) != 1:
        raise UsageError(
            f"baseline '{given}' fits {len(found) or 'none'} of the configurations; expected settings that one of them "
            f"has: {'; '.join(groups)}."
        )
    return found[0]


def _labels(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Name each configuration by the settings in which they differ."""
    if len(settings) == 1:
        return [" ".join(settings[0].get(key, "?") for key in ("space", "strategy", "target"))]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    differing = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    return [" ".join(f"{key}={each.get(key, 'null')}" for key in differing) for each in settings]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
