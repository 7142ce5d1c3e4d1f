"""What the ONNX Runtime targets share: timing files, and a block table measured on first use and cached."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nasforge.hardware.block_table import (
    blocks_to_measure,
    fit_by_kind,
    fit_correction,
    fitted_of,
    predictor_from,
    spread_networks,
    validate,
)
from nasforge.hardware.device import this_cpu
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.hardware.profile import SCHEMA, Profile, cache_folder, read_cached, write_profile
from nasforge.identity import fingerprint
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target, measurement
from nasforge.targets.blocks import reference_network, write_blocks, write_network
from nasforge.targets.ort_session import bound_run, open_session, runtime_version
from nasforge.targets.timing import SHORT, Noise, Protocol, Readings, make_protocol, time_interleaved

MAX_BLOCKS: Final = 180
FITTED: Final = 20
HELD_OUT: Final = 12
THREADS: Final = 1
_WRITTEN, _OPENED = 0.4, 0.6
"""Shares of a profile's building after which all files are written, and opened."""


class OrtTarget(Target):
    """A processor through ONNX Runtime, one thread, one image at a time.

    Args:
        protocol: how finalists are timed, as a `Protocol` or its fields by name; with one, profiles are built by it
            too, else by the short one.
    """

    def __init__(self, protocol: Protocol | Mapping[str, Any] | None = None) -> None:
        """Check the protocol."""
        self.protocol = make_protocol(protocol)
        self.building = SHORT if protocol is None else self.protocol

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
            f"{THREADS} thread, batch 1"
        )

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 ONNX files, interleaved with each other and with a reference network."""
        readings, noise = self._time(paths, self.protocol, lambda share: _tell(progress, share), 0.1)
        return [measurement(reading.counted, self.source, noise.sentence) for reading in readings]

    def _time(
        self, paths: Sequence[str | Path], protocol: Protocol, tell: Callable[[float], None], opened: float
    ) -> tuple[list[Readings], Noise]:
        """Time files; `opened` is the share of the work that is done when all sessions are open."""
        with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
            folder = Path(name)
            runs = []
            for number, path in enumerate(paths):
                inner = folder / str(number)
                inner.mkdir()
                runs.append(bound_run(open_session(self.prepare(Path(path), inner), THREADS)))
                tell(opened * (number + 1) / len(paths))
            reference = bound_run(open_session(self.prepare(reference_network(folder), folder), THREADS))
            return time_interleaved(runs, reference, protocol, lambda share: tell(opened + (1.0 - opened) * share))

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the predictor of the cached profile of this machine and space; measure one where there is none.

        A damaged file is measured again and replaced.

        Raises:
            ProfileError: the cached profile is another machine's, or the cache cannot be written.
        """
        cpu, path = this_cpu(), self.profile_path(space)
        profile = read_cached(
            path, device_key=cpu.key, runtime=self._runtime(), precision=self.precision, here=cpu.model
        )
        if profile is None:
            profile = self.build_profile(space, progress)
            write_profile(path, profile)
        return predictor_from(profile, space, path.name)

    def profile_path(self, space: SearchSpace) -> Path:
        """Return where the profile of this machine, runtime, precision, space and input shape is cached."""
        keys = sorted(space.node_variants())
        identity = fingerprint(
            [SCHEMA, this_cpu().key, self._runtime(), self.precision, _space_facts(space), keys, self._building()]
        )
        return cache_folder() / f"{self.name}-{space.name}-{identity}.json"

    def _building(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.building), "blocks": MAX_BLOCKS, "fitted": FITTED, "held_out": HELD_OUT}

    def _runtime(self) -> dict[str, Any]:
        return {
            "onnxruntime": runtime_version(),
            "provider": "CPUExecutionProvider",
            "threads": THREADS,
            "batch": 1,
        }

    def build_profile(self, space: SearchSpace, progress: Progress | None = None) -> Profile:
        """Measure blocks and whole networks of a space, fit the correction, and hold some networks out."""
        blocks = space.node_variants()
        chosen = {key: blocks[key] for key in blocks_to_measure(space, blocks, MAX_BLOCKS)}
        architectures = spread_networks(space, FITTED + HELD_OUT)
        networks = [space.lower(each) for each in architectures]
        total = len(chosen) + 4 * len(networks)
        with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
            folder = Path(name)
            files = write_blocks(chosen, folder, lambda done: _tell(progress, _WRITTEN * done / total))
            whole = []
            for i, lowered in enumerate(networks):
                whole.append(write_network(lowered, folder / f"net{i}.onnx"))
                _tell(progress, _WRITTEN * (len(chosen) + 4 * (i + 1)) / total)
            readings, noise = self._time(
                [*files.values(), *whole],
                self.building,
                lambda share: _tell(progress, _WRITTEN + (1.0 - _WRITTEN) * share),
                (_OPENED - _WRITTEN) / (1.0 - _WRITTEN),
            )
        measured = [min(min(visit) for visit in each.counted) for each in readings]
        entries = dict(zip(files, measured[: len(files)], strict=True))
        truth = measured[len(files) :]
        table = dataclasses.replace(self._blank(space, noise), entries=entries, kernels=fit_by_kind(blocks, entries))
        fitted = fitted_of(len(networks), HELD_OUT)
        table = dataclasses.replace(table, correction=fit_correction(table, networks[:fitted], truth[:fitted]))
        return dataclasses.replace(table, validation=validate(table, space, architectures[fitted:], truth[fitted:]))

    def _blank(self, space: SearchSpace, noise: Noise) -> Profile:
        cpu = this_cpu()
        return Profile(
            device=cpu.to_json(),
            device_key=cpu.key,
            runtime=self._runtime(),
            precision=self.precision,
            space=_space_facts(space),
            protocol=self._building(),
            noise=noise.to_json(),
            entries={},
            kernels={},
            correction={},
            validation={},
            created=datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        )


def _space_facts(space: SearchSpace) -> dict[str, Any]:
    shapes = {name: list(shape) for name, shape in space.input_shapes.items()}
    return {"name": space.name, "fingerprint": space.fingerprint, "input_shapes": shapes}


def _tell(progress: Progress | None, share: float) -> None:
    if progress is not None:
        progress(share, 1.0)
