"""Cells of blocks (NASNet and its kin): how published ones are written, and which of their states are read.

A cell of such a space is a list of blocks; a block takes two operations, each on a state, 0 and 1 being the two cells
before. Choices are named by cell, block and side: `normal.b1.op1`, `normal.b1.in1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nasforge.errors import SpaceError
from nasforge.space.choice import Choice, Expression, combine

SIDES: Final = (1, 2)


def cell_options(cells: Mapping[str, str]) -> dict[str, str]:
    """Return the options by choice of written cells.

    Args:
        cells: by kind, blocks separated by semicolons, each of two operations followed by the state it reads:
            `sep_conv_5x5 0 sep_conv_3x3 1; avg_pool_3x3 0 identity 1`.

    Raises:
        SpaceError: a block that is not of four words.

    >>> cell_options({"normal": "identity 0 conv_1x1 1"})["normal.b1.op2"]
    'conv_1x1'
    """
    options = {}
    for kind, text in cells.items():
        for b, block in enumerate(text.split(";"), 1):
            words = block.split()
            if len(words) != 2 * len(SIDES):
                raise SpaceError(
                    f"block {b} of cell '{kind}' is written as '{block.strip()}'; expected two operations, each "
                    "followed by the number of the state it reads."
                )
            for side in SIDES:
                options[f"{kind}.b{b}.op{side}"], options[f"{kind}.b{b}.in{side}"] = words[2 * side - 2 : 2 * side]
    return options


def states_read(reads: Sequence[Choice], first: int = 0) -> Expression:
    """Return the expression of the states that some choice reads, in ascending order.

    Args:
        reads: choices of a state; their options are numbers.
        first: states before it are left out, and it is counted as 0.
    """

    def with_state(taken: tuple[int, ...], state: int) -> tuple[int, ...]:
        return tuple(sorted({*taken, state - first})) if state >= first else taken

    found: Expression = reads[0].map(lambda state: with_state((), state))
    for read in reads[1:]:
        found = combine(with_state, found, read)
    return found


__all__ = ["cell_options", "states_read"]
