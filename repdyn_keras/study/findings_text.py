"""Findings as CSV, JSON and LaTeX."""

import csv
import io
import json
import math
from typing import Any

import numpy as np
import xarray as xr

from repdyn_keras.text import visible

LATEX_COLUMNS = ("Claim", "Effect", "95\\% interval", "$p$", "Holm $p$", "$n$", "Verdict")
LATEX_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
LATEX_SPECIAL |= {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
LATEX_SPECIAL |= {"<": "\\textless{}", ">": "\\textgreater{}"}
GROUPS = {True: "On CKA", False: "On region agreement"}


def as_csv(findings: xr.Dataset) -> str:
    """A line for each row: all its variables, then both sides of every seed.

    Args:
        findings: of `repdyn_keras.study.findings.findings`.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = _row_variables(findings)
    seeds = [int(seed) for seed in findings["seed"].values]
    sides = [f"{side}_{seed}" for seed in seeds for side in ("left", "right")]
    writer.writerow(["row", *names, *sides])
    for row in findings["row"].values:
        found = findings.sel(row=row)
        pairs = np.stack([found["left"].values, found["right"].values], axis=1).ravel()
        cells = [_value(found[name].values) for name in names] + [_value(x) for x in pairs]
        writer.writerow([str(row), *("" if cell is None else cell for cell in cells)])
    return file.getvalue()


def as_json(findings: xr.Dataset) -> str:
    """An object with the attributes, the seeds and the rows; NaN is null.

    Args:
        findings: of `repdyn_keras.study.findings.findings`.
    """
    names = _row_variables(findings)
    rows = []
    for row in findings["row"].values:
        found = findings.sel(row=row)
        values = {"row": str(row)} | {name: _value(found[name].values) for name in names}
        values |= {side: [_value(x) for x in found[side].values] for side in ("left", "right")}
        rows.append(values)
    attributes: dict[str, Any] = {name: _value(value) for name, value in findings.attrs.items()}
    for name in ("missing", "not_comparable"):
        attributes[name] = json.loads(findings.attrs[name])
    seeds = [int(seed) for seed in findings["seed"].values]
    return json.dumps(attributes | {"seeds": seeds, "rows": rows}, indent=2, allow_nan=False) + "\n"


def as_latex(findings: xr.Dataset) -> str:
    """A table for the package booktabs, with the primary rows above the secondary ones.

    Args:
        findings: of `repdyn_keras.study.findings.findings`.
    """
    lines = ["\\begin{tabular}{p{0.36\\linewidth}rlrrrl}", "\\toprule"]
    lines += [" & ".join(LATEX_COLUMNS) + " \\\\"]
    for primary, heading in GROUPS.items():
        lines += ["\\midrule", f"\\multicolumn{{{len(LATEX_COLUMNS)}}}{{l}}{{{heading}}} \\\\"]
        for row in findings["row"].values[findings["primary"].values == primary]:
            found = findings.sel(row=row)
            cells = [
                str(found["claim"].values),
                format_signed(found["effect"]),
                format_interval(found),
                format_p(found["p"]),
                format_p(found["p_holm"]),
                str(int(found["pairs"])),
                str(found["verdict"].values),
            ]
            lines.append(" & ".join(map(escape_latex, cells)) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def format_signed(value: Any) -> str:
    """An effect with its sign and three decimals; a dash for NaN."""
    number = float(value)
    return "–" if math.isnan(number) else f"{number:+.3f}".replace("-", "−")


def format_interval(row: xr.Dataset) -> str:
    """The bounds of a row's interval in brackets; empty without one."""
    if math.isnan(float(row["lower"])):
        return ""
    return f"[{format_signed(row['lower'])}, {format_signed(row['upper'])}]"


def format_p(value: Any) -> str:
    """A p value with two significant digits; a dash for NaN."""
    number = float(value)
    if math.isnan(number):
        return "–"
    for limit, digits in ((0.0995, 2), (0.00995, 3), (0.000995, 4)):
        if number >= limit:
            return f"{number:.{digits}f}"
    return f"{number:.1e}"


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters escaped, and minus signs and dashes as it writes them.

    Args:
        text: any text, such as a cell's name.
    """
    escaped = "".join(LATEX_SPECIAL.get(character, character) for character in visible(text))
    return escaped.replace("−", "$-$").replace("–", "--")


def _row_variables(findings):
    return [str(name) for name in findings.data_vars if findings[name].dims == ("row",)]


def _value(value):
    """A value of an array as JSON has it; NaN is None."""
    plain = np.asarray(value)[()]
    if isinstance(plain, np.bool_):
        return bool(plain)
    if isinstance(plain, np.integer):
        return int(plain)
    if isinstance(plain, float | np.floating):
        return float(plain) if math.isfinite(plain) else None
    return str(plain)
