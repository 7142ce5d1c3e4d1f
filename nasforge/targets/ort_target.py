"""What the ONNX Runtime targets share: timing files, and a block table measured on first use and cached."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nasforge.errors import ProfileError
from nasforge.hardware.cost import AdditiveCost, Cost
from nasforge.hardware.device import this_cpu
from nasforge.hardware.features import estimate_ms, fit_kernels, kernel_features
from nasforge.hardware.predictor import LatencyPredictor, agreement, fit_correction
from nasforge.hardware.profile import SCHEMA, Profile, cache_folder, read_profile, write_profile
from nasforge.identity import fingerprint
from nasforge.space import Architecture, Lowered, Operator, SearchSpace, Types
from nasforge.targets.base import Measurement, Progress, Target, measurement
from nasforge.targets.blocks import reference_network, write_blocks, write_network
from nasforge.targets.ort_session import bound_run, open_session, runtime_version
from nasforge.targets.timing import SHORT, Noise, Protocol, time_interleaved

MAX_BLOCKS: Final = 100
FITTED: Final = 16
HELD_OUT: Final = 12
METRIC: Final = "latency_ms_predicted"


class OrtTarget(Target):
    """A processor through ONNX Runtime, one thread, one image at a time."""

    def __init__(self, protocol: Protocol | None = None) -> None:
        """Take the protocol for finalists; profiles on first use are built by the short one."""
        self.protocol = protocol or Protocol()

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
            f"measured here: {this_cpu().model}, ONNX Runtime {runtime_version()}, {self.precision}, 1 thread, batch 1"
        )

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 ONNX files, interleaved with each other and with a reference network."""
        return self._measure(paths, self.protocol, progress)[0]

    def _measure(
        self, paths: Sequence[str | Path], protocol: Protocol, progress: Progress | None
    ) -> tuple[list[Measurement], Noise]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            runs = []
            for number, path in enumerate(paths):
                inner = folder / str(number)
                inner.mkdir()
                runs.append(bound_run(open_session(self.prepare(Path(path), inner))))
            reference = bound_run(open_session(self.prepare(reference_network(folder), folder)))
            readings, noise = time_interleaved(
                runs, reference, protocol, None if progress is None else lambda share: progress(share, 1.0)
            )
        return [measurement(reading.counted, self.source) for reading in readings], noise

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the predictor of the cached profile of this machine and space; measure one where there is none."""
        path = self.profile_path(space)
        profile = self._cached(path)
        if profile is None:
            profile = self.build_profile(space, progress)
            write_profile(path, profile)
        return predictor_from(profile, space, str(path))

    def profile_path(self, space: SearchSpace) -> Path:
        """Return where the profile of this machine and space is cached."""
        shapes = {name: list(shape) for name, shape in space.input_shapes.items()}
        keys = sorted(space.node_variants())
        identity = fingerprint(
            [SCHEMA, this_cpu().key, runtime_version(), self.precision, space.fingerprint, shapes, keys]
        )
        return cache_folder() / f"{self.name}-{space.name}-{identity}.json"

    def _cached(self, path: Path) -> Profile | None:
        if not path.exists():
            return None
        profile = read_profile(path)
        if profile.device_key != this_cpu().key:
            raise ProfileError(
                f"profile '{path}' was measured on {profile.device.get('model')}, not on this machine; remove it."
            )
        return profile

    def build_profile(self, space: SearchSpace, progress: Progress | None = None) -> Profile:
        """Measure blocks and whole networks of a space by the short protocol."""
        blocks = space.node_variants()
        chosen = spread(blocks, MAX_BLOCKS)
        nets = sampled_networks(space, FITTED + HELD_OUT)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = write_blocks({key: blocks[key] for key in chosen}, folder, lambda s: _tell(progress, 0.35 * s))
            whole = [write_network(space, net, folder / f"net{i}.onnx") for i, net in enumerate(nets)]
            _tell(progress, 0.5)
            measured, noise = self._measure(
                [*files.values(), *whole], SHORT, lambda done, total: _tell(progress, 0.5 + 0.5 * done / total)
            )
        entries = {key: m.latency_ms for key, m in zip(files, measured[: len(files)], strict=True)}
        truth = [m.latency_ms for m in measured[len(files) :]]
        return self._fitted(space, blocks, entries, nets, truth, noise)

    def _fitted(
        self,
        space: SearchSpace,
        blocks: dict[str, Lowered],
        entries: dict[str, float],
        nets: Sequence[Architecture],
        truth: Sequence[float],
        noise: Noise,
    ) -> Profile:
        kernels = {kind: row.tolist() for kind, row in fit_by_kind(blocks, entries).items()}
        cpu = this_cpu()
        shapes = {name: list(shape) for name, shape in space.input_shapes.items()}
        profile = Profile(
            device=cpu.to_json(),
            device_key=cpu.key,
            runtime={"onnxruntime": runtime_version(), "provider": "CPUExecutionProvider", "threads": 1, "batch": 1},
            precision=self.precision,
            space={"name": space.name, "fingerprint": space.fingerprint, "input_shapes": shapes},
            protocol=dataclasses.asdict(SHORT),
            noise=dataclasses.asdict(noise),
            entries=entries,
            kernels=kernels,
            correction=(0.0, 1.0, 0.0),
            validation={},
            created=datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        )
        sums, counts = table_cost(profile, space), block_count(space)
        rows = [(sums(net), counts(net)) for net in nets]
        fit = fit_correction([r[0] for r in rows[:FITTED]], [r[1] for r in rows[:FITTED]], truth[:FITTED])
        guess = [fit[0] + fit[1] * s + fit[2] * n for s, n in rows[FITTED:]]
        correction = (float(fit[0]), float(fit[1]), float(fit[2]))
        return dataclasses.replace(profile, correction=correction, validation=agreement(guess, truth[FITTED:]))


def _tell(progress: Progress | None, share: float) -> None:
    if progress is not None:
        progress(share, 1.0)


def spread(blocks: dict[str, Lowered], most: int) -> list[str]:
    """Choose keys to measure: all, or `most` of them spread over kinds of operator and sizes."""
    if len(blocks) <= most:
        return sorted(blocks)
    kinds: dict[str, list[str]] = {}
    for key, block in blocks.items():
        kinds.setdefault(type(block.nodes[-1].op).__name__, []).append(key)
    chosen: list[str] = []
    for keys in kinds.values():
        share = max(4, round(most * len(keys) / len(blocks)))
        ordered = sorted(keys, key=lambda key: (blocks[key].total("macs"), blocks[key].total("activation_bytes"), key))
        places = np.unique(np.linspace(0, len(ordered) - 1, min(share, len(ordered))).round().astype(int))
        chosen.extend(ordered[place] for place in places)
    return sorted(chosen)


def sampled_networks(space: SearchSpace, count: int) -> list[Architecture]:
    """Draw different networks spread over the space's costs: every n-th by MACs of many samples."""
    rng = np.random.default_rng(20)
    drawn = space.sample_batch(40 * count, rng)
    unique = np.unique(drawn, axis=0)
    ordered = unique[np.argsort(space.cost("macs").batch(unique), kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    rows = rng.permutation(ordered[places])
    return [space.from_decisions(row) for row in rows]


def fit_by_kind(blocks: dict[str, Lowered], entries: dict[str, float]) -> dict[str, np.ndarray[Any, Any]]:
    """Fit kernel coefficients for each kind of operator with enough entries, and for all (`*`)."""
    rows: dict[str, list[tuple[Any, float]]] = {"*": []}
    for key, latency_ms in entries.items():
        node = blocks[key].nodes[-1]
        pair = (kernel_features(node.op, node.input_types), latency_ms)
        rows["*"].append(pair)
        rows.setdefault(type(node.op).__name__, []).append(pair)
    fitted = {}
    for kind, pairs in rows.items():
        if kind == "*" or len(pairs) >= 8:
            fitted[kind] = fit_kernels(np.stack([p[0] for p in pairs]), np.asarray([p[1] for p in pairs]))
    return fitted


def table_cost(profile: Profile, space: SearchSpace) -> Cost:
    """Return the plain sum of entries, estimated where a key was not measured."""
    kernels = {kind: np.asarray(row) for kind, row in profile.kernels.items()}

    def node_ms(op: Operator, types: Types) -> float:
        if not types:
            return 0.0
        known = profile.entries.get(op.key(types))
        return known if known is not None else estimate_ms(kernels, op, types)

    return space.additive(METRIC, node_ms)


def block_count(space: SearchSpace) -> Cost:
    """Return the number of blocks as a cost."""
    return space.additive("blocks", lambda op, types: 1.0 if types else 0.0)


def predictor_from(profile: Profile, space: SearchSpace, name: str) -> LatencyPredictor:
    """Return the corrected predictor of a profile."""
    offset, factor, per_block = profile.correction
    sums, blocks = table_cost(profile, space), block_count(space)
    assert isinstance(sums, AdditiveCost)
    assert isinstance(blocks, AdditiveCost)
    cost = sums.scaled(factor, offset) + blocks.scaled(per_block, metric=METRIC)
    estimated = sum(key not in profile.entries for key in space.node_variants())
    v = profile.validation
    error = (
        f"{v['within_10_percent']:.0%} of {v['n']:.0f} held-out networks within 10 %, Spearman {v['spearman']:.3f}"
        if v
        else "no held-out error"
    )
    source = (
        f"predicted from blocks measured on {profile.device['model']}, ONNX Runtime {profile.runtime['onnxruntime']}, "
        f"{profile.precision}, 1 thread, {profile.created[:10]}: {error}"
    )
    details = {"estimated_keys": estimated, "measured_keys": len(profile.entries), "noise": dict(profile.noise)}
    return LatencyPredictor(cost, source, name, profile.validation, details)
