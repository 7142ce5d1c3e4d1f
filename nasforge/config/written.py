"""Reading back the settings a run was started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasforge.errors import DamagedError, UsageError
from nasforge.run.folder import read_config, redact
from nasforge.run.settings import Settings
from nasforge.run.store import absolute


def resolved_text(text: str) -> str:
    """Return a text with its interpolations of the environment resolved.

    Raises:
        UsageError: one of them cannot be.
    """
    try:
        return str(OmegaConf.to_container(OmegaConf.create({"text": text}), resolve=True)["text"])  # type: ignore[index,call-overload]  # of a mapping
    except OmegaConfBaseException as error:
        sentence = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"'{redact(text)}' cannot be resolved: {sentence}; set what it names.") from error


def read_settings(folder: Path, storage: str | None = None) -> Settings:
    """Read the settings of a run; interpolations of the environment are resolved now.

    Args:
        folder: of the run.
        storage: in the place of what is written.

    Raises:
        DamagedError: `config.yaml` cannot be read as settings.
    """
    written = read_config(folder)
    if storage is not None:
        written["storage"] = absolute(storage)
    try:
        plain: Any = OmegaConf.to_container(OmegaConf.create(written), resolve=True)
    except OmegaConfBaseException as error:
        sentence = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"the configuration of '{folder}' cannot be resolved: {sentence}; set what it names."
        ) from error
    assert isinstance(plain, Mapping)
    try:
        return Settings.read(plain)
    except UsageError as error:
        raise DamagedError(f"the configuration of '{folder}' is damaged: {error}") from error
