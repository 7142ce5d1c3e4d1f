"""Which strategies can search which spaces, found by asking them."""

from __future__ import annotations

from nasforge.errors import IncompatibleError, NasforgeError
from nasforge.space import SearchSpace
from nasforge.strategy import Problem, Strategy


def check_compatible(strategy: Strategy, space: SearchSpace, strategy_name: str) -> None:
    """Refuse a space with a kind of choice that the strategy does not handle.

    Raises:
        IncompatibleError: names the strategy, the space and the choice.
    """
    if strategy.handles is None:
        return
    for read in space.choices:
        if read.kind not in strategy.handles:
            raise IncompatibleError(
                f"strategy '{strategy_name}' cannot search space '{space.name}': choice '{read.name}' decides an "
                f"{read.kind}, and the strategy handles {', '.join(sorted(strategy.handles))}; take another strategy."
            )


def why_incompatible(strategy: Strategy, space: SearchSpace, strategy_name: str) -> str | None:
    """Return the sentence that says why the pair cannot work; None where it can."""
    try:
        check_compatible(strategy, space, strategy_name)
        strategy.setup(Problem(space, costs={"macs": space.cost("macs"), "params": space.cost("params")}))
    except IncompatibleError as error:
        return str(error)
    except NasforgeError:
        return None
    return None
