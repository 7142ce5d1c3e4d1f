"""Where a run computes: in this process, or on Ray, on one machine or a cluster."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, final

from nasforge.errors import UsageError, unknown_name_sentence

Paths = Literal["same", "different"]
SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
DURATION: Final = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(s|min|h)\s*")


def seconds(given: str | float, name: str) -> float:
    """Return a duration in seconds from a text with a unit, or from a number of seconds.

    >>> seconds("10min", "engine.time_limit"), seconds(3, "engine.time_limit")
    (600.0, 3.0)

    Raises:
        UsageError: no number, no known unit, or not above zero.
    """
    match = DURATION.fullmatch(given) if isinstance(given, str) else None
    value = given if match is None else float(match[1]) * SECONDS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{name} was given {given!r}; expected a duration with its unit, such as 90s, 10min or 2h.")
    return float(value)


@final
@dataclass(frozen=True, slots=True)
class Engine:
    """How a run uses Ray. Nothing of it matters where a run evaluates one at a time in its own process.

    Attributes:
        address: of a Ray cluster (`auto`, `host:port`, `ray://host:port`); None: Ray is started on this machine where
            there is more than one worker.
        cpus: of an evaluation.
        gpus: of an evaluation; a fraction lets several share one.
        resources: custom resources of an evaluation, by name.
        retries: how often an evaluation is tried again whose worker died.
        time_limit: of an evaluation, in seconds; one that takes longer is stopped and fails. None: no limit.
        measure_on: custom resource of the nodes on which latency is measured; None: `target_<name>`, such as
            `target_int8`; `here`: on the driver's machine, as where Ray is started on this machine.
        train_workers: data-parallel workers of the training of shared weights; None: as many as evaluations at a time.
        paths: whether all of them train the same path in a step, or each its own.
        checkpoints: fsspec path of the checkpoints of that training; None: in the run folder.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    retries: int = 3
    time_limit: float | None = None
    measure_on: str | None = None
    train_workers: int | None = None
    paths: Paths = "same"
    checkpoints: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Engine:
        """Read the settings below `engine`.

        Raises:
            UsageError: an unknown key (the nearest is named), or a value of the wrong kind.
        """
        known = [part.name for part in fields(cls)]
        for key in given:
            if key not in known:
                raise UsageError(unknown_name_sentence("setting of the engine", str(key), known))
        limit, paths = given.get("time_limit"), given.get("paths", "same")
        if paths not in ("same", "different"):
            raise UsageError(f"engine.paths was given {paths!r}; expected same or different.")
        resources = given.get("resources") or {}
        if not isinstance(resources, Mapping):
            raise UsageError(f"engine.resources was given {resources!r}; expected amounts by name.")
        return cls(
            address=_text(given, "address"),
            cpus=_amount("cpus", given.get("cpus", 1.0)),
            gpus=_amount("gpus", given.get("gpus", 0.0)),
            resources={str(name): _amount(f"resources.{name}", amount) for name, amount in resources.items()},
            retries=_whole("retries", given.get("retries", 3), least=0),
            time_limit=None if limit is None else seconds(limit, "engine.time_limit"),
            measure_on=_text(given, "measure_on"),
            train_workers=None
            if given.get("train_workers") is None
            else _whole("train_workers", given["train_workers"], least=1),
            paths=paths,
            checkpoints=_text(given, "checkpoints"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `read` takes."""
        return {part.name: getattr(self, part.name) for part in fields(self)} | {"resources": dict(self.resources)}


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"engine.{key} was given {value!r}; expected a text.")
    return value


def _amount(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError(f"engine.{key} was given {value!r}; expected a number of at least zero.")
    return float(value)


def _whole(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"engine.{key} was given {value!r}; expected a whole number of at least {least}.")
    return value
