"""The top of the page: what was searched, how it ended, and the figures that matter."""

from __future__ import annotations

from typing import Any, Final

from nasforge.report.contents import Contents, Entry
from nasforge.report.markup import Content, Markup, element
from nasforge.report.quantity import NOTHING, number, quantity, seconds_text, short_count, tested, text_of, words
from nasforge.run.result import latency_warning, measurement_noise

MEASURED: Final = "latency_ms"
PREDICTED: Final = "latency_ms_predicted"


def title(contents: Contents) -> str:
    """Return what was searched, in one line."""
    name = {key: str(contents.result[key].get("name", NOTHING)) for key in ("space", "strategy", "target")}
    data = str(contents.result["task"].get("data", NOTHING))
    return f"{name['space']} by {name['strategy']} for {name['target']} on {data}"


def headline(contents: Contents) -> Markup:
    """Return heading, banner and cards."""
    warning = latency_warning(contents.result)
    notes = [
        element("p", element("b", f"{name}: "), note, class_="banner note") for name, note in contents.notes.items()
    ]
    return element(
        "header",
        element("p", "nasforge search report", class_="kicker"),
        element("h1", title(contents)),
        element("p", _sentence(contents), class_="lead"),
        _banner(contents),
        *(_notice("warn", "WARNING", f"{each[:1].upper()}{each[1:]}") for each in contents.result.get("warnings", ())),
        _notice("warn", "WARNING", f"Predicted latencies: {warning}.") if warning else None,
        *notes,
        _cards(contents),
    )


def quality_metric(contents: Contents, entry: Entry) -> str:
    """Return the metric that says how good the network is: on test where it was tested."""
    metric = contents.objective.metric
    final = tested(metric)
    return final if final in entry.metrics else metric


def _sentence(contents: Contents) -> str:
    result = contents.result
    count = result["evaluations"]
    total = number(result["seconds"].get("total"))
    time = "" if total is None else f" in {seconds_text(total)}"
    return (
        f"{count:,} architecture{'' if count == 1 else 's'} evaluated{time}, "
        f"{len(contents.finalists)} in the final; seed {result['seed']}."
        if isinstance(count, int)
        else f"Seed {result['seed']}."
    )


def _banner(contents: Contents) -> Markup:
    best, limit = contents.best, contents.limit_ms
    missed = contents.result["status"] == "limit_missed"
    if best is None:
        return _notice("bad", "LIMIT MISSED" if missed else "NO NETWORK", "No network was chosen.")
    latency = best.metrics.get(MEASURED)
    bound = "" if limit is None else f"; the limit is {limit:g} ms"
    if missed:
        found = "" if latency is None else f" The fastest takes {text_of(MEASURED, latency)}{bound}."
        return _notice("bad", "LIMIT MISSED", f"No finalist was within the limits as measured.{found}")
    if not best.verified:
        reason = best.provenance.get("unverified", "the latency was not measured.")
        return _notice("warn", "NOT VERIFIED", str(reason))
    said = measurement_noise(best.provenance)
    noise = f"; {said}" if said else ""
    return _notice(
        "warn" if noise else "good",
        "NOT CERTIFIED" if noise else "VERIFIED",
        f"The delivered file was measured on the target: {text_of(MEASURED, latency)}{bound}{noise}.",
    )


def _notice(kind: str, word: str, text: str) -> Markup:
    return element("p", element("strong", word), " ", text, class_=f"banner {kind}", role="status")


def _cards(contents: Contents) -> Markup | None:
    best = contents.best
    if best is None:
        return None
    metric = quality_metric(contents, best)
    measured = MEASURED in best.metrics
    latency = MEASURED if measured else PREDICTED
    limit = "no limit" if contents.limit_ms is None else f"limit {contents.limit_ms:g} ms"
    predicted = best.metrics.get(PREDICTED)
    also = f"{limit}, predicted {text_of(PREDICTED, predicted)}" if measured and predicted is not None else limit
    cards = [
        _card(words(metric), quantity(metric, best.metrics.get(metric)), _split(best, metric)),
        _card(
            f"latency, {'measured' if measured else 'predicted'}", quantity(latency, best.metrics.get(latency)), also
        ),
        _count(best, "params", "parameters", contents.limits.params),
        _count(best, "macs", "MACs", contents.limits.macs),
    ]
    if "accuracy_int8" in best.metrics:
        int8 = quantity("accuracy_int8", best.metrics["accuracy_int8"])
        cards.insert(1, _card("accuracy of the INT8 file", int8, "model.int8.onnx"))
    return element("div", *cards, class_="cards")


def _split(best: Entry, metric: str) -> str:
    splits: Any = best.provenance.get("splits")
    split = splits.get(metric) if isinstance(splits, dict) else None
    weights = best.provenance.get("weights")
    return ", ".join(str(each) for each in (f"on {split}" if split else None, weights) if each)


def _count(best: Entry, metric: str, name: str, limit: int | None) -> Markup:
    value = best.metrics.get(metric)
    text = "no limit" if limit is None else f"limit {short_count(limit)}"
    if value is None:
        return _card(name, NOTHING, text)
    exact = f"{value:.0f}"
    return _card(name, element("data", short_count(value), value=exact, title=f"{metric} = {exact}"), text)


def _card(name: str, value: Content, detail: str) -> Markup:
    return element(
        "div",
        element("span", name, class_="name"),
        element("span", value, class_="value"),
        element("span", detail, class_="detail"),
        class_="card",
    )
