"""Share of seeded faults that the short ring of tests detects.

python benchmarks/mutants.py --count 64 --seed 1     # needs the extra `test`

Each mutant is one change in a copy of the project: another comparison, arithmetic or logical
operator, another number or truth value, or a removed statement. It is caught if a test of the short
ring fails.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "repdyn_keras"
ROOMS = ("measures", "recording", "records", "dynamics")
OPERATORS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
TIMEOUT = 1200


@dataclass(frozen=True)
class Mutant:
    """One change of a file.

    Attributes:
        file: path below the project's root.
        line: its line.
        before, after: the changed code.
        text: the whole file with the change.
    """

    file: str
    line: int
    before: str
    after: str
    text: str


def mutants_of(file: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of the code."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in changeable(tree):
        for changed in changes(node):
            code = text.encode()
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            after = changed if isinstance(changed, str) else ast.unparse(changed)
            put = after if isinstance(changed, str) else f"({after})"
            before = code[begin:end].decode()
            whole = (code[:begin] + put.encode() + code[end:]).decode()
            name = str(file.relative_to(ROOT))
            found.append(Mutant(name, node.lineno, before, after, whole))
    return found


def changeable(node: ast.AST):
    """Nodes below a node that affect results: no annotations, messages or imports."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            yield child
            yield from changeable(child)


def changes(node: ast.AST):
    """Replacements of a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        ops = [OPERATORS[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, ops, node.comparators)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        if not isinstance(node.left, ast.Constant) or not isinstance(node.left.value, str):
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(OPERATORS[type(node.op)](), node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 2)
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if is_call or isinstance(node, ast.AugAssign):
        yield "pass"


def tests_for(mutant: Mutant) -> list[str]:
    """The test files, those that mention the mutant's module most often first."""
    words = re.compile(rf"\b{Path(mutant.file).stem}\b|\b{Path(mutant.file).parent.name}\b")

    def mentions(path: Path) -> int:
        text = path.read_text(encoding="utf-8")
        own = 100 if path.stem == f"test_{Path(mutant.file).stem}" else 0
        return own + len(words.findall(text))

    files = sorted((ROOT / "tests").glob("test_*.py"), key=mentions, reverse=True)
    return [str(path.relative_to(ROOT)) for path in files]


def caught_by(mutant: Mutant, cache: str) -> str:
    """The first test that fails on a mutant; empty if none does."""
    with tempfile.TemporaryDirectory() as base:
        copy = Path(base, "copy")
        ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copy, ignore=ignored)
        (copy / mutant.file).write_text(mutant.text, encoding="utf-8")
        variables = {"PYTHONPATH": str(copy), "JAX_COMPILATION_CACHE_DIR": cache}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *tests_for(mutant)],
                cwd=copy,
                env=os.environ | {"TMPDIR": base} | variables,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return "time"
    if done.returncode == 0:
        return ""
    named = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return named[0] if named else f"exit code {done.returncode}"


def main() -> None:
    """Prints a line for each mutant, and the number of caught mutants."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    chosen = []
    for room in ROOMS:
        files = sorted((ROOT / PACKAGE / room).rglob("*.py"))
        chosen += rng.sample([m for f in files for m in mutants_of(f)], given.count // len(ROOMS))

    def tried(mutant: Mutant) -> tuple[str, float]:
        start = time.monotonic()
        return caught_by(mutant, cache), time.monotonic() - start

    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(given.jobs) as pool:
        survivors = 0
        for mutant, (test, seconds) in zip(chosen, pool.map(tried, chosen), strict=True):
            survivors += not test
            change = " ".join(f"{mutant.before} -> {mutant.after}".split())
            fate = test or "SURVIVED"
            print(f"{mutant.file}:{mutant.line}: {change}: {fate} ({seconds:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught (seed {given.seed})")


if __name__ == "__main__":
    main()
