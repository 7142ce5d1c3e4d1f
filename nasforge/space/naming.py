"""Architectures by the names of choices and the labels of options: made, checked, described, and as plain data.

People and files speak of names, moves and costs of indices; this is where one becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from nasforge.errors import ArchitectureError, unknown_name_sentence
from nasforge.space import moves
from nasforge.space.architecture import Architecture
from nasforge.space.choice import Choice


@final
@dataclass(frozen=True)
class Naming:
    """What is needed of a space to know its architectures by name.

    Attributes:
        space: its name.
        fingerprint: its fingerprint.
        choices: all of the root space, by index.
        order: in which choices can be decided.
        program: of the space, with the options that restriction has left.
    """

    space: str
    fingerprint: str
    choices: tuple[Choice, ...]
    order: Sequence[int]
    program: moves.Program

    def architecture(self, options: Mapping[str, Any]) -> Architecture:
        """Make an architecture from option labels (or options) by choice name; see `SearchSpace.architecture`."""
        decisions = [-1] * len(self.choices)
        for name, option in options.items():
            index = self.index(name)
            if option is not None:
                decisions[index] = self.option(index, option)
        gates = {gate.choice: gate for gate in self.program.gates}
        for index in self.order:
            if index in gates and not moves.is_active(gates[index], decisions):
                decisions[index] = -1
            elif decisions[index] < 0:
                raise ArchitectureError(
                    f"choice '{self.choices[index].name}' was given no option; "
                    f"expected one of {list(self.choices[index].labels)}."
                )
        return self.validated(Architecture(tuple(decisions), self.fingerprint))

    def index(self, name: str) -> int:
        """Return the index of a choice.

        Raises:
            ArchitectureError: there is no such choice.
        """
        if name not in self._numbers:
            raise ArchitectureError(unknown_name_sentence("choice", str(name), self._numbers))
        return self._numbers[name]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {str(read.name): index for index, read in enumerate(self.choices)}

    def option(self, index: int, option: Any) -> int:
        """Return the index of an option of a choice, given by its label or as it is.

        Raises:
            ArchitectureError: the choice has no such option.
        """
        read = self.choices[index]
        if isinstance(option, str) and option in read.labels:
            return read.labels.index(option)
        if not isinstance(option, str) and option in read.options:
            return read.options.index(option)
        raise ArchitectureError(unknown_name_sentence(f"option of choice '{read.name}'", str(option), read.labels))

    def kept(self, allowed: Iterable[tuple[int, ...]], options: Mapping[str, Iterable[Any]]) -> list[tuple[int, ...]]:
        """Return what is left of the allowed options of each choice where the named ones keep only some.

        Raises:
            ArchitectureError: an unknown choice or option.
        """
        left = list(allowed)
        for name, kept in options.items():
            index = self.index(name)
            wanted = {self.option(index, option) for option in kept}
            left[index] = tuple(option for option in left[index] if option in wanted)
        return left

    def validated(self, architecture: Architecture) -> Architecture:
        """Return the architecture if it belongs to the space; see `SearchSpace.validated`."""
        if architecture.fingerprint != self.fingerprint or len(architecture.decisions) != len(self.choices):
            raise ArchitectureError(
                f"the architecture has fingerprint {architecture.fingerprint}, space '{self.space}' has "
                f"{self.fingerprint}; use the space it was made for."
            )
        fault = moves.first_fault(self.program, self.order, architecture.decisions)
        if fault is not None:
            index, options = fault
            read, option = self.choices[index], architecture.decisions[index]
            given = read.labels[option] if 0 <= option < len(read.labels) else "no option"
            wanted = [read.labels[o] for o in options] if options is not None else "none, for it is inactive"
            raise ArchitectureError(f"choice '{read.name}' was given {given}; expected {wanted}.")
        return architecture

    def describe(self, architecture: Architecture) -> dict[str, str]:
        """Return the label of every active choice by name."""
        pairs = zip(self.choices, architecture.decisions, strict=True)
        return {str(read.name): read.labels[option] for read, option in pairs if option >= 0}

    def to_json(self, architecture: Architecture) -> dict[str, Any]:
        """Return the architecture as plain data."""
        return {
            "space": self.space,
            "fingerprint": self.fingerprint,
            "decisions": self.describe(self.validated(architecture)),
        }

    def from_json(self, data: Mapping[str, Any]) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            ArchitectureError: the data are of another space or not an architecture.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("decisions"), Mapping):
            raise ArchitectureError(
                "the data hold no architecture; expected the keys 'space', 'fingerprint' and 'decisions'."
            )
        if data.get("fingerprint") != self.fingerprint:
            raise ArchitectureError(
                f"the architecture is of space '{data.get('space')}' ({data.get('fingerprint')}), not of "
                f"'{self.space}' ({self.fingerprint}); use the space it was made for."
            )
        return self.architecture(data["decisions"])
