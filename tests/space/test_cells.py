"""Written cells: which options they are, and which states their blocks read."""

import itertools

import pytest

from nasforge.errors import SpaceError
from nasforge.space import choice
from nasforge.space.cells import cell_options, states_read


def test_a_written_cell_gives_the_options_of_both_sides_of_each_block():
    assert cell_options({"normal": "a 0 b 1; c 2 d 0", "reduction": "e 1 f 1"}) == {
        "normal.b1.op1": "a", "normal.b1.in1": "0", "normal.b1.op2": "b", "normal.b1.in2": "1",
        "normal.b2.op1": "c", "normal.b2.in1": "2", "normal.b2.op2": "d", "normal.b2.in2": "0",
        "reduction.b1.op1": "e", "reduction.b1.in1": "1", "reduction.b1.op2": "f", "reduction.b1.in2": "1",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a 0 b", "a 0 b 1;", "a 0 b 1 c 2"])
def test_a_block_of_other_than_four_words_is_refused(text):
    with pytest.raises(SpaceError, match="of cell 'normal' is written as"):
        cell_options({"normal": text})


@pytest.mark.parametrize("first", [0, 2])
def test_the_states_read_are_those_of_any_choice_counted_from_the_first(first):
    reads = [choice(*range(reach), name=f"in{place}") for place, reach in enumerate((2, 3, 4))]
    found = states_read(reads, first)
    assert found.choices == tuple(reads)
    for states in itertools.product(*(range(len(read.options)) for read in reads)):
        assert found.table[states] == tuple(sorted({state - first for state in states if state >= first}))
