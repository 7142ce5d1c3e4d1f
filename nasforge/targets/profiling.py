"""Building a profile: blocks and whole networks are written, timed together, fitted, and held to others' times."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from nasforge.errors import ProfileError
from nasforge.hardware.block_model import BlockModel
from nasforge.hardware.block_table import (
    BlockTable,
    blocks_to_add,
    blocks_to_measure,
    fit_by_kind,
    fit_correction,
    fitted_of,
    single_blocks,
    spread_networks,
    validated,
)
from nasforge.hardware.profile import Profile, facts_of
from nasforge.identity import fingerprint
from nasforge.space import Lowered, SearchSpace
from nasforge.targets.blocks import write_network
from nasforge.targets.fresh import measure_in_fresh_process
from nasforge.targets.references import Busy, busy_sentence, reference_networks
from nasforge.targets.timing import FULL, SHORT, Kept, Noise, Protocol, Readings

if TYPE_CHECKING:
    from nasforge.targets.ort_target import OrtTarget

UNSTABLE: Final = 0.03
"""An entry is unstable where its second-best visit is further than this above its best."""
_FILES: Final = "files"
_WRITTEN, _FIRST, _TIMED = 0.3, 0.7, 0.85
"""Shares of the work after which files are written, and after which each round of timing ends."""
_OPENING: Final = 0.3
"""Share of a round of timing after which its files are open."""
_AT_FIRST: Final = 0.7
"""Share of the blocks to measure that are chosen by their use; the others by the error of their estimates."""


@final
@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        protocol: how.
        blocks: at most so many blocks; the others are estimated.
        fitted: whole networks for the correction.
        held_out: whole networks that take no part in fitting.
        fresh: whether those are measured in another process, by the protocol of finalists.
        strict: whether a noisy or a busy machine is refused.
    """

    protocol: Protocol
    blocks: int = 180
    fitted: int = 20
    held_out: int = 12
    fresh: bool = False
    strict: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        rest = {key: getattr(self, key) for key in ("blocks", "fitted", "held_out", "fresh")}
        return {**dataclasses.asdict(self.protocol), **rest}


ON_FIRST_USE: Final = Effort(SHORT)
TO_KEEP: Final = Effort(FULL, blocks=240, fitted=24, held_out=40, fresh=True, strict=True)


def build_profile(
    target: OrtTarget,
    space: SearchSpace,
    effort: Effort,
    tell: Callable[[float], None],
    folder: Path | None = None,
) -> Profile:
    """Measure blocks and whole networks of a space, fit the correction, and hold some networks out.

    Args:
        target: what is measured.
        space: what for.
        effort: how much.
        tell: hears the share that is done.
        folder: where files and readings stay if this is interrupted, to go on from.

    Raises:
        ProfileError: the machine is too noisy or too busy, and `effort` is strict.
    """
    with _folder(folder) as work:
        return _Build(target, space, effort, tell, work, folder is not None).run()


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
        yield Path(name)


@final
class _Build:
    """One profile in the making."""

    def __init__(
        self,
        target: OrtTarget,
        space: SearchSpace,
        effort: Effort,
        tell: Callable[[float], None],
        folder: Path,
        kept: bool,
    ) -> None:
        self.target, self.space, self.effort, self.tell, self.folder = target, space, effort, tell, folder
        self.variants = space.node_variants()
        most = effort.blocks if len(self.variants) <= effort.blocks else round(_AT_FIRST * effort.blocks)
        self.blocks = {key: self.variants[key] for key in blocks_to_measure(space, self.variants, most)}
        self.busy_cores = 0.0
        self.architectures = spread_networks(space, effort.fitted + effort.held_out)
        self.fitted = fitted_of(len(self.architectures), effort.fitted, effort.held_out)
        identity = fingerprint([target.facts(), space.fingerprint, effort.to_json(), sorted(self.blocks)])
        self.kept = [Kept(folder / f"readings{number}.json" if kept else None, identity) for number in (1, 2)]

    def run(self) -> Profile:
        networks = [self.space.lower(each) for each in self.architectures]
        whole = self._write(networks, 0.0, _WRITTEN / 2)
        timed = networks[: self.fitted] if self.effort.fresh else networks
        table, found = self._first_round(whole[: len(timed)])
        truth = [each.best_ms for each in found]
        more = self.effort.blocks - len(self.blocks)
        if more > 0 and len(self.blocks) < len(self.variants):
            table = self._second_round(table, blocks_to_add(BlockTable(table, self.space), self.space, more))
        blocks = BlockTable(table, self.space)
        correction = fit_correction(blocks, networks[: self.fitted], truth[: self.fitted])
        fitted = [
            {"decisions": list(each.decisions), "measured_ms": ms, **summary(reading)}
            for each, ms, reading in zip(self.architectures[: self.fitted], truth, found, strict=False)
        ]
        table = dataclasses.replace(table, correction=correction, fitted=fitted)
        held, speed = truth[self.fitted :], 1.0
        if self.effort.fresh:
            held, speed = self._measured_elsewhere(whole[self.fitted :], table.noise["reference_ms"])
        for each in self.kept:
            each.forget()
        self.tell(1.0)
        return validated(table, self.space, self.architectures[self.fitted :], held, speed)

    def _first_round(self, whole: Sequence[Path]) -> tuple[Profile, list[Readings]]:
        """Measure blocks that networks use most and whole networks; return the table, and the networks' readings."""
        files = [*self._write(list(self.blocks.values()), _WRITTEN / 2, _WRITTEN), *whole]
        references = reference_networks(self.folder)
        end = _FIRST if self.effort.fresh else 1.0
        readings, noise = self._time([*files, *references.values()], len(self.blocks), self.kept[0], _WRITTEN, end)
        count = len(self.blocks)
        best = [each.best_ms for each in readings[len(files) :]]
        table = dataclasses.replace(self._blank(noise), reference=dict(zip(references, best, strict=True)))
        return self._with(table, dict(zip(self.blocks, readings, strict=False))), readings[count : len(files)]

    def _second_round(self, table: Profile, keys: Sequence[str]) -> Profile:
        """Measure the blocks whose estimates would err most."""
        files = self._write([self.variants[key] for key in keys], _FIRST, _FIRST)
        readings, noise = self._time(files, len(files), self.kept[1], _FIRST, _TIMED)
        speed = table.noise["reference_ms"] / noise.reference_ms
        return self._with(table, dict(zip(keys, readings, strict=True)), speed)

    def _with(self, table: Profile, readings: Mapping[str, Readings], speed: float = 1.0) -> Profile:
        """Return the table with more entries, times `speed`, and what estimates the others fitted to all."""
        entries = {**table.entries, **{key: speed * each.best_ms for key, each in readings.items()}}
        kernels = fit_by_kind(self.variants, entries)
        model = (
            BlockModel(single_blocks(self.variants), entries, kernels) if len(entries) < len(self.variants) else None
        )
        return dataclasses.replace(
            table,
            entries=entries,
            readings={**table.readings, **{key: summary(each) for key, each in readings.items()}},
            kernels=kernels,
            scales=model.scales if model is not None else {},
        )

    def _write(self, wanted: Sequence[Lowered], begin: float, end: float) -> list[Path]:
        """Write an ONNX file of each; files of an interrupted profile serve again."""
        folder = self.folder / _FILES
        folder.mkdir(exist_ok=True)
        paths = []
        for number, lowered in enumerate(wanted):
            path = folder / f"{fingerprint([node.key for node in lowered.nodes])}-{number}.onnx"
            if not path.exists():
                write_network(lowered, path.with_suffix(".new")).replace(path)
            paths.append(path)
            self.tell(begin + (end - begin) * (number + 1) / len(wanted))
        return paths

    def _time(
        self, files: Sequence[Path], blocks: int, kept: Kept, begin: float, end: float
    ) -> tuple[list[Readings], Noise]:
        busy = Busy()
        found = self.target.time(
            files, self.effort.protocol, lambda share: self.tell(begin + (end - begin) * share), _OPENING, kept, blocks
        )
        self.busy_cores = max(self.busy_cores, busy.cores)
        self._check_quiet(found[1], kept)
        return found

    def _check_quiet(self, noise: Noise, kept: Kept) -> None:
        if not self.effort.strict:
            return
        said = f"{noise.sentence}; " if noise.too_noisy else ""
        if self.busy_cores > self.effort.protocol.busy_cores:
            said += f"other processes used {self.busy_cores:.1f} cores while this machine was measured; "
        if said:
            kept.forget()
            raise ProfileError(f"{said}no profile was written: measure again when the machine is idle.")

    def _measured_elsewhere(self, files: Sequence[Path], reference_ms: float) -> tuple[list[float], float]:
        """Return the times of another process, and its reference's over that of the profile."""
        found = measure_in_fresh_process(
            type(self.target), self.target.options(), files, lambda share: self.tell(_TIMED + (1.0 - _TIMED) * share)
        )
        own = min((each.reference_ms for each in found), default=0.0)
        return [each.latency_ms for each in found], own / reference_ms if own else 1.0

    def _blank(self, noise: Noise) -> Profile:
        facts, busy = self.target.facts(), self.busy_cores
        said = (busy_sentence(busy, self.effort.protocol.busy_cores), noise.sentence)
        return Profile(
            **facts,
            space=facts_of(self.space),
            protocol=self.effort.to_json(),
            noise={
                **noise.to_json(),
                "busy_cores": round(busy, 2),
                "sentence": "; ".join(each for each in said if each),
            },
            entries={},
            kernels={},
            correction={},
            validation={},
            created=datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        )


def summary(readings: Readings) -> dict[str, Any]:
    """Return what a profile keeps of an entry beside its best."""
    visits = readings.counted
    bests = sorted(min(visit) for visit in visits)
    spread = round(float(bests[1] / bests[0] - 1.0), 4) if len(bests) > 1 else 0.0
    return {
        "p10_ms": round(readings.p10_ms, 6),
        "median_ms": round(readings.median_ms, 6),
        "runs": sum(map(len, visits)),
        "visits": len(visits),
        "spread": spread,
        "flag": "unstable" if spread > UNSTABLE else "",
        "visits_ms": [[round(min(visit), 6), round(float(np.median(visit)), 6)] for visit in readings.visits],
    }


__all__ = ["ON_FIRST_USE", "TO_KEEP", "Effort", "build_profile"]
