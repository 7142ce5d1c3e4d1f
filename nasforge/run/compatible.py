"""Which strategies can search which spaces, found by asking them."""

from __future__ import annotations

from nasforge.errors import IncompatibleError, NasforgeError, SpaceError
from nasforge.space import SearchSpace
from nasforge.strategy import Problem, Strategy, WeightSharing


def check_compatible(strategy: Strategy, space: SearchSpace, strategy_name: str) -> None:
    """Refuse a space that the strategy refuses, with a choice of a kind it does not handle or weights it cannot share.

    A choice that restriction has left one option decides nothing, and so is of no kind.

    Raises:
        IncompatibleError: names the strategy, the space and the choice or the node.
        UsageError: an option of the strategy names something that the space does not have.
    """
    if strategy.handles is not None:
        for read, allowed in zip(space.choices, space.allowed, strict=True):
            if len(allowed) > 1 and read.kind not in strategy.handles:
                article = "an" if read.kind[0] in "aeiou" else "a"
                raise IncompatibleError(
                    f"strategy '{strategy_name}' cannot search space '{space.name}': choice '{read.name}' decides "
                    f"{article} {read.kind}, and the strategy handles {', '.join(sorted(strategy.handles))}; take "
                    "another strategy."
                )
    if isinstance(strategy, WeightSharing):
        from nasforge.build.variants import checked_variants  # brings torch, which others do not need

        try:
            checked_variants(space)
        except SpaceError as error:
            raise IncompatibleError(
                f"strategy '{strategy_name}' cannot search space '{space.name}': {error}"
            ) from error
    strategy.check_space(space)


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
