"""Writes docs/api.md, the reference of the public Python functions, from their docstrings.

    python docs/api_reference.py

Reads the source without importing it, so that it needs no package.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "api.md"
# Sections of the page: a title, what it is about, and the objects of each module.
SECTIONS = (
    (
        "Recording",
        "The callback for a training of your own; see [callback.md](callback.md).",
        {"recording/recorder.py": ("RepresentationRecorder",)},
    ),
    (
        "Runs",
        "A configured training, as with `repdyn run`, and saved checkpoints. `repdyn run --keys` "
        "lists the keys of `config`.",
        {"experiment/run.py": ("run",), "experiment/record.py": ("record",)},
    ),
    (
        "Results",
        "An opened run; [files.md](files.md#dynamicsnc) lists every variable of its Dataset with "
        "its dimensions.",
        {
            "dynamics/recorded_run.py": ("open_run", "Run", "FittedProbe"),
            "dynamics/phase_descriptions.py": ("PhaseDescription",),
            "dynamics/analysis.py": ("analyze",),
            "dynamics/comparison.py": ("compare",),
            "dynamics/run_matrix.py": ("compare_runs",),
        },
    ),
    (
        "Similarity of features",
        "For features that you already have. The arrays need no run. "
        "[similarities.md](measures/similarities.md) compares the measures.",
        {
            "measures/cka.py": ("cka", "cka_matrix"),
            "measures/procrustes.py": ("procrustes",),
            "measures/svcca.py": ("svcca",),
            "measures/pwcca.py": ("pwcca",),
            "measures/rsa.py": ("rsa",),
            "measures/mutual_knn.py": ("mutual_knn",),
        },
    ),
    (
        "One picture",
        "Each draws into one matplotlib Axes, given or new, and returns it.",
        {
            "figures/plot_similarity.py": ("plot_similarity",),
            "figures/plot_film_strip.py": ("plot_regions",),
            "figures/plot_learning_curves.py": ("plot_curves",),
            "figures/plot_progress.py": ("plot_progress",),
        },
    ),
    (
        "Pages of pictures",
        "The figures that `repdyn figures` and `repdyn compare` write, in `repdyn_keras.figures`.",
        {
            "figures/__init__.py": ("draw_all", "draw_comparison", "draw_findings"),
            "figures/parts/selection.py": ("Selection",),
            "figures/parts/sheet.py": ("Sheet",),
            "figures/plot_similarity.py": ("similarity_heatmaps",),
            "figures/plot_film_strip.py": ("film_strip",),
            "figures/plot_learning_curves.py": ("learning_curves",),
            "figures/plot_probe_curves.py": ("probe_curves",),
            "figures/plot_progress.py": ("progress_curves",),
            "figures/plot_synchronization.py": ("synchronization_matrix",),
            "figures/plot_region_animation.py": ("animate_regions",),
            "figures/plot_similarity_by_layer.py": ("similarity_by_layer",),
            "figures/plot_layer_comparison.py": ("layer_comparison",),
            "figures/plot_epoch_comparison.py": ("epoch_comparison",),
            "figures/plot_run_comparison.py": ("run_comparison",),
        },
    ),
    (
        "Probes",
        "The linear probe, for features that you already have, in `repdyn_keras.measures.probe`.",
        {"measures/probe.py": ("solve_probe",)},
    ),
    (
        "Errors",
        "All are in `repdyn_keras.errors`.",
        {"errors.py": ("InputError", "StorageError")},
    ),
)
# Classes whose methods are those of public classes, and their files.
BASES = {"RecordingCallback": "recording/recording_callback.py"}
TOP_LEVEL = re.findall(
    r'^    "(\w+)": "repdyn_keras', (ROOT / "repdyn_keras/__init__.py").read_text("utf-8"), re.M
)
MAX_LINE = 96
# Heads of the sections of a docstring.
HEADS = ("Args", "Returns", "Raises", "Attributes", "Example", "Yields")


def main() -> None:
    """Write the page."""
    TARGET.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    parts = [
        "# API reference\n\n"
        "The public functions and classes of the package, from their docstrings.\n"
        "Those marked with a star are also names of `repdyn_keras` itself.\n"
    ]
    for title, about, modules in SECTIONS:
        parts.append(f"## {title}\n\n{about}\n")
        for file, names in modules.items():
            tree = ast.parse((ROOT / "repdyn_keras" / file).read_text("utf-8"))
            found = {node.name: node for node in tree.body if hasattr(node, "name")}
            module = f"repdyn_keras.{file.removesuffix('.py').replace('/', '.')}"
            module = module.removesuffix(".__init__")
            for name in names:
                parts += entries(module, found[name])
    return "\n".join(parts)


def entries(module: str, node) -> list[str]:
    """A function, or a class with its public methods and properties."""
    star = " *" if node.name in TOP_LEVEL else ""
    if isinstance(node, ast.FunctionDef):
        return [entry(f"{node.name}({arguments(node)})", node, module, star)]
    methods = methods_of(node)
    head = node.name
    if "__init__" in methods:
        head += f"({arguments(methods['__init__'])})"
    parts = [entry(head, node, module, star)]
    for name, method in methods.items():
        decorators = [ast.unparse(each) for each in method.decorator_list]
        if name.startswith(("_", "on_", "set_")) or not ast.get_docstring(method):
            continue
        if any(each.endswith(".setter") for each in decorators):
            continue
        if module.startswith("repdyn_keras.figures"):
            continue
        is_property = {"property", "cached_property"} & set(decorators)
        shown = name if is_property else f"{name}({arguments(method)})"
        parts.append(entry(f"{node.name}.{shown}", method, "", ""))
    return parts


def methods_of(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The methods of a class by name, and those of a base class of the package."""
    bases = [ast.unparse(base) for base in node.bases]
    found = {}
    for name in bases:
        if name in BASES:
            tree = ast.parse((ROOT / "repdyn_keras" / BASES[name]).read_text("utf-8"))
            found = methods_of(
                next(each for each in tree.body if name == getattr(each, "name", ""))
            )
    own = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    return {**own, **{name: method for name, method in found.items() if name not in own}}


def arguments(function: ast.FunctionDef) -> str:
    """The arguments of a function, without `self` or `cls`."""
    return re.sub(r"^(self|cls)(, )?", "", ast.unparse(function.args))


def entry(head: str, node, module: str, star: str) -> str:
    """The heading and the docstring of an object."""
    name = head.partition("(")[0]
    where = f"`{module}`\n\n" if module else ""
    signature = f"```\n{wrapped(head)}\n```\n\n" if "(" in head else ""
    level = "####" if "." in name else "###"
    return f"{level} {name}{star}\n\n{where}{signature}{markdown(ast.get_docstring(node) or '')}\n"


def wrapped(head: str) -> str:
    """A signature, with one argument on each line if it is long."""
    if len(head) <= MAX_LINE:
        return head
    name, _, text = head.removesuffix(")").partition("(")
    texts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            texts.append(text[start:place].strip())
            start = place + 1
    texts.append(text[start:].strip())
    body = "".join(f"    {each},\n" for each in texts)
    return f"{name}(\n{body})"


def markdown(docstring: str) -> str:
    """A docstring in Google's style as Markdown."""
    lines: list[str] = []
    section = ""
    for line in docstring.splitlines():
        head = re.fullmatch(r"(\w+):", line)
        if head and head[1] in HEADS:
            lines += ["```"] if section == "Example" else []
            section = head[1]
            lines += ["", f"**{section}**", ""]
            lines += ["```"] if section == "Example" else []
        elif section == "Example":
            lines.append(line.removeprefix("    ").replace("  # doctest: +SKIP", ""))
        elif section and not line.startswith(" ") and line:
            section = ""
            lines += ["", line]
        else:
            item = re.fullmatch(r"    ([\w*][\w, *]*): (.*)", line) if section else None
            if item and section != "Returns":
                names = ", ".join(f"`{name.strip()}`" for name in item[1].split(","))
                lines.append(f"- {names}: {item[2]}")
            elif section:
                is_text = section in ("Returns", "Yields")
                lines.append(line.removeprefix("    ") if is_text else f"  {line.strip()}".rstrip())
            else:
                lines.append(line)
    if section == "Example":
        while lines and not lines[-1].strip():
            lines.pop()
        lines.append("```")
    return "\n".join(line.rstrip() for line in lines).strip()


if __name__ == "__main__":
    main()
