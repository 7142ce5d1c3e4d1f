"""Files of fitted profiles: where they are, whether they are sound, and what they are of. Read without scipy.

What is in them is `fitted_profile`'s; a list of profiles needs none of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nasforge.errors import ProfileError, UsageError
from nasforge.hardware.profile import cache_folder, checksum

SCHEMA: Final = 1
KIND: Final = "whole-network"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AGAIN: Final = "fit it again with `nasforge profile --from-measurements`"


def fitted_folder() -> Path:
    """Return where profiles of devices elsewhere are kept: `profiles` in the cache folder."""
    return cache_folder() / "profiles"


def profile_path(name: str) -> Path:
    """Return the file of a name.

    Raises:
        UsageError: the name cannot be a file's.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' was given as the name of a profile; expected letters, digits, dots, dashes and underscores."
        )
    return fitted_folder() / f"{name}.json"


def fitted_names() -> list[str]:
    """Return the names of the profiles that the user has."""
    return sorted(path.stem for path in fitted_folder().glob("*.json"))


def read_fitted_data(path: Path) -> dict[str, Any]:
    """Read and check the content of a profile.

    Raises:
        ProfileError: damaged, edited by hand, of another kind or another schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileError(f"profile '{path}' cannot be read ({type(error).__name__}); {AGAIN}.") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ProfileError(
            f"profile '{path}' is not one fitted to whole networks; {AGAIN}, or use one that was measured on a "
            "processor with --target cpu or int8 and target.profile."
        )
    if data.get("schema") != SCHEMA:
        newer = isinstance(data.get("schema"), int) and data["schema"] > SCHEMA
        raise ProfileError(
            f"profile '{path}' has schema {data.get('schema')!r}, this version reads {SCHEMA}; "
            f"{'update nasforge, or ' if newer else ''}{AGAIN}."
        )
    if data.get("sha256") != checksum(data):
        raise ProfileError(f"profile '{path}' does not match its checksum, so it was edited or damaged; {AGAIN}.")
    return data


def sentence(name: str, space: str, created: str, validation: Mapping[str, float]) -> str:
    """Return device, date and cross-validated error, in one line."""
    return (
        f"fitted to {validation['n']:.0f} whole networks of '{space}' measured on '{name}', {created[:10]}: "
        f"cross-validated, {validation['within_10_percent']:.0%} of them within 10 %, Spearman "
        f"{validation['spearman']:.3f}"
    )


def describe_fitted(path: Path) -> str:
    """Return a profile in one line, or why it cannot be used."""
    try:
        data = read_fitted_data(path)
        return sentence(data["name"], data["space"]["name"], data["created"], data["validation"])
    except (ProfileError, KeyError, TypeError):
        return "damaged, fit it again from its measurements"
