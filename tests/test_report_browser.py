"""The page of a run in a real browser: from a file, without network, by mouse and by keyboard."""

import base64
import io
import os
import shutil
import threading

import numpy as np
import pytest
from helpers import WRITTEN_EPOCHS, WRITTEN_LAYERS, write_run
from PIL import Image

from repdyn_keras import open_run
from repdyn_keras.figures.parts import style
from repdyn_keras.report import runs_html, write_report
from repdyn_keras.report.live import LivePage, Server

pytestmark = [pytest.mark.long, pytest.mark.without_keras, pytest.mark.needs("browser")]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STRANGE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "x" * 300)
CASES = {
    "plain": {},
    "one record": {"epochs": (0,)},
    "similarities alone": {"labels": False, "planes": False},
    "dead": {"bad": [(epoch, "stem", "dead") for epoch in WRITTEN_EPOCHS]},
    "strange": {"layers": (*STRANGE, "output")},
}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, f"needs a browser on the path: one of {', '.join(BROWSERS)}"
    with sync_playwright() as playwright:
        # Without its sandbox: in containers, root cannot start it otherwise.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    opened = open_run(write_run(tmp_path_factory.mktemp("run") / "run").path)
    write_report(opened)
    return opened


class Opened:
    """A page that was opened from its file, and what it said and asked for."""

    def __init__(self, browser, path, width=1280, **settings):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, **settings
        )
        self.page, self.problems = self.context.new_page(), []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.on("request", self.requested)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def requested(self, request):
        if not request.url.startswith("data:") and not request.is_navigation_request():
            self.problems.append(request.url)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()
        assert error[0] or self.problems == []


def shown(browser, run, **settings):
    return Opened(browser, run.folder.report_file, **settings)


@pytest.mark.parametrize("case", CASES)
def test_a_page_opens_from_its_file_without_network(case, browser, tmp_path):
    opened = open_run(write_run(tmp_path / "run", **CASES[case]).path)
    path = write_report(opened)
    for width, scheme in ((1280, "light"), (390, "dark")):
        with Opened(browser, path, width, color_scheme=scheme) as page:
            for details in page.page.query_selector_all("details[data-table] > summary"):
                details.click()
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
            panels = page.page.query_selector_all("#matrices figcaption")
            assert len(panels) == opened.dynamics.sizes["layer"]
            assert page.text("#story-title + ul").count("\n") >= 3


def value_text(dynamics, variable, layer, one, other) -> str:
    """What the page says of a cell, from the Dataset."""
    value = float(dynamics[variable].values[layer, one, other])
    low, high = dynamics[f"{variable}_interval"].values[layer, one, other]
    over = "images" if variable == "cka" else "planes"
    return f"{value:.3f} (95% interval over {over}: {low:.3f} to {high:.3f})."


def click_cell(page, layer, column, row, epochs=WRITTEN_EPOCHS):
    """Clicks a cell of a layer's matrix, whose edges are in the middle between records."""
    at = np.log2(1 + np.array(epochs, float))
    edges = np.r_[1.5 * at[0] - at[1] / 2, (at[1:] + at[:-1]) / 2, 1.5 * at[-1] - at[-2] / 2]
    share = (at - edges[0]) / (edges[-1] - edges[0])
    canvas = page.locator("#matrices canvas").nth(layer)
    box = canvas.bounding_box()
    canvas.click(
        position={"x": share[column] * box["width"], "y": (1 - share[row]) * box["height"]}
    )


def test_values_shown_are_those_of_the_dataset(browser, run):
    dynamics = run.dynamics
    with shown(browser, run) as page:
        for layer, column, row in ((0, 2, 7), (3, 9, 1), (5, 4, 4)):
            click_cell(page.page, layer, column, row)
            expected = value_text(dynamics, "cka", layer, column, row)
            assert page.text("#pair-text").endswith(expected)
            epochs = f"epochs {WRITTEN_EPOCHS[column]} and {WRITTEN_EPOCHS[row]}"
            assert f"{WRITTEN_LAYERS[layer]} between {epochs}" in page.text("#pair-text")
        page.page.get_by_label("Region agreement").check()
        expected = value_text(dynamics, "region_agreement", 5, 4, 4)
        assert page.text("#pair-text").endswith(expected)
        page.page.select_option("#axis", "linear")
        page.page.click("details[data-table=similarity] > summary")
        rows = [
            row.split("\t") for row in page.text("details[data-table=similarity] tbody").split("\n")
        ]
        table = np.array([[float(cell) for cell in row[1:]] for row in rows])
        expected = dynamics["region_agreement"].values[5]
        np.testing.assert_allclose(table, expected, atol=5e-4 + 1e-9)


def test_all_views_follow_the_slider_the_keys_and_the_button(browser, run):
    maps = run.dynamics["regions"].values
    with shown(browser, run) as page:
        slider = page.page.locator("#epoch")
        slider.focus()
        page.page.keyboard.press("Home")
        for step in range(3):
            assert page.text("#epoch-text") == f"epoch {WRITTEN_EPOCHS[step]}"
            for layer in range(len(WRITTEN_LAYERS)):
                assert (drawn_classes(page, layer) == maps[layer, step, 0]).all()
            page.page.keyboard.press("ArrowRight")
        page.page.locator("#matrices canvas").nth(1).focus()
        page.page.keyboard.press("ArrowRight")
        assert page.text("#epoch-text") == f"epoch {WRITTEN_EPOCHS[4]}"
        page.page.locator("body").evaluate("document.activeElement.blur()")
        page.page.keyboard.press("ArrowLeft")
        assert page.text("#epoch-text") == f"epoch {WRITTEN_EPOCHS[3]}"
        page.page.locator("#planes input").nth(1).check()
        assert (drawn_classes(page, 2) == maps[2, 3, 1]).all()
        page.page.click("#play")
        page.page.wait_for_selector("#play[aria-pressed=true]")
        page.page.wait_for_selector("#play[aria-pressed=false]")
        assert page.text("#epoch-text") == f"epoch {WRITTEN_EPOCHS[-1]}"


def drawn_classes(page, layer) -> np.ndarray:
    """The classes of a map, from the colours of its pixels; row 0 at the bottom."""
    canvas = page.page.locator("#regions canvas").nth(layer)
    _, _, data = canvas.evaluate("canvas => canvas.toDataURL()").partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    colors = np.asarray(picture, float)[::-1, :, None]
    palette = np.array([style.class_color(index) for index in range(10)]) * 255
    return np.abs(colors - palette.round()).sum(-1).argmin(-1)


def test_a_watched_run_shows_new_records_where_one_looks(browser, tmp_path):
    folder, later = tmp_path / "run", tmp_path / "later"
    write_run(folder, epochs=WRITTEN_EPOCHS[:8])
    write_run(later, epochs=WRITTEN_EPOCHS)
    with Server(LivePage(folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#epoch").get_attribute("max") == "7"
        click_cell(page, 2, 3, 7, WRITTEN_EPOCHS[:8])
        page.get_by_label("Region kappa").check()
        shutil.copytree(later, folder, dirs_exist_ok=True)
        page.wait_for_selector("#epoch[max='10']", timeout=30_000)
        assert page.inner_text("#epoch-text") == f"epoch {WRITTEN_EPOCHS[3]}"
        expected = f"Region kappa of {WRITTEN_LAYERS[2]} between epochs {WRITTEN_EPOCHS[3]} and 32"
        assert page.inner_text("#pair-text").startswith(expected), "the last record stays the last"
        server.shutdown()
    page.wait_for_selector("#ended", timeout=30_000)
    page.close()


def test_several_runs_follow_the_same_epoch_and_choice(browser, run, tmp_path):
    fewer = (0, 1, 4, 16, 32)
    other = open_run(write_run(tmp_path / "other", WRITTEN_LAYERS[1:], fewer).path)
    file = tmp_path / "report.html"
    file.write_text(runs_html([run, other]), encoding="utf-8")
    page = browser.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    frames = [page.frame_locator("iframe").nth(index) for index in range(2)]
    for frame in frames:
        frame.locator("html[data-ready]").wait_for()
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#epoch-text") == "epoch 3"
    assert frames[0].locator("#epoch-text").inner_text() == "epoch 3"
    assert frames[1].locator("#epoch-text").inner_text() == "epoch 4", "the nearest record"
    frames[0].get_by_label("Region agreement").check()
    frames[0].locator("#matrices canvas").nth(2).press("ArrowRight")
    said = frames[1].locator("#pair-text")
    begin = f"Region agreement of {WRITTEN_LAYERS[2]} between epochs 4 and "
    page.wait_for_timeout(300)
    assert said.inner_text().startswith(begin)
    assert problems == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(scheme, browser, run):
    from axe_playwright_python.sync_playwright import Axe

    with shown(browser, run, color_scheme=scheme, bypass_csp=True) as page:
        for details in page.page.query_selector_all("details > summary"):
            details.click()
        found = Axe().run(page.page).response["violations"]
        text = [f"{each['id']}: {each['help']} {each['nodes'][0]['html']}" for each in found]
        assert text == [], os.linesep.join(text)
