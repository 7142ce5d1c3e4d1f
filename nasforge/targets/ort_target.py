"""What the ONNX Runtime targets share: timing files, and profiles that are measured, kept, checked and refused."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import onnx

from nasforge.errors import ProfileError, UsageError
from nasforge.hardware.block_table import predictor_from
from nasforge.hardware.device import this_cpu
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.hardware.profile import (
    SCHEMA,
    Profile,
    cache_folder,
    check_writable,
    differences,
    facts_of,
    find_profile,
    read_cached,
    read_profile,
    write_profile,
)
from nasforge.identity import fingerprint
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target, measurement
from nasforge.targets.ort_session import bound_run, open_session, runtime_version
from nasforge.targets.profiling import ON_FIRST_USE, TO_KEEP, build_profile
from nasforge.targets.references import Busy, busy_sentence, check_references, reference_networks
from nasforge.targets.timing import Kept, Noise, Protocol, Readings, Run, make_protocol, time_interleaved

FOREIGN: Final = "FOREIGN PROFILE"
REPLACED: Final = "the profile that was kept here had been edited or damaged, so it was measured again"
OUTDATED: Final = "the profile that an earlier search made no longer held, so it was measured again"
UNFINISHED: Final = ".unfinished"
"""Suffix of the folder from which an interrupted profile goes on."""
_checked: Final[dict[tuple[str, str], str]] = {}
"""What the references said of a profile in this process, by target and checksum; they are timed once."""


class OrtTarget(Target):
    """A processor through ONNX Runtime.

    Args:
        protocol: how finalists are timed, as a `Protocol` or its fields by name; with one, profiles that are built on
            first use are built by it too, else by a short one.
        threads: of ONNX Runtime.
        batch: images at once; latencies are those of the whole batch.
        profile: a profile's name or file, in the place of the one that is measured here.
        allow_foreign_profile: use `profile` though it was measured on another device, runtime, precision or with other
            threads; every figure then says so.
    """

    quant: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        protocol: Protocol | Mapping[str, Any] | None = None,
        threads: int = 1,
        batch: int = 1,
        profile: str | None = None,
        allow_foreign_profile: bool = False,
    ) -> None:
        """Check the options."""
        for name, value in (("threads", threads), ("batch", batch)):
            if value < 1:
                raise UsageError(f"target '{self.name}' was given {name} {value}; expected 1 or more.")
        self.protocol = make_protocol(protocol)
        self.threads, self.batch, self.profile, self.allow_foreign = threads, batch, profile, allow_foreign_profile
        self.effort = ON_FIRST_USE if protocol is None else dataclasses.replace(ON_FIRST_USE, protocol=self.protocol)

    def available(self) -> str | None:
        """Return None: every machine has a processor."""
        return None

    @abstractmethod
    def prepare(self, source: Path, folder: Path) -> Path:
        """Return the file that is really run for a float32 file."""

    @property
    def source(self) -> str:
        """One line of provenance."""
        return (
            f"measured here: {this_cpu().model}, ONNX Runtime {runtime_version()}, {self.precision}, "
            f"{self.threads} thread{'s' * (self.threads > 1)}, batch {self.batch}"
        )

    def options(self) -> dict[str, Any]:
        """Return plain data from which a target is made that measures alike."""
        return {"protocol": dataclasses.asdict(self.protocol), "threads": self.threads, "batch": self.batch}

    def facts(self) -> dict[str, Any]:
        """Return the fields of a profile that say what is measured."""
        cpu = this_cpu()
        return {
            "device": cpu.to_json(),
            "device_key": cpu.key,
            "runtime": self._runtime(),
            "precision": self.precision,
            "quant": dict(self.quant),
        }

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 ONNX files, interleaved with each other and with a reference network."""
        busy = Busy()
        readings, noise = self.time(paths, self.protocol, lambda share: _tell(progress, share), 0.1)
        said = "; ".join(filter(None, (busy_sentence(busy.cores, self.protocol.busy_cores), noise.sentence)))
        return [
            dataclasses.replace(
                measurement(reading.counted, self.source, said),
                latency_ms=reading.best_ms,
                p10_ms=reading.p10_ms,
                median_ms=reading.median_ms,
                reference_ms=noise.reference_ms,
            )
            for reading in readings
        ]

    def time(
        self,
        paths: Sequence[str | Path],
        protocol: Protocol,
        tell: Callable[[float], None],
        opened: float,
        kept: Kept | None = None,
        blocks: int = 0,
    ) -> tuple[list[Readings], Noise]:
        """Time files.

        Args:
            paths: float32 ONNX files.
            protocol: how.
            tell: hears the share that is done.
            opened: the share that is done when all sessions are open.
            kept: where readings are kept between processes.
            blocks: so many of the first files are blocks, which have shorter visits.
        """
        with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
            folder = Path(name)
            runs = []
            for number, path in enumerate(paths):
                inner = folder / str(number)
                inner.mkdir()
                runs.append(self._run(self.prepare(Path(path), inner)))
                tell(opened * (number + 1) / len(paths))
            reference = self._run(self.prepare(reference_networks(folder)["plain"], folder))
            lengths = [protocol.block_ms if number < blocks else protocol.visit_ms for number in range(len(runs))]
            return time_interleaved(
                runs,
                reference,
                protocol,
                lambda share: tell(opened + (1.0 - opened) * share),
                kept=kept,
                visit_ms=lengths,
            )

    def _run(self, path: Path) -> Run:
        return bound_run(open_session(path, self.threads), self.batch)

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the predictor of the profile that was given, or of the one measured here; measure it on first use.

        A cached file that is damaged is measured again and replaced. One that was made earlier is checked by its
        reference networks; where it no longer holds, one that a search made is measured again, and one that was
        measured with more care (`nasforge profile`) is refused.

        Raises:
            ProfileError: the profile that was given is another device's, runtime's, precision's or space's, it no
                longer holds, or the cache cannot be written.
            NotInstalledError: no profile of that name.
        """
        if self.profile is not None:
            found = self._given(self.profile, space)
            _tell(progress, 1.0)
            return found
        path = self.profile_path(space)
        profile = read_cached(path)
        remade = REPLACED if profile is None and path.exists() else ""
        if profile is not None and not self.different(profile) and not self._asks_for_more(profile):
            try:
                warning = self._check(profile, path.name)
            except ProfileError:
                if int(profile.protocol["visits"]) > self.effort.protocol.visits:
                    raise
                profile, remade = None, OUTDATED
        else:
            profile = None
        if profile is None:
            check_writable(path.parent)
            profile, warning = build_profile(self, space, self.effort, lambda share: _tell(progress, share)), ""
            write_profile(path, profile)
            _checked[self.name, profile.created + path.name] = ""
        _tell(progress, 1.0)
        found = predictor_from(profile, space, path.name, warning)
        return dataclasses.replace(found, source=f"{remade}; {found.source}") if remade else found

    def _asks_for_more(self, profile: Profile) -> bool:
        return int(profile.protocol.get("visits", 0)) < self.effort.protocol.visits

    def different(self, profile: Profile) -> list[str]:
        """Say what keeps a profile from being used here."""
        return differences(profile, device=this_cpu(), runtime=self._runtime(), precision=self.precision)

    def _given(self, name: str, space: SearchSpace) -> LatencyPredictor:
        """Return the predictor of a profile by its name, after checking that it is of this machine and space."""
        path = find_profile(name)
        profile = read_profile(path)
        missing = [key for key in space.node_variants() if key not in profile.entries]
        if dict(profile.space) != facts_of(space) and missing:
            raise ProfileError(
                f"profile '{name}' is of space {_named(profile.space)}, and {len(missing)} blocks of "
                f"{_named(facts_of(space))} are not in it; run: nasforge profile --target {self.name} --space "
                f"{space.name}, with the --data, or --resolution and --classes, that it is used for"
            )
        reasons = self.different(profile)
        if reasons and not self.allow_foreign:
            raise ProfileError(
                f"profile '{name}' cannot be used here: {'; '.join(reasons)}; measure one with `nasforge profile "
                f"--target {self.name}`, or give --allow-foreign-profile."
            )
        if reasons:
            return predictor_from(profile, space, name, f"{FOREIGN}: {'; '.join(reasons)}")
        return predictor_from(profile, space, name, self._check(profile, name))

    def _check(self, profile: Profile, name: str) -> str:
        """Time the profile's reference networks, once in a process; return what there is to say."""
        key = (self.name, profile.created + name)
        if key not in _checked and profile.reference:
            with tempfile.TemporaryDirectory(prefix="nasforge-") as place:
                folder = Path(place)
                runs = {
                    each: self._run(self.prepare(path, folder)) for each, path in reference_networks(folder).items()
                }
                usual = 1.0 + profile.noise["reference_spread"] if profile.noise.get("relative") else 1.0
                _checked[key] = check_references(runs, profile.reference, name, usual).warning
        return _checked.get(key, "")

    def profile_path(self, space: SearchSpace) -> Path:
        """Return where the profile of this machine, runtime, precision, space and input shape is cached."""
        keys = sorted(space.node_variants())
        identity = fingerprint([SCHEMA, self.facts(), facts_of(space), keys])
        return cache_folder() / f"{self.name}-{space.name}-{identity}.json"

    def _runtime(self) -> dict[str, Any]:
        return {
            "onnxruntime": runtime_version(),
            "onnx": onnx.__version__,
            "provider": "CPUExecutionProvider",
            "threads": self.threads,
            "batch": self.batch,
        }

    def make_profile(
        self, space: SearchSpace, out: Path | None = None, progress: Progress | None = None
    ) -> tuple[Path, Profile]:
        """Measure a profile with the full protocol; interrupted, the same call goes on where it was."""
        path = self.profile_path(space)
        unfinished = path.with_suffix(UNFINISHED)
        where = out or path
        check_writable(where.parent)
        effort = TO_KEEP if self.effort is ON_FIRST_USE else dataclasses.replace(TO_KEEP, protocol=self.protocol)
        try:
            profile = build_profile(self, space, effort, lambda share: _tell(progress, share), unfinished)
        except OSError as error:
            raise ProfileError(
                f"the cache folder '{unfinished.parent}' cannot be written ({error.strerror}); set NASFORGE_CACHE to a "
                "folder of yours."
            ) from error
        write_profile(where, profile)
        shutil.rmtree(unfinished)
        return where, profile


def _named(facts: Mapping[str, Any]) -> str:
    """Return name and input of a space, by which its profiles differ."""
    shapes = dict(facts.get("input_shapes", {})).values()
    inputs = ", ".join("x".join(map(str, shape)) for shape in shapes)
    return f"'{facts.get('name')}'" + (f" for inputs of {inputs}" if inputs else "")


def _tell(progress: Progress | None, share: float) -> None:
    if progress is not None:
        progress(share, 1.0)
