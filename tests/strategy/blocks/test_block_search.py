"""Evolution towards the centre: who are parents, that nothing is visited twice, and what is recorded."""

import math

import numpy as np
import torch

from nasforge.space import Architecture
from nasforge.strategy.blocks.rating import centre_distance
from nasforge.strategy.blocks.search import by_centre, by_own, evolve, traverse


def path(number):
    return Architecture((number,), "tested")


class Rating:
    """Predictions turn away from the one target of all as the number of the path grows."""

    def __init__(self):
        self.asked = []

    def targets(self, path):
        return torch.tensor([1.0, 0.0]).expand(2, 3, 2).clone()

    def predictions(self, path):
        self.asked.append(path)
        angle = path.decisions[0] / 100
        return torch.tensor([math.cos(angle), math.sin(angle)]).expand(2, 3, 2).clone()


class Ways:
    """New paths are numbers that were not given yet; notes who the parents are."""

    def __init__(self):
        self.next, self.parents = 0, []

    def random(self, rng):
        self.next += 1
        return path(self.next)

    def mutated(self, parent, rng):
        self.parents.append((self.next, parent))
        return self.random(rng)

    def crossed(self, first, second, rng):
        self.parents += [(self.next, first), (self.next, second)]
        return self.random(rng)


def test_children_are_of_the_better_half_and_every_path_visited_is_rated_once():
    rating, ways = Rating(), Ways()
    found = evolve(rating, ways, by_centre, list, np.random.default_rng(0), 8, 3)
    assert {parent.decisions[0] for _, parent in ways.parents} == {1, 2, 3, 4}, "the nearest to the centre"
    assert len(found.paths) == len(set(found.paths)) == 8 + 3 * 4
    assert list(found.scores) == sorted(found.scores)
    assert sorted(set(rating.asked), key=lambda each: each.decisions) == list(found.paths)


def test_a_traversal_has_the_distances_to_the_mean_of_all_targets_and_to_the_own_target():
    class Own(Rating):
        def targets(self, path):
            return torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(path.decisions[0]))

    rating, paths = Own(), [path(number) for number in (1, 50, 120)]
    centres = sum(rating.targets(each) for each in paths) / 3
    to_centre = [centre_distance(rating.predictions(each), centres) for each in paths]
    own = [centre_distance(rating.predictions(each), rating.targets(each)) for each in paths]
    for compare, expected in ((by_centre, to_centre), (by_own, own)):
        for found in (
            traverse(rating, paths, compare, list),
            evolve(rating, Listed(paths), compare, list, np.random.default_rng(0), 3, 0),
        ):
            np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
            np.testing.assert_allclose(found.own, own, rtol=1e-5)
            torch.testing.assert_close(found.centres, centres)


class Listed:
    """Gives paths of a list, one after another."""

    def __init__(self, paths):
        self._left = iter(paths)

    def random(self, rng):
        return next(self._left)
