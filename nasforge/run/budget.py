"""How much a search may spend: by the clock, in evaluations, in epochs, or `quick`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, final

from nasforge.errors import UsageError

Unit = Literal["quick", "minutes", "evaluations", "epochs"]
PATTERN: Final = re.compile(r"([0-9]*\.?[0-9]+)(min|-evaluations|-epochs)")
UNITS: Final[dict[str, Unit]] = {"min": "minutes", "-evaluations": "evaluations", "-epochs": "epochs"}
QUICK_SECONDS: Final = 100.0


@final
@dataclass(frozen=True, slots=True)
class Budget:
    """An amount in a unit; `quick` has fixed amounts and ends within two minutes on two cores."""

    unit: Unit = "quick"
    amount: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `quick`, `NNmin`, `NN-evaluations` or `NN-epochs`.

        >>> Budget.parse("30min")
        Budget(unit='minutes', amount=30.0)

        Raises:
            UsageError: another text, or a count below one.
        """
        if text == "quick":
            return cls()
        match = PATTERN.fullmatch(text)
        if match is None:
            raise UsageError(
                f"budget was given '{text}'; expected quick, NNmin, NN-evaluations or NN-epochs, such as 30min."
            )
        unit, amount = UNITS[match[2]], float(match[1])
        if not math.isfinite(amount) or amount <= 0 or (unit != "minutes" and (amount < 1 or amount != int(amount))):
            raise UsageError(
                f"budget was given '{text}'; expected a whole number of at least one (minutes: above zero)."
            )
        return cls(unit, amount)

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds for the whole run; None where the clock sets no limit."""
        return {"quick": QUICK_SECONDS, "minutes": self.amount * 60.0}.get(self.unit)

    @property
    def evaluations(self) -> int | None:
        """Evaluations allowed; None where another unit limits them."""
        return int(self.amount) if self.unit == "evaluations" else None

    @property
    def epochs(self) -> float | None:
        """Epochs of training allowed to the search (retraining comes after); None where another unit limits it."""
        return self.amount if self.unit == "epochs" else None

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        if self.unit == "quick":
            return "quick"
        suffix = next(suffix for suffix, unit in UNITS.items() if unit == self.unit)
        return f"{plain_number(self.amount)}{suffix}"


def plain_number(value: float) -> str:
    """Return the shortest text without an exponent that reads back as the same number.

    >>> plain_number(1e6), plain_number(0.1), plain_number(2e-7)
    ('1000000', '0.1', '0.0000002')
    """
    return format(Decimal(repr(value)), "f").removesuffix(".0")
