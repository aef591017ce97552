"""The page of a study: its findings with their pictures, its calibration and its runs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from repdyn_keras.dynamics import open_run
from repdyn_keras.errors import InputError
from repdyn_keras.figures import finding
from repdyn_keras.records.atomic import write_bytes
from repdyn_keras.report import write_report
from repdyn_keras.report.run_page import asset, policy, template, trusted, version
from repdyn_keras.report.svg import figure_svg
from repdyn_keras.study.findings import findings
from repdyn_keras.study.findings_text import format_interval, format_p, format_signed
from repdyn_keras.study.study_folder import Stage
from repdyn_keras.study.summary import open_summary
from repdyn_keras.study.verdicts import CONTRADICTED, SUPPORTED
from repdyn_keras.text import format_names, visible

if TYPE_CHECKING:
    import xarray

FILE = "report.html"
GROUPS = {True: "By CKA", False: "By region agreement (secondary, corrected apart)"}
MAX_TITLE = 200


def write_study_report(path: Path, wrote=lambda file: None) -> Path:
    """Writes the page of a study, and those of its runs whose results were kept.

    Args:
        path: the folder of the study.
        wrote: called with the path of every file.

    Returns:
        The path of the study's page.

    Raises:
        InputError: the study has no summary yet, or a file is damaged.
        StorageError: a file cannot be written.
    """
    tested = findings(open_summary(path))
    pages, broken = {}, {}
    for results in sorted((path / Stage.RUNS.value).glob("*/dynamics.nc")):
        name = results.parent.name
        if not results.with_name("finished.toml").is_file():
            continue
        try:
            run = open_run(results.parent)
            with run.folder.locked():
                page = write_report(run)
        except InputError as error:
            broken[name] = str(error)
            continue
        wrote(page)
        pages[name] = quote(page.relative_to(path).as_posix())
    file = path / FILE
    write_bytes(file, study_html(tested, pages, broken).encode("utf-8"))
    wrote(file)
    return file


def study_html(
    tested: "xarray.Dataset",
    pages: Mapping[str, str] | None = None,
    broken: Mapping[str, str] | None = None,
) -> str:
    """The page of a study, as HTML that requests nothing from any host.

    Args:
        tested: its findings.
        pages: addresses of the pages of its runs, by their names.
        broken: runs that cannot be read, and why.
    """
    missing = json.loads(tested.attrs["missing"]) | dict(broken or {})
    rows = [finding_row(tested, str(name)) for name in tested["row"].values]
    groups = [
        {"name": name, "rows": [row for row in rows if row["primary"] == primary]}
        for primary, name in GROUPS.items()
    ]
    return template("study.html.jinja").render(
        title=visible(tested.attrs["title"].rstrip(".") or "A study", MAX_TITLE),
        about=f"{tested.sizes['seed']} seeds; the claims of arXiv 2405.17377, tested",
        policy=policy(),
        style=trusted(asset("page.css")),
        story=story(rows),
        groups=[group for group in groups if group["rows"]],
        calibration=tested.attrs["calibration"],
        missing=sorted(missing.items()),
        pages=sorted((pages or {}).items()),
        version=version(),
    )


def story(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is supported, what is contradicted, and what is not decided, of the primary rows."""
    primary = [row for row in rows if row["primary"]]
    lines = []
    for verdict in (SUPPORTED, CONTRADICTED):
        claims = [row["claim"].rstrip(".") for row in primary if row["verdict"] == verdict]
        names = format_names(claims, len(primary)) if claims else "none"
        lines.append(f"{verdict.capitalize()}: {names}.")
    rest = sum(row["verdict"] not in (SUPPORTED, CONTRADICTED) for row in primary)
    lines.append(
        f"{rest} of {len(primary)} primary claims are neither; the table has the reasons. "
        "An undecided claim is not refuted."
    )
    return lines


def finding_row(tested: "xarray.Dataset", name: str) -> dict[str, Any]:
    """What the page shows of one row."""
    row = tested.sel(row=name)
    found = {key: str(row[key].values) for key in ("claim", "verdict", "reason")}
    found |= {key: str(row[key].values) for key in ("left_side", "right_side")}
    has_effect = bool(np.isfinite(row["effect"]))
    return found | {
        "name": name,
        "primary": bool(row["primary"]),
        "explanation": str(row["explanation"].values),
        "effect": f"{format_signed(row['effect'])} {format_interval(row)}".strip(),
        "p": format_p(row["p"]),
        "p_holm": format_p(row["p_holm"]),
        "pairs": int(row["pairs"]),
        "svg": trusted(figure_svg(finding(tested, name))) if has_effect else "",
        "seeds": [
            (int(seed), *(f"{float(row[side].sel(seed=seed)):.4f}" for side in ("left", "right")))
            for seed in tested["seed"].values
        ],
    }
