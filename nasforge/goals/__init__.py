"""What a search wants: objectives to improve, constraints that hold, and dominance between results."""

from nasforge.goals.constraint import Constraint
from nasforge.goals.objective import Objective, objective_of
from nasforge.goals.pareto import dominates, front_numbers, hypervolume, pareto_front

__all__ = ["Constraint", "Objective", "dominates", "front_numbers", "hypervolume", "objective_of", "pareto_front"]
