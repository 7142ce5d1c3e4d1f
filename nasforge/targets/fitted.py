"""`profile`: a device elsewhere, known by a profile that was fitted to networks measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from nasforge.errors import TargetError, UsageError
from nasforge.hardware.fitted_file import fitted_names
from nasforge.hardware.fitted_profile import find_fitted
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target


@final
class FittedTarget(Target):
    """A phone, a board or a server that nasforge cannot run on: predictions only, so results stay unverified.

    Args:
        profile: name or file of a profile made by `nasforge profile --from-measurements`; `--target profile:NAME`.
    """

    name: ClassVar[str] = "profile"

    def __init__(self, profile: str = "") -> None:
        """Take the profile; it is read when a prediction is asked for."""
        self.profile = profile

    def available(self) -> str | None:
        """Return why nothing is measured: the device is not this machine."""
        device = f"'{self.profile}'" if self.profile else "the device of a fitted profile"
        return f"{device} is not this machine"

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the profile's predictor over the space, with its error, or the wider one of another space.

        Raises:
            UsageError: no profile was named, or there is none of this name.
            ProfileError: the profile is damaged.
        """
        if not self.profile:
            known = ", ".join(fitted_names()) or "none yet"
            raise UsageError(
                f"target 'profile' was given no profile; name one with --target profile:NAME (known here: {known})."
            )
        found, path = find_fitted(self.profile)
        predictor = found.predictor(space, str(path))
        if progress is not None:
            progress(1.0, 1.0)
        return predictor

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Refuse."""
        raise TargetError(
            f"target 'profile' cannot be measured here: {self.available()}; use the prediction, or measure the ONNX "
            "file on the device."
        )
