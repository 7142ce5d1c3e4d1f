"""A table of honest rankings: ratings by name, and below them everything that a reader should hold them against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nasforge.bench.ranking import MACS, PARAMS, Agreement, Ranking
from nasforge.errors import UsageError

HEADER: Final = (
    "what ranks", "architectures", "Spearman", "Kendall", "Spearman given MACs", "Kendall given MACs",
)  # fmt: skip


def ranking_rows(rankings: Mapping[str, Ranking]) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return header and rows of a table of ratings by name: each rating, then MACs, parameters, chance and ceiling.

    The rows of MACs and parameters are over the architectures of the rating that has most of them.

    Raises:
        UsageError: there is no rating.
    """
    if not rankings:
        raise UsageError("a table of rankings was given none; give at least one rating.")
    most = max(rankings.values(), key=lambda each: each.architectures)
    header, below = baseline_rows(most)
    return header, [_row(name, each, each.rating, list(most.chance)) for name, each in rankings.items()] + below


def baseline_rows(ranking: Ranking) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return header and rows of what a rating is held against: MACs, parameters, chance and the noise ceiling."""
    top, count = list(ranking.chance), ranking.architectures
    rows = [
        _row(named, ranking, ranking.agreement[key], top)
        for key, named in ((MACS, "MACs alone"), (PARAMS, "parameters alone"))
        if key in ranking.agreement
    ]
    rows.append(["chance", count, "", "", "", "", *(f"{ranking.chance[k]:.4f}" for k in top)])
    ceiling, blank = ranking.ceiling, ["", ""] + [""] * len(top)
    if ceiling is not None:
        rows.append(
            ["two seeds of the truth", ceiling.architectures, str(ceiling.spearman), str(ceiling.kendall), *blank]
        )
    if ceiling is not None and ceiling.perfect_spearman is not None:
        text = f"{ceiling.perfect_spearman:.2f}"
        rows.append([f"a perfect rating, {ceiling.seeds} seeds", ceiling.architectures, text, "", *blank])
    return (*HEADER, *(f"regret of the best {k}" if k > 1 else "regret of the best" for k in top)), rows


def _row(name: str, ranking: Ranking, found: Agreement, top: Sequence[int]) -> list[Any]:
    given = [str(each or "") for each in (found.spearman_given_macs, found.kendall_given_macs)]
    regret = [f"{found.regret[k]:.4f}" if k in found.regret else "" for k in top]
    return [name, ranking.architectures, str(found.spearman), str(found.kendall), *given, *regret]
