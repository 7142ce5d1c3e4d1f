"""`gpu`: measured with CUDA events where there is a GPU; elsewhere a named model of a card, and it says so."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np

from nasforge.errors import TargetError, UsageError
from nasforge.hardware import roofline
from nasforge.hardware.block_table import (
    BlockTable,
    corrected_cost,
    error_sentence,
    fit_correction,
    fitted_of,
    spread_networks,
    validated,
)
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.hardware.profile import SCHEMA, Profile, cache_folder, facts_of, read_cached, write_profile
from nasforge.identity import fingerprint
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target, measurement
from nasforge.targets.blocks import write_network
from nasforge.targets.named_card import named_card_predictor
from nasforge.targets.timing import Protocol, make_protocol

FITTED: Final = 16
HELD_OUT: Final = 10
DEFAULT: Final = Protocol(visits=4, runs=30, warm_up=10)


@final
class TorchCuda(Target):
    """A GPU. Without one, predictions are for `card`, and results stay unverified.

    They are those of the fitted profile that ships for the card, at any batch; where none ships, of the roofline model.

    Args:
        card: short name of the modelled card, see `nasforge.hardware.roofline.CARDS`.
        batch: images at once; latencies are those of the whole batch.
        fused: model normalisation and activation as part of the kernel before them, as inference runtimes do it; a
            fitted profile is of networks run layer by layer, so `true` asks for the roofline instead.
        protocol: how networks are timed on a GPU, as a `Protocol` or its fields by name.
    """

    name: ClassVar[str] = "gpu"

    def __init__(
        self,
        card: str = roofline.DEFAULT_CARD,
        batch: int = 1,
        fused: bool | None = None,
        protocol: Protocol | Mapping[str, Any] | None = None,
    ) -> None:
        """Look the card up."""
        if batch < 1:
            raise UsageError(f"target 'gpu' was given batch {batch}; expected 1 or more.")
        self.card, self.card_name, self.batch = roofline.card(card), card, batch
        self.fused, self.fused_by_card = fused is not False, fused
        self.protocol = DEFAULT if protocol is None else make_protocol(protocol)

    def available(self) -> str | None:
        """Return None where torch sees a CUDA device that ONNX Runtime can use."""
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device is visible to torch on this machine"
        from nasforge.targets.ort_session import cuda_provider_missing

        return cuda_provider_missing()

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the model of the named card over the space; with a GPU, the roofline fitted to it.

        Raises:
            ProfileError: a shipped profile is damaged, or the cache cannot be written.
        """
        if self.available() is None:
            return self._fitted(space, progress)
        if progress is not None:
            progress(1.0, 1.0)
        return named_card_predictor(space, self.card_name, self.batch, self.fused_by_card)

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure with CUDA events: ONNX files are run through ONNX Runtime's CUDA provider, visits interleaved."""
        reason = self.available()
        if reason is not None:
            raise TargetError(
                f"target 'gpu' cannot be measured here: {reason}; use the prediction, or a machine with a GPU."
            )
        from nasforge.targets.cuda_timing import time_on_gpu

        readings, device = time_on_gpu(paths, self.batch, self.protocol, progress)
        source = f"measured here: {device}, ONNX Runtime CUDA, float32, batch {self.batch}"
        return [measurement(visits, source) for visits in readings]

    def make_profile(
        self, space: SearchSpace, out: Path | None = None, progress: Progress | None = None
    ) -> tuple[Path, Profile]:
        """Measure networks on this GPU and fit the model to them."""
        reason = self.available()
        if reason is not None:
            raise TargetError(f"target 'gpu' cannot be profiled here: {reason}; the named cards need no profile.")
        path, profile = self._profile(space, progress, again=True)
        if out is not None:
            write_profile(out, profile)
        return out or path, profile

    def _fitted(self, space: SearchSpace, progress: Progress | None) -> LatencyPredictor:
        """Return the roofline with factors by kind of block, fitted on this GPU or read from the cache."""
        path, profile = self._profile(space, progress)
        source = (
            f"roofline fitted to networks measured on {profile.device['model']}, batch {self.batch}, "
            f"{profile.created[:10]}: {error_sentence(profile.validation)}"
        )
        cost = corrected_cost(profile, space)
        return LatencyPredictor(cost, source, str(path), profile.validation, {"runtime": dict(profile.runtime)})

    def _profile(self, space: SearchSpace, progress: Progress | None, *, again: bool = False) -> tuple[Path, Profile]:
        """Return the cached profile of this GPU and its file; measure it where there is none, or `again`."""
        from nasforge.targets.cuda_timing import device_facts

        device, runtime = device_facts()
        runtime = {**runtime, "batch": self.batch, "card": self.card.name, "fused": self.fused}
        facts = facts_of(space)
        key = fingerprint([device])
        blocks = space.node_variants()
        identity = fingerprint([SCHEMA, key, runtime, facts, sorted(blocks), FITTED, HELD_OUT])
        path = cache_folder() / f"{self.name}-{space.name}-{identity}.json"
        profile = None if again else read_cached(path)
        if profile is None:
            entries = {
                key: self._block_ms(block.nodes[-1].op, block.nodes[-1].input_types) for key, block in blocks.items()
            }
            blank = Profile(
                device=device,
                device_key=key,
                runtime=runtime,
                precision=self.precision,
                space=facts,
                protocol=dataclasses.asdict(self.protocol),
                noise={},
                entries=entries,
                kernels={"*": [float(np.mean(list(entries.values()))), 0.0, 0.0, 0.0, 0.0, 0.0]},
                correction={},
                validation={},
                created=datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
            )
            profile = self._fit(blank, space, progress)
            write_profile(path, profile)
        return path, profile

    def _block_ms(self, op: Any, types: Any) -> float:
        return roofline.node_ms(self.card, op, types, self.batch, fused=self.fused)

    def _fit(self, blank: Profile, space: SearchSpace, progress: Progress | None) -> Profile:
        chosen = spread_networks(space, FITTED + HELD_OUT)
        networks = [space.lower(each) for each in chosen]
        with tempfile.TemporaryDirectory(prefix="nasforge-") as name:
            files = []
            for number, lowered in enumerate(networks):
                files.append(write_network(lowered, Path(name) / f"{number}.onnx"))
                if progress is not None:
                    progress(0.4 * (number + 1) / len(networks), 1.0)
            measured = self.measure_many(
                files, None if progress is None else lambda done, total: progress(0.4 + 0.6 * done / total, 1.0)
            )
        truth = [each.latency_ms for each in measured]
        fitted = fitted_of(len(networks), FITTED, HELD_OUT)
        table = dataclasses.replace(
            blank, correction=fit_correction(BlockTable(blank, space), networks[:fitted], truth[:fitted])
        )
        return validated(table, space, chosen[fitted:], truth[fitted:])
