"""Who hears of a run beside its caller and its log: TensorBoard unless it is switched off, MLflow where it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, final

from nasforge.errors import UsageError, unknown_name_sentence


@final
@dataclass(frozen=True, slots=True)
class Tracking:
    """Where figures of a run are kept.

    Attributes:
        mlflow: tracking URI of MLflow (`sqlite:///mlflow.db`, `http://host:5000`); None: MLflow hears nothing.
        experiment: the experiment in MLflow; made where it does not exist.
        tensorboard: whether TensorBoard's events are written into the run folder.
    """

    mlflow: str | None = None
    experiment: str = "nasforge"
    tensorboard: bool = True

    @classmethod
    def read(cls, given: Any) -> Tracking:
        """Read the settings below `tracking`.

        Raises:
            UsageError: an unknown key (the nearest is named), or a value of the wrong kind.
        """
        if not isinstance(given, Mapping):
            raise UsageError(f"tracking was given {given!r}; expected settings, such as tracking.mlflow=URI.")
        known = [part.name for part in fields(cls)]
        for key in given:
            if key not in known:
                raise UsageError(unknown_name_sentence("setting of tracking", str(key), known))
        uri, experiment, tensorboard = given.get("mlflow"), given.get("experiment"), given.get("tensorboard", True)
        for key, value in (("mlflow", uri), ("experiment", experiment)):
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise UsageError(f"tracking.{key} was given {value!r}; expected a text.")
        if not isinstance(tensorboard, bool):
            raise UsageError(f"tracking.tensorboard was given {tensorboard!r}; expected true or false.")
        return cls(uri, experiment or cls().experiment, tensorboard)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `read` takes."""
        return {part.name: getattr(self, part.name) for part in fields(self)}
