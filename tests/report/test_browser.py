"""The page in a real browser, offline: plots are drawn, the console stays silent, hostile text does nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nasforge.report import write_report
from nasforge.space import SearchSpace

pytestmark = pytest.mark.browser

MakeRun = Callable[..., tuple[Path, SearchSpace]]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
NO_SCRIPTS = "--blink-settings=scriptEnabled=false"
HOSTILE = (
    "</script><script>document.documentElement.id='owned'</script><img src=x onerror=\"document.body.id='owned'\">"
)


@pytest.fixture
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, list[str]]]:
    """Return a function that opens a page and gives standard output and the lines of the console."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is not installed; apt-get install chromium"

    def open_page(page: Path, *flags: str) -> tuple[str, list[str]]:
        profile = tmp_path_factory.mktemp("profile")
        command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


Browse = Callable[..., tuple[str, list[str]]]


def picture(browse: Browse, page: Path, *flags: str) -> npt.NDArray[np.uint8]:
    file = page.with_suffix(".png")
    browse(page, f"--screenshot={file}", "--window-size=1280,1600", *flags)
    return np.asarray(Image.open(file).convert("RGB"))


def test_the_console_of_this_browser_is_heard(browse: Browse, tmp_path: Path) -> None:
    """Without this the tests below could not fail."""
    page = tmp_path / "broken.html"
    page.write_text("<!DOCTYPE html><body><script>missing();</script></body>", encoding="utf-8")
    _, console = browse(page, "--dump-dom")
    assert len(console) == 1
    assert "missing is not defined" in console[0]


def test_both_plots_are_drawn_and_the_console_is_silent(browse: Browse, make_run: MakeRun) -> None:
    page = write_report(*make_run(limit="50ms", count=9, failed=4))
    dom, console = browse(page, "--dump-dom")
    assert console == []
    for name in ("pareto", "curve"):
        plot = re.search(rf'<div id="{name}".*?<figcaption>', dom, re.DOTALL)
        assert plot is not None
        assert 'class="main-svg"' in plot[0]
        assert plot[0].count('class="point"') >= 8
        assert "could not draw" not in plot[0]
    assert "limit 50 ms" in dom


def test_the_page_is_not_blank_in_light_or_dark(browse: Browse, make_run: MakeRun) -> None:
    page = write_report(*make_run())
    light, dark = picture(browse, page, LIGHT), picture(browse, page, DARK)
    assert light.shape == dark.shape == (1600, 1280, 3)
    assert np.median(light) > 230
    assert np.median(dark) < 60
    for image in (light, dark):
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 200
        busy = (image.std(axis=(1, 2)) > 4).mean()
        assert busy > 0.5  # something on most lines, down to the end of the window


def test_the_accent_colour_of_each_scheme_reaches_the_plots(browse: Browse, make_run: MakeRun) -> None:
    page = write_report(*make_run())
    for scheme, colour in ((LIGHT, "rgb(36, 87, 197)"), (DARK, "rgb(127, 166, 255)")):
        dom, console = browse(page, "--dump-dom", scheme)
        assert console == []
        assert f"stroke: {colour}" in dom


def test_without_scripts_everything_but_the_plots_is_there(browse: Browse, make_run: MakeRun) -> None:
    page = write_report(*make_run())
    image = picture(browse, page, NO_SCRIPTS, LIGHT)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
    text = page.read_text(encoding="utf-8")
    body = text[text.index("<main>") : text.index("</main>")]
    for part in ("Finalists", "nasforge-drawing", "How it was made", "The plots need JavaScript"):
        assert part in body


def test_hostile_names_do_nothing(browse: Browse, make_run: MakeRun, space_of: Callable[..., SearchSpace]) -> None:
    space = space_of(HOSTILE, stem=HOSTILE, labels=(f"{HOSTILE}1", f"{HOSTILE}2"))
    settings = {"space": HOSTILE, "strategy": HOSTILE, "data": HOSTILE}
    made = make_run(space=space, error=HOSTILE, source=HOSTILE, settings=settings)
    dom, console = browse(write_report(*made), "--dump-dom")
    assert console == []
    assert 'id="owned"' not in re.sub(r"<!--.*?-->", "", dom)
    assert dom.count('class="main-svg"') >= 2
