"""The page of a run: every figure with its origin, nothing from outside, foreign text as text."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.config import compose
from nasforge.report import write_report
from nasforge.report.contents import read_contents
from nasforge.report.markup import element
from nasforge.report.origin import search_command
from nasforge.report.plots import figures
from nasforge.report.template import embedded_json
from nasforge.run.folder import RunFolder
from nasforge.run.result import read_result, write_result
from nasforge.run.settings import Settings
from nasforge.space import SearchSpace

MakeRun = Callable[..., tuple[Path, SearchSpace]]
HOSTILE = "</title></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&<!--body-->"


@final
class Page(HTMLParser):
    """What a browser would see: elements in order, their attributes, text by section, numbers, scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.numbers: dict[str, list[float]] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "data":
            found = dict(attrs)
            metric = str(found.get("title")).split(" = ")[0]
            self.numbers.setdefault(metric, []).append(float(str(found["value"])))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def page_of(made: tuple[Path, SearchSpace]) -> Page:
    return Page(write_report(*made).read_text(encoding="utf-8"))


def test_the_page_holds_every_figure_of_the_best_exactly(make_run: MakeRun) -> None:
    made = make_run()
    page = page_of(made)
    metrics = read_result(made[0])["best"]["metrics"]
    assert len(metrics) >= 10
    for name, value in metrics.items():
        assert value in page.numbers[name], name


def test_every_finalist_has_its_row_with_prediction_measurement_and_error(make_run: MakeRun) -> None:
    made = make_run()
    page = page_of(made)
    finalists = read_result(made[0])["finalists"]
    assert len(finalists) == 3
    for finalist in finalists:
        assert finalist["id"] in page.text
        for name in ("latency_ms_predicted", "latency_ms", "latency_error", "params", "macs"):
            assert finalist["metrics"][name] in page.numbers[name]
    assert page.text.count("chosen") >= 1


def test_the_finalists_of_a_search_are_not_compared_across_weights(make_run: MakeRun) -> None:
    """The winner's accuracy in the search stands in the others' column, and its accuracy at the end in another."""
    made = make_run()
    write_report(*made)
    text = (made[0] / "report.html").read_text(encoding="utf-8")
    row = re.search(r'<tr class="chosen">.*?</tr>', text, re.DOTALL)
    assert row is not None
    best = read_result(made[0])["best"]["metrics"]
    shown = [float(value) for value in re.findall(r'value="([^"]+)"', row[0])]
    assert shown[:3] == [best["accuracy_valid_in_search"], best["accuracy_valid"], best["accuracy"]]


def test_provenance_is_written_word_for_word(make_run: MakeRun) -> None:
    made = make_run(source="measured by size, 3 times; said exactly so")
    page = page_of(made)
    result = read_result(made[0])
    best = result["best"]["provenance"]
    for sentence in (best["weights"], best["latency"], *best["splits"].values(), result["latency"]["source"]):
        assert sentence in page.text
    assert "No error was validated" in page.text


def test_a_figure_is_said_to_be_on_a_split_only_where_it_was_measured_on_it(make_run: MakeRun) -> None:
    text = write_report(*make_run()).read_text(encoding="utf-8")
    row = r'<code>(\w+)</code></th><td><data[^>]*>[^<]*</data></td><td class="text">([^<]*)</td>'
    origin = dict(re.findall(row, text))
    assert origin["accuracy"].startswith("split: test; weights: retrained from scratch")
    assert "split: valid" in origin["accuracy_valid_in_search"]
    assert "trained briefly" in origin["accuracy_valid_in_search"]
    assert origin["train_seconds"].startswith("as the evaluation gave it")


def test_a_run_within_its_limit_says_verified(make_run: MakeRun) -> None:
    text = page_of(make_run(limit="50ms")).text
    assert "VERIFIED The delivered file was measured" in text
    assert "the limit is 50 ms" in text
    assert "NOT VERIFIED" not in text
    assert "LIMIT MISSED" not in text


def test_a_run_that_misses_its_limit_says_so_with_both_figures(make_run: MakeRun) -> None:
    made = make_run(limit="50ms", factor=40.0)
    text = page_of(made).text
    assert "LIMIT MISSED No finalist was within the limits as measured." in text
    assert "limit is 50 ms" in text
    assert "VERIFIED The" not in text


def test_a_run_that_was_not_measured_says_not_verified_and_why(make_run: MakeRun) -> None:
    text = page_of(make_run(factor=None)).text
    assert "NOT VERIFIED the latency is predicted, not measured: no such device is here." in text
    assert "latency, predicted" in text


def test_a_run_that_found_nothing_still_has_a_page(make_run: MakeRun) -> None:
    text = page_of(make_run(found=False)).text
    assert "No network was chosen." in text
    assert "No architecture reached the final." in text


def test_the_page_loads_nothing(make_run: MakeRun) -> None:
    page = page_of(make_run())
    loading = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href", "formaction"}
    assert not [each for each in page.attributes if each[1] in loading]
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "embed", "base", "img", "form")]
    style = (Path(write_report.__code__.co_filename).parent / "style.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in str(value))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_plotly_is_in_the_page(make_run: MakeRun) -> None:
    from plotly.offline import get_plotlyjs

    scripts = page_of(make_run()).scripts
    assert gzip.decompress(base64.b64decode(scripts[1])).decode() == get_plotlyjs()
    assert len(scripts[1]) < 2_500_000


def test_foreign_text_changes_no_element_of_the_page(make_run: MakeRun, space_of: Callable[..., SearchSpace]) -> None:
    """The same run once with plain and once with hostile names: the page must have the same elements."""

    def made(name: str, foreign: str) -> Page:
        settings = {"strategy": {"name": foreign, "note": foreign}, "data": foreign, "space": foreign}
        space = space_of(foreign, stem=foreign, labels=(f"{foreign}1", f"{foreign}2"))
        return page_of(make_run(name, space=space, error=foreign, source=foreign, settings=settings))

    plain, hostile = made("plain", "plain"), made("<b>&\"'", HOSTILE)
    assert hostile.tags == plain.tags
    assert HOSTILE in "".join(hostile.texts)
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    assert len(hostile.scripts) == len(plain.scripts) == 3
    assert "<" not in hostile.scripts[0]
    assert not set(re.findall(r"<(?!br>)[^<>]*>", json.loads(hostile.scripts[0])["pareto"]["data"][0]["text"][0]))


@given(st.text())
def test_any_text_comes_back_from_an_element(text: str) -> None:
    found = Page(element("p", text, title=text))
    allowed = "".join(found.texts)
    assert len(allowed) == len(text.replace("\r\n", "\n")) or "\r" in text
    assert [tag for tag, _ in found.tags] == ["p"]
    if text.isprintable():
        assert allowed == text
        assert found.attributes[0][2] == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_embedded_json_reads_back_and_cannot_leave_its_element(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_page_depends_on_the_folder_alone(make_run: MakeRun) -> None:
    made = make_run()
    first = write_report(*made).read_bytes()
    assert write_report(*made).read_bytes() == first


def test_a_report_changes_no_other_file_and_needs_no_lock(make_run: MakeRun) -> None:
    folder, space = make_run()
    with (folder / "study.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "torn')
    with RunFolder.open(folder):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        write_report(folder, space)
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
    after.pop("report.html")
    assert after == before


def test_passwords_of_the_configuration_are_not_in_the_page(make_run: MakeRun) -> None:
    folder, space = make_run()
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config + "storage: postgresql://me:hidden@host/db\n", encoding="utf-8")
    page = write_report(folder, space).read_text(encoding="utf-8")
    assert "postgresql://me:***@host/db" in page
    assert "hidden@" not in page


SETTINGS = [
    {},
    {"seed": 7, "budget": "12-evaluations", "limits": {"latency": "5ms", "params": 2_000_000, "macs": "3M"}},
    {"space": {"name": "mbconv", "width": 0.5, "preset": "tiny"}, "strategy": {"name": "evolution", "population": 12}},
    {"training": {"epochs": 3, "optimiser": "sgd"}, "finalists": 2, "data": "fractals", "data_options": {"classes": 5}},
    {"strategy": {"name": "random"}, "data": "image_folder:a folder/it's [here]", "retrain": False},
]


@pytest.mark.plugins
@pytest.mark.parametrize("given_settings", SETTINGS)
def test_the_command_in_the_page_asks_for_the_same_search(
    make_run: MakeRun, given_settings: dict[str, Any], tmp_path: Path
) -> None:
    folder, space = make_run()
    settings = Settings.read(given_settings)
    with RunFolder.open(folder) as opened:
        opened.write_config(settings.to_json())
    (folder / "architecture.json").unlink()
    command = search_command(read_contents(folder, space))
    assert command is not None
    words = shlex.split(command)
    assert words[:2] == ["nasforge", "search"]
    flags = [at for at, word in enumerate(words) if word.startswith("--")]
    options = {words[at]: words[at + 1] for at in flags}
    overrides = [word for at, word in enumerate(words[2:], 2) if at not in flags and at - 1 not in flags]
    groups = {key: options.pop(f"--{key}", None) for key in ("space", "strategy", "target", "task")}
    keys = {"--max-latency": "limits.latency", "--max-params": "limits.params", "--max-macs": "limits.macs"}
    values = {keys.get(flag, flag.removeprefix("--")): value for flag, value in options.items()}
    values["seed"] = int(values["seed"])
    found = compose(groups, values, overrides).settings
    assert found == settings


def test_a_search_that_was_started_with_objects_has_no_command(make_run: MakeRun) -> None:
    assert search_command(read_contents(*make_run())) is None


def test_the_plots_show_all_evaluations_and_failures(make_run: MakeRun) -> None:
    found = figures(read_contents(*make_run(count=9, failed=4)))
    names = {trace["name"]: trace for trace in found["curve"]["data"]}
    assert len(names["evaluated"]["x"]) == 8
    assert names["failed"]["x"] == [5]
    assert "loss became NaN" in names["failed"]["text"][0]


def test_a_foreign_profile_is_named_at_the_head_and_below_the_finalists(make_run: MakeRun) -> None:
    folder, space = make_run()
    assert "FOREIGN" not in page_of((folder, space)).text
    result = read_result(folder)
    result["latency"]["details"] = {"warning": "FOREIGN PROFILE: measured on <i>Other</i>"}
    write_result(folder, result)
    text = write_report(folder, space).read_text(encoding="utf-8")
    said = "FOREIGN PROFILE: measured on &lt;i&gt;Other&lt;/i&gt;"
    head, _, rest = text.partition("Finalists</h2>")
    assert said in head
    assert said in rest.partition("</section>")[0]


def test_what_the_measurement_says_of_the_host_stands_in_the_banner(make_run: MakeRun) -> None:
    folder, space = make_run(limit="50ms")
    result = read_result(folder)
    result["best"]["provenance"]["measurement"]["noise"] = "not certified: others compute"
    write_result(folder, result)
    text = page_of((folder, space)).text
    assert "the limit is 50 ms; not certified: others compute." in text
    assert "NOT CERTIFIED The delivered file was measured" in text
    assert "VERIFIED" not in text


@pytest.mark.parametrize("cost", [None, {}, "free", {"training": 3, "rating": {"forward": "many"}}])
def test_a_result_without_counts_or_with_others_has_a_page(cost: Any, make_run: MakeRun) -> None:
    folder, space = make_run()
    write_result(folder, {**read_result(folder), "cost": cost})
    assert "many" not in page_of((folder, space)).text


def test_what_the_search_cost_stands_on_the_page(make_run: MakeRun) -> None:
    folder, space = make_run()
    counts = {"steps": 120, "drawn": 7680, "forward": 480, "backward": 481, "image_macs": 3.25e12}
    write_result(folder, {**read_result(folder), "cost": {"training": counts}})
    text = write_report(folder, space).read_text(encoding="utf-8")
    for part in ("What the search cost", "7,680", ">480<", ">481<", "3.25e+12"):
        assert part in text
