"""Search spaces: graphs with choices. Free of torch and of any IO."""

from nasforge.space.additive import AdditiveCost, WalkCost
from nasforge.space.architecture import Architecture
from nasforge.space.builder import inputs, one_of, operator_choice, repeat
from nasforge.space.choice import KINDS, Choice, Mapped, chain, choice, combine, linked, subset, when
from nasforge.space.lower import Lowered, LoweredNode, Step
from nasforge.space.node import Body, Input, Node, Operator, Types, boundary, select
from nasforge.space.search_space import SearchSpace
from nasforge.space.tensor import TensorType

__all__ = [
    "KINDS",
    "AdditiveCost",
    "Architecture",
    "Body",
    "Choice",
    "Input",
    "Lowered",
    "LoweredNode",
    "Mapped",
    "Node",
    "Operator",
    "SearchSpace",
    "Step",
    "TensorType",
    "Types",
    "WalkCost",
    "boundary",
    "chain",
    "choice",
    "combine",
    "inputs",
    "linked",
    "one_of",
    "operator_choice",
    "repeat",
    "select",
    "subset",
    "when",
]
