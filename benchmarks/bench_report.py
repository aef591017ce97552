"""How large is the page of a run, how long does it take to make, and how fast does it answer?

python benchmarks/bench_report.py RUN [RUN ...]

Needs the extra `browser`, and Chromium or Chrome on the path. The page is opened from its file in a
headless browser. "first view" is the time from the start of the navigation until everything is
drawn; "a step of the slider" includes the drawing of all views and the layout.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from measuring import print_table
from playwright.sync_api import Page, sync_playwright

from repdyn_keras import open_run
from repdyn_keras.report import report_html

REPEATS = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STEP = """
(step) => {
  const slider = document.getElementById("epoch");
  const start = performance.now();
  slider.value = step;
  slider.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  return performance.now() - start;
}
"""


def rows_of(folder: str, page: Page) -> list[list]:
    """Size and times of the page of a run."""
    run = open_run(folder)
    dynamics = run.dynamics
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        html = report_html(run)
        seconds.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "report.html"
        file.write_text(html, encoding="utf-8")
        views = []
        for _ in range(REPEATS):
            page.goto("about:blank")
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]")
            views.append(page.evaluate("performance.now()"))
        steps = [page.evaluate(STEP, step) for step in range(dynamics.sizes["epoch"])]
    size = f"{dynamics.sizes['epoch']} epochs x {dynamics.sizes['layer']} layers"
    return [
        [size, "size of the page", f"{len(html.encode('utf-8')) / 1e6:.2f} MB", "<= 3 MB"],
        [size, "making the page", f"{statistics.median(seconds):.2f} s", "<= 5 s"],
        [size, "first view", f"{statistics.median(views) / 1000:.2f} s", "<= 1.5 s"],
        [size, "a step of the slider, median", f"{statistics.median(steps):.0f} ms", "<= 50 ms"],
        [size, "a step of the slider, slowest", f"{max(steps):.0f} ms", "-"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    program = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        rows = [row for run in runs for row in rows_of(run, page)]
        browser.close()
    print_table(["run", "what", "measured", "target"], rows, ["matplotlib", "playwright"])


if __name__ == "__main__":
    main()
