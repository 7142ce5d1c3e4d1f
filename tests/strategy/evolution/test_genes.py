"""Genes: an operation with the state that it reads; redrawn together, exchanged by label, always legal."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.ops import Add, Conv, GlobalPool, Linear, Pool
from nasforge.space import Input, SearchSpace, choice, one_of, operator_choice, select
from nasforge.strategy.evolution.genes import exchange, genes, redraw
from nasforge.testing.small_spaces import elastic_space, path_space

LABELS = ("conv", "wide", "max", "avg")


def cell_space():
    """Declare a cell of three blocks; block b reads one of b states, declared state first on one side, last on one."""
    states = [Conv(4, 3)(Input(3, 8, 8), name="stem")]
    for b in range(1, 4):
        sides = []
        for side in "ab":
            reach = choice(*range(b), name=f"{b}{side}.in", kind="input")
            by = operator_choice(LABELS, name=f"{b}{side}.op")
            x = select(reach, states)
            made = [Conv(4, 1)(x), Conv(4, 3)(x), Pool("max", 3)(x), Pool("avg", 3)(x)]
            sides.append(one_of(made, by=by))
        states.append(Add()(*sides, name=f"{b}"))
    return SearchSpace({"logits": Linear(3)(GlobalPool()(Add()(*states[1:])))}, name="cell")


SPACE = cell_space()
NAMES = [str(read.name) for read in SPACE.choices]


def test_an_operation_and_the_state_it_reads_are_one_gene_and_other_choices_are_genes_alone():
    found = [tuple(NAMES[choice] for choice in gene) for gene in genes(SPACE)]
    assert found == [(f"{b}{side}.op", f"{b}{side}.in") for b in (1, 2, 3) for side in "ab"]
    for space in (path_space(), elastic_space()):
        assert genes(space) == tuple((choice,) for choice in range(len(space.choices)))


@pytest.mark.plugins
def test_the_cells_of_installed_spaces_have_pairs():
    pytest.importorskip("nasforge_spaces")
    from nasforge import registry

    for name, count, alone in (("eeea", 20, 0), ("nasnet", 20, 10), ("nb201", 0, 6)):
        space = registry.load("spaces", name)((3, 12, 12), 4)
        found = genes(space)
        assert sorted(choice for gene in found for choice in gene) == list(range(len(space.choices)))
        assert [sum(len(gene) == size for gene in found) for size in (2, 1)] == [count, alone]
        for operator, state in (gene for gene in found if len(gene) == 2):
            names = [str(space.choices[choice].name) for choice in (operator, state)]
            assert names[1] == names[0].replace("op", "in")


def changed(first, second):
    return {NAMES[i] for i, (a, b) in enumerate(zip(first.decisions, second.decisions, strict=True)) if a != b}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_redraw_touches_one_gene_and_reaches_every_option(seed):
    rng = np.random.default_rng(seed)
    parent = SPACE.sample(rng)
    for _ in range(5):
        child = redraw(SPACE, genes(SPACE), parent, rng)
        SPACE.validated(child)
        assert len({name.split(".")[0] for name in changed(parent, child)}) <= 1


def test_both_decisions_of_a_gene_are_redrawn_at_once():
    rng, parent = np.random.default_rng(0), SPACE.sample(np.random.default_rng(1))
    found = [changed(parent, redraw(SPACE, genes(SPACE), parent, rng)) for _ in range(400)]
    assert {"3a.op", "3a.in"} in found
    assert set() in found  # what is drawn may be what was there
    assert set().union(*found) >= {name for name in NAMES if not name.startswith("1") or ".op" in name}


def labels(architecture, gene):
    return [SPACE.choices[choice].labels[architecture.decisions[choice]] for choice in gene]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), back=st.booleans())
def test_an_exchange_gives_neighbours_each_other_s_options_where_they_are_in_reach(seed, back):
    rng = np.random.default_rng(seed)
    parent = SPACE.sample(rng)
    child = exchange(SPACE, genes(SPACE), parent, rng, back=back)
    SPACE.validated(child)
    touched = sorted({name.split(".")[0] for name in changed(parent, child)})
    found = {NAMES[gene[0]].split(".")[0]: gene for gene in genes(SPACE)}
    order = list(found)
    fits = [
        (one, other)
        for one, other in itertools.pairwise(order)
        if set(touched) <= {one, other}
        and _received(parent, child, found[other], found[one])
        and (_received(parent, child, found[one], found[other]) if back else other not in touched)
    ]
    assert fits


def _received(parent, child, source, target):
    """Say whether the target has in the child what the source had in the parent, if it can."""
    pairs = zip(labels(parent, source), labels(child, target), target, strict=True)
    return all(got == given or given not in SPACE.choices[choice].labels for given, got, choice in pairs)


def test_an_exchange_is_its_own_inverse_within_a_block_and_a_copy_is_not():
    gene = [each for each in genes(SPACE) if NAMES[each[0]].startswith("3")]
    for seed in range(50):
        rng = np.random.default_rng(seed)
        parent = SPACE.sample(rng)
        swapped = exchange(SPACE, gene, parent, rng)
        assert exchange(SPACE, gene, swapped, rng) == parent
        copied = exchange(SPACE, gene, parent, rng, back=False)
        assert labels(copied, gene[0]) == labels(copied, gene[1]) == labels(parent, gene[1])


def test_where_no_genes_decide_alike_nothing_is_exchanged():
    space, rng = elastic_space(), np.random.default_rng(0)
    alone = [gene for gene in genes(space) if str(space.choices[gene[0]].name) in ("width", "depth")]
    parent = space.sample(rng)
    assert exchange(space, alone, parent, rng) == parent


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_children_stay_within_a_restriction(seed):
    rng = np.random.default_rng(seed)
    small = SPACE.restrict({"2a.op": ["conv"], "3b.in": [0, 2], "3a.op": ["max", "avg"]})
    child = small.sample(rng)
    for _ in range(5):
        child = exchange(small, genes(small), redraw(small, genes(small), child, rng), rng)
        assert small.contains(child)
