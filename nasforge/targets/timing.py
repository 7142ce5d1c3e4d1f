"""The timing protocol: many short visits separated in time, gated by a reference, and the minimum of them.

On a shared host the slow spells last for seconds, so back-to-back runs average nothing out. Items are visited in
shuffled passes; a reference network is visited between, and a visit counts only while the reference runs near
its best. Items with too few such visits are visited again, a bounded number of times.

A host that is too seldom at its best but keeps its speed for a while (shared turbo clocks) is timed relatively: each
visit is divided by how much slower than its best the reference was beside it, and the median of the visits counts.
Where the reference does not even agree with itself before and after a visit, the host is too noisy.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.targets.pinning import allowed_cores, pin_to_quietest, restored_affinity

Run = Callable[[], None]
QUIET_FROM: Final = 0.8
"""Times are absolute where at least this share of the visits passed the gate, else relative to the reference."""
NOISY_BELOW: Final = 0.3
"""Relative times are refused where fewer visits than this share were steady; passes are not repeated below it."""
MOST_MS: Final = 100.0
"""A visit ends after this long, though it may have fewer runs than asked for (but two at least)."""


@final
@dataclass(frozen=True, slots=True)
class Protocol:
    """How to time.

    Attributes:
        visits: passes over all items, at least 4 for a figure to trust.
        runs: least runs of a visit.
        visit_ms: least length of a visit of a network.
        block_ms: of a block alone.
        warm_up: runs before a visit counts.
        gate: a visit counts while the nearest reference is within this share of its best.
        every: items between two visits of the reference.
        pause_seconds: between passes, to spread them over time.
        enough: accepted visits that an item needs.
        extra: further passes over items that have fewer, unless the whole host is noisy.
        busy_cores: a profile to keep is refused where others use more cores than this.
    """

    visits: int = 6
    runs: int = 15
    visit_ms: float = 30.0
    block_ms: float = 12.0
    warm_up: int = 3
    gate: float = 0.06
    every: int = 8
    pause_seconds: float = 0.5
    enough: int = 3
    extra: int = 4
    busy_cores: float = 0.5


FULL: Final = Protocol(pause_seconds=4.0, enough=4, extra=6)
"""For building a profile to keep: passes spread over a minute."""
SHORT: Final = Protocol(visits=4, runs=10, visit_ms=10.0, block_ms=4.0, pause_seconds=0.0, enough=2, extra=2)
"""For building a profile on first use."""


def make_protocol(given: Protocol | Mapping[str, Any] | None) -> Protocol:
    """Return a protocol from itself or from its fields by name (`target.protocol.visits=10`).

    Raises:
        UsageError: an unknown field, or a value of the wrong kind.
    """
    if given is None:
        return Protocol()
    if isinstance(given, Protocol):
        return given
    if not isinstance(given, Mapping):
        raise UsageError(f"protocol was given {given!r}; expected fields by name, such as target.protocol.visits=10.")
    fields = {name: type(value) for name, value in dataclasses.asdict(Protocol()).items()}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise UsageError(unknown_name_sentence("field of protocol", name, fields))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        least = 1 if name in ("visits", "runs", "every") else 0
        if not number or value < least or value != fields[name](value):
            raise UsageError(f"protocol.{name} was given {value!r}; expected {fields[name].__name__} from {least} up.")
        values[name] = fields[name](value)
    return Protocol(**values)


@final
@dataclass(frozen=True, slots=True)
class Readings:
    """Run times in ms by visit of one item, as they were read.

    Attributes:
        visits: run times.
        accepted: which visits count.
        slowness: the reference's time beside each visit over its best.
        relative: whether times count divided by their slowness.
    """

    visits: tuple[tuple[float, ...], ...]
    accepted: tuple[bool, ...]
    slowness: tuple[float, ...] = ()
    relative: bool = False

    @property
    def counted(self) -> tuple[tuple[float, ...], ...]:
        """The accepted visits; all of them where fewer than two were accepted."""
        visits = self.visits
        if self.relative:
            visits = tuple(tuple(t / slow for t in v) for v, slow in zip(visits, self.slowness, strict=True))
        kept = tuple(v for v, ok in zip(visits, self.accepted, strict=True) if ok)
        return kept if len(kept) >= 2 else visits

    @property
    def best_ms(self) -> float:
        """The quiet latency: the least run of the visits that count; where relative, the median of their least runs."""
        bests = [min(visit) for visit in self.counted]
        return float(np.median(bests)) if self.relative else float(min(bests))

    @property
    def p10_ms(self) -> float:
        """The least tenth percentile of the visits that count; where relative, their median. At least `best_ms`."""
        tenths = [float(np.percentile(visit, 10)) for visit in self.counted]
        return float(np.median(tenths)) if self.relative else min(tenths)

    @property
    def median_ms(self) -> float:
        """The median of the runs that count; where relative, of the visits' medians. At least `p10_ms`."""
        if self.relative:
            return float(np.median([np.median(visit) for visit in self.counted]))
        return float(np.median(np.concatenate([np.asarray(visit) for visit in self.counted])))


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """How quiet the host was.

    Attributes:
        reference_ms: the reference's best.
        reference_spread: its median visit / best - 1.
        accepted: share of visits that passed the gate.
        steady: share of visits before and after which the reference agreed, within the gate.
        cores: those that were used, in order; empty where the thread could not be pinned.
        marks: (seconds since 1970, ms) of every visit of the reference.
    """

    reference_ms: float
    reference_spread: float
    accepted: float
    steady: float = 0.0
    cores: tuple[int, ...] = ()
    marks: tuple[tuple[float, float], ...] = ()

    @property
    def relative(self) -> bool:
        """Whether the host was too seldom at its best but steady, so that times are relative to the reference."""
        return self.accepted < QUIET_FROM and self.steady >= NOISY_BELOW

    @property
    def too_noisy(self) -> bool:
        """Whether the figures are not to be trusted."""
        return self.accepted < NOISY_BELOW and self.steady < NOISY_BELOW

    @property
    def sentence(self) -> str:
        """What to know of the figures; empty where the host was quiet."""
        if self.too_noisy:
            return (
                f"host too noisy: only {self.accepted:.0%} of the visits were in a quiet moment; "
                "measure again when the machine is idle"
            )
        if not self.relative:
            return ""
        return (
            f"this host was at its best in {self.accepted:.0%} of the visits only: times are relative to a reference "
            f"network's, its median {1.0 + self.reference_spread:.2f} of its best"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        marks = [[round(moment, 1), round(value, 5)] for moment, value in self.marks]
        rest = {"cores": list(self.cores), "marks": marks, "relative": self.relative, "sentence": self.sentence}
        return {**dataclasses.asdict(self), **rest}


def one_visit(run: Run, protocol: Protocol) -> tuple[float, ...]:
    """Run an item for a while and return each run's milliseconds."""
    for _ in range(protocol.warm_up):
        run()
    times: list[float] = []
    total = 0.0
    while len(times) < protocol.runs or total < protocol.visit_ms:
        begin = time.perf_counter_ns()
        run()
        elapsed = (time.perf_counter_ns() - begin) / 1e6
        times.append(elapsed)
        total += elapsed
        if total > MOST_MS and len(times) >= 2:
            break
    return tuple(times)


def time_interleaved(
    items: Sequence[Run],
    reference: Run,
    protocol: Protocol,
    progress: Callable[[float], None] | None = None,
    seed: int = 0,
    kept: Kept | None = None,
    visit_ms: Sequence[float] | None = None,
) -> tuple[list[Readings], Noise]:
    """Time items in shuffled passes.

    Args:
        items: calls to time.
        reference: a call of known, steady cost.
        protocol: how.
        progress: hears the share that is done.
        seed: of the order.
        kept: where readings are kept after each pass, and taken up from where there are some of the same items.
        visit_ms: least length of a visit of each item; without, that of the protocol.
    """
    lengths = [protocol.visit_ms] * len(items) if visit_ms is None else list(visit_ms)
    with _without_collection(), restored_affinity():
        session = _Session(items, reference, protocol, progress or (lambda share: None), seed, lengths)
        return session.run(kept or Kept())


@final
class Kept:
    """Readings kept in a file after each pass, so that an interrupted session goes on where it was.

    Args:
        path: the file; None keeps nothing.
        identity: what is timed and how; readings of anything else are ignored.
    """

    def __init__(self, path: Path | None = None, identity: str = "") -> None:
        """Touch nothing yet."""
        self._path, self._identity = path, identity

    def read(self) -> dict[str, Any] | None:
        """Return what was kept of the same items, None where there is nothing sound."""
        if self._path is None:
            return None
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found["state"] if isinstance(found, dict) and found.get("identity") == self._identity else None

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace what was kept."""
        if self._path is not None:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps({"identity": self._identity, "state": state}), encoding="utf-8")
            temporary.replace(self._path)

    def forget(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def _without_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@final
class _Session:
    """The state of one timing session."""

    def __init__(
        self,
        items: Sequence[Run],
        reference: Run,
        protocol: Protocol,
        progress: Callable[[float], None],
        seed: int,
        lengths: Sequence[float],
    ) -> None:
        self.protocols = [dataclasses.replace(protocol, visit_ms=length) for length in lengths]
        self.items, self.reference, self.protocol, self.progress = items, reference, protocol, progress
        self.rng = np.random.default_rng(seed)
        self.visits: list[list[tuple[float, ...]]] = [[] for _ in items]
        self.moments: list[list[float]] = [[] for _ in items]
        self.marks: list[tuple[float, float]] = []
        self.allowed, self.cores = allowed_cores(), list[int]()

    def run(self, kept: Kept) -> tuple[list[Readings], Noise]:
        planned, protocol = len(self.items) * self.protocol.visits, self.protocol
        self._take_up(kept.read())
        begun = min(map(len, self.visits), default=0)
        done = begun * len(self.items)
        for turn in range(begun, protocol.visits):
            if turn and protocol.pause_seconds:
                time.sleep(protocol.pause_seconds)
            done = self._pass(range(len(self.items)), done, planned)
            kept.write({"visits": self.visits, "moments": self.moments, "marks": self.marks, "cores": self.cores})
        for _ in range(protocol.extra):
            flags = self._accepted()
            short = [i for i, row in enumerate(flags) if sum(row) < min(protocol.enough, len(row))]
            if not short or _share(flags) < NOISY_BELOW:  # nothing to mend, or no quiet moment to hope for
                break
            done = self._pass(short, done, planned)
        self.progress(1.0)
        accepted, steady = self._accepted(), self._steady()
        best = self._best()
        noise = Noise(
            best,
            float(np.median([value for _, value in self.marks]) / best - 1.0),
            _share(accepted),
            _share(steady),
            tuple(self.cores),
            tuple(self.marks),
        )
        flags = steady if noise.relative else accepted
        return [
            Readings(tuple(visits), tuple(own), tuple(self._slowness(moments)), noise.relative)
            for visits, moments, own in zip(self.visits, self.moments, flags, strict=True)
        ], noise

    def _take_up(self, state: dict[str, Any] | None) -> None:
        """Continue where another process stopped; readings of other items are of no use."""
        if state is None or len(state["visits"]) != len(self.items):
            return
        self.visits = [[tuple(visit) for visit in row] for row in state["visits"]]
        self.moments, self.cores = state["moments"], state["cores"]
        self.marks = [(moment, value) for moment, value in state["marks"]]

    def _pass(self, indices: Sequence[int], done: int, planned: int) -> int:
        core = pin_to_quietest(self.allowed, lambda: min(one_visit(self.reference, self.protocol)))
        if core is not None:
            self.cores.append(core)
        for place, index in enumerate(self.rng.permutation(np.asarray(indices, dtype=int))):
            if place % self.protocol.every == 0:
                self._mark()
                self.progress(min(1.0, done / max(planned, 1)))
            self.visits[index].append(one_visit(self.items[index], self.protocols[index]))
            self.moments[index].append(time.time())
            done += 1
        self._mark()
        return done

    def _mark(self) -> None:
        self.marks.append((time.time(), min(one_visit(self.reference, self.protocol))))

    def _best(self) -> float:
        return min(value for _, value in self.marks)

    def _accepted(self) -> list[list[bool]]:
        """Say of each visit whether the reference nearest in time was near its best."""
        best = self._best() * (1.0 + self.protocol.gate)
        times = np.asarray([moment for moment, _ in self.marks])
        values = [value for _, value in self.marks]
        return [[values[int(np.abs(times - moment).argmin())] <= best for moment in row] for row in self.moments]

    def _steady(self) -> list[list[bool]]:
        """Say of each visit whether the reference took as long before it as after it, within the gate."""
        times = np.asarray([moment for moment, _ in self.marks])
        values = np.asarray([value for _, value in self.marks])
        found = []
        for row in self.moments:
            after = np.clip(np.searchsorted(times, row), 1, len(times) - 1)
            low, high = np.sort(np.stack([values[after - 1], values[after]]), axis=0)
            found.append((high <= low * (1.0 + self.protocol.gate)).tolist())
        return found

    def _slowness(self, moments: Sequence[float]) -> list[float]:
        """Return the reference's time at some moments, between its visits, over its best."""
        times, values = zip(*self.marks, strict=True)
        return [float(value) / self._best() for value in np.interp(moments, times, values)]


def _share(flags: Sequence[Sequence[bool]]) -> float:
    """Return the share of visits that are accepted."""
    flat = [ok for row in flags for ok in row]
    return float(np.mean(flat)) if flat else 1.0
