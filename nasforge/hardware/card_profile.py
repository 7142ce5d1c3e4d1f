"""A fitted model of a card as a file: coefficients, what they were fitted to, and how well they predict.

Such a profile speaks of any space and batch, as its model is of kernels; what it was validated on it says by table and
batch. It holds no measurements, so it may travel where the tables may not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, final

from nasforge.errors import ProfileError
from nasforge.hardware import roofline
from nasforge.hardware.kernel_model import KernelModel, make_model
from nasforge.hardware.profile import checksum

KIND: Final = "fitted kernel model"
SCHEMA: Final = 1
_PREFIX: Final = "gpu-"


@final
@dataclass(frozen=True)
class CardProfile:
    """A fitted card.

    Attributes:
        card: short name, as in `nasforge.hardware.roofline.CARDS`.
        model: the coefficients.
        runtime: what ran the networks that it was fitted to.
        fitted_on: one row for each table and batch: `table`, `batch`, `networks`, `origin`, `launch_factor`.
        validation: one row for each table and batch, of networks that took no part in fitting: `table`, `batch`,
            and the figures of `nasforge.hardware.kernel_fit.accuracy` under `as_shipped` and, with the launch factor
            of the sitting, under `own_host`.
        command: what fits it again.
        created: UTC date.
    """

    card: str
    model: KernelModel
    runtime: str
    fitted_on: Sequence[Mapping[str, Any]]
    validation: Sequence[Mapping[str, Any]]
    command: str
    created: str
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the checksum of the rest under `sha256`."""
        published = self.model.card
        data = {
            "schema": self.schema,
            "kind": KIND,
            "card": self.card,
            "device": {
                "model": published.name, "tflops_fp32": published.tflops, "bandwidth_gbs": published.bandwidth_gbs,
            },
            "runtime": self.runtime,
            "coefficients": self.model.to_json(),
            "fitted_on": [dict(row) for row in self.fitted_on],
            "validation": [dict(row) for row in self.validation],
            "command": self.command,
            "created": self.created,
        }  # fmt: skip
        return {**data, "sha256": checksum(data)}

    @property
    def batches(self) -> tuple[int, ...]:
        """Batches that it was validated at, in order."""
        return tuple(sorted({int(row["batch"]) for row in self.validation}))

    def nearest_batch(self, batch: int) -> int:
        """Return the validated batch nearest by ratio; the smaller of two as near."""
        return min(self.batches, key=lambda known: (max(known / batch, batch / known), known))

    def rows_at(self, batch: int) -> list[Mapping[str, Any]]:
        """Return the held-out rows of a validated batch."""
        return [row for row in self.validation if row["batch"] == batch]


def make_card_profile(data: Any, source: str) -> CardProfile:
    """Check plain data and return the profile.

    Args:
        data: as `CardProfile.to_json` returned it.
        source: where it is from, for errors.

    Raises:
        ProfileError: another kind or schema, edited by hand, or incomplete.
    """
    if not isinstance(data, dict) or data.get("kind") != KIND or data.get("schema") != SCHEMA:
        found = (data.get("kind"), data.get("schema")) if isinstance(data, dict) else type(data).__name__
        raise ProfileError(
            f"profile '{source}' is {found!r}, expected ({KIND!r}, {SCHEMA}); install nasforge again, or fit it anew."
        )
    if data.get("sha256") != checksum(data):
        raise ProfileError(
            f"profile '{source}' does not match its checksum, so it was edited or damaged; install nasforge again, or "
            "fit it anew."
        )
    try:
        device = data["device"]
        card = roofline.Card(device["model"], float(device["tflops_fp32"]), float(device["bandwidth_gbs"]))
        names = ("card", "runtime", "fitted_on", "validation", "command", "created")
        return CardProfile(model=make_model(card, data["coefficients"]), **{name: data[name] for name in names})
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"profile '{source}' lacks a part or holds a wrong one ({error}); fit it anew.") from error


def shipped_cards() -> dict[str, str]:
    """Return the text of the fitted cards that are installed, by short name; empty without `nasforge_profiles`."""
    try:
        folder = resources.files("nasforge_profiles")
    except ModuleNotFoundError:
        return {}
    files = [file for file in folder.iterdir() if file.name.startswith(_PREFIX) and file.name.endswith(".json")]
    return {
        file.name.removeprefix(_PREFIX).removesuffix(".json"): file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda each: each.name)
    }


def shipped_profile(card: str) -> CardProfile | None:
    """Return the fitted profile that is installed for a card, by its short name; None where there is none.

    Raises:
        ProfileError: it is damaged.
    """
    text = shipped_cards().get(card)
    if text is None:
        return None
    source = f"{_PREFIX}{card}.json"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ProfileError(f"profile '{source}' is no JSON; install nasforge again, or fit it anew.") from error
    return make_card_profile(data, source)


def describe_shipped() -> dict[str, str]:
    """Return the installed card profiles by file stem, each in one line, or why it cannot be used."""
    found = {}
    for card in shipped_cards():
        try:
            profile = shipped_profile(card)
            found[f"{_PREFIX}{card}"] = describe_card_profile(profile) if profile is not None else ""
        except ProfileError as error:
            found[f"{_PREFIX}{card}"] = str(error)
    return found


def file_name(card: str) -> str:
    """Return the name of a card's profile in `hardware_profiles/`."""
    return f"{_PREFIX}{card}.json"


def describe_card_profile(profile: CardProfile) -> str:
    """Return a profile in one line: device, kind, date, batches, held-out rank correlations."""
    ranks = [row["own_host"]["spearman"] for row in profile.validation]
    batches = ", ".join(map(str, profile.batches))
    return (
        f"{profile.model.card.name}, {KIND}, {profile.created[:10]}, batches {batches}, held-out Spearman "
        f"{min(ranks):.3f} to {max(ranks):.3f}"
    )
