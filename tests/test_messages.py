"""The form of error messages, checked in the code of every module."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import repdyn_keras
from repdyn_keras.errors import EXTRAS, InputError, not_installed, unknown

pytestmark = pytest.mark.without_keras

PACKAGE = Path(repdyn_keras.__file__).parent
ERRORS = {"InputError", "StorageError"}
# Placeholder for values that are only known at run time.
VALUE = "X"
ENDS = f"[.`{VALUE}]"
# "[Problem.] Expected Y. Received: X. [Remedy.]" on one line: "." matches no line break.
FORM = re.compile(rf"(.+[.] )?Expected .+[.] Received: (?=[^\s.]).*{ENDS}")
HINT = re.compile(rf"(.*{ENDS})?")
FORBIDDEN = re.compile(r"\bcame\b")

Values = dict[str, list[ast.expr]]


def scopes(tree: ast.AST) -> Iterator[list[ast.AST]]:
    """The nodes of a module and of each of its functions, without inner functions."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    nodes, waiting = [], list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, kinds):
            yield from scopes(node)
        else:
            nodes.append(node)
            waiting += ast.iter_child_nodes(node)
    yield nodes


def assigned(nodes: list[ast.AST]) -> Values:
    """Values assigned to each name in these nodes."""
    values: Values = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(node.value)
    return values


def texts(node: ast.expr, values: Values) -> list[str]:
    """All possible texts of an expression, with `VALUE` for values known only at run time."""

    def joined(parts: list[ast.expr]) -> list[str]:
        choices = itertools.product(*(texts(part, values) for part in parts))
        return ["".join(choice) for choice in choices]

    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return joined(parts)
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return texts(value, values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return joined([left, right])
        case ast.IfExp(body=body, orelse=other):
            return texts(body, values) + texts(other, values)
        case ast.Call(func=ast.Attribute(value=value, attr="strip" | "rstrip"), args=[]):
            return [text.strip() for text in texts(value, values)]
        case ast.Name(id=name) if name in values:
            rest = {other: those for other, those in values.items() if other != name}
            # If the text of a problem may be empty, the error is only raised if it is not.
            return [text or VALUE for value in values[name] for text in texts(value, rest)]
    return [VALUE]


def argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    """An argument of a call, by position or name; None if it is left out."""
    if len(call.args) > place:
        return call.args[place]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name; empty for other expressions."""
    return getattr(node, "id", getattr(node, "attr", ""))


def messages(source: str) -> Iterator[tuple[int, re.Pattern, str]]:
    """Line, form and text of each message of a module, and of each hint of `unknown`."""
    for nodes in scopes(ast.parse(source)):
        values = assigned(nodes)
        for node in nodes:
            if isinstance(node, ast.Raise) and name_of(node.exc) in ERRORS:
                yield node.lineno, FORM, ""
            if not isinstance(node, ast.Call):
                continue
            if name_of(node.func) in ERRORS:
                message, form = argument(node, 0, "message"), FORM
            elif name_of(node.func) == "unknown":
                message, form = argument(node, 3, "hint"), HINT
            else:
                continue
            for text in texts(message, values) if message is not None else [""]:
                yield node.lineno, form, text


def violations(source: str) -> list[tuple[int, str]]:
    """Line and text of each message that violates its form."""
    return [
        (line, text)
        for line, form, text in messages(source)
        if not form.fullmatch(text) or FORBIDDEN.search(text)
    ]


def test_every_message_says_what_was_expected_and_what_was_received():
    found, strange = 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text("utf-8")
        found += len(list(messages(source)))
        name = path.relative_to(PACKAGE).as_posix()
        strange += [f"{name}:{line}: {text}" for line, text in violations(source)]
    assert not strange, "\n".join(strange)
    assert found > 100, "the check finds the messages"


@pytest.mark.parametrize(
    "source",
    [
        'raise InputError("Expected one. Received: two.")',
        'raise InputError("A layer is missing. Expected " f"{a}. Received: {b}")',
        'raise errors.StorageError(f"Cannot write. Expected {a!r}. Received: {b}. Use `{c}`")',
        'def f():\n    say = "Expected one."\n    raise InputError(f"{say} Received: {b:.1f}.")',
        'raise InputError("Expected one. Received: " + (f"{a}." if a else "none."))',
        'text = f"Expected {a}. Received: {b}. {hint}"\nraise InputError(text.rstrip())',
        'raise unknown("layer", name, names)',
        'raise unknown("layer", name, names, "`repdyn layers` lists all.")',
        'raise unknown("layer", name, names, hint=hint)',
    ],
)
def test_the_check_accepts_the_form(source):
    assert list(messages(source)) and violations(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "raise InputError",
        "raise InputError()",
        'raise InputError("Two. Expected one.")',
        'raise InputError("Received: two. Expected one.")',
        'raise InputError("Expected one, Received: two.")',
        'raise InputError("Unexpected one. Received: two.")',
        'raise InputError("Expected one. Received: ")',
        'raise InputError("Expected one. Received: .")',
        'raise InputError("Expected one. Received: two")',
        'raise InputError(f"Expected one. Received: {a}, not one")',
        'raise InputError(f"Expected one. {a} came. Received: two.")',
        'raise InputError("Expected one.\\nReceived: two.")',
        'raise InputError("Expected one. Received: two.\\n")',
        'raise InputError("Expected one. Received: two. Use\\none.")',
        "raise InputError(str(error))",
        'raise InputError("Expected one. Received: two." if a else "Two.")',
        'say = "Expected one."\ndef f(say):\n    raise InputError(f"{say} Received: two.")',
        'def f():\n    if a:\n        say = "Expected one."\n    else:\n        say = "One!"\n'
        '    raise InputError(f"{say} Received: two.")',
        'def f():\n    def g():\n        raise errors.StorageError("The disk is full.")',
        "class A:\n    f = lambda: fail(InputError('One.'))",
        'raise unknown("layer", name, names, "List all")',
        'raise unknown("layer", name, names, hint="None came.")',
    ],
)
def test_the_check_rejects_other_forms(source):
    assert len(violations(source)) == 1


def test_an_unknown_name_is_reported_with_valid_names():
    few = unknown("pooling", "men", ["mean", "flatten"], "Or use a number.")
    assert isinstance(few, InputError)
    assert str(few) == (
        "Unknown pooling. Expected one of 2 names, nearest: mean. Received: 'men'. Or use a number."
    )
    names = [f"layer{number}" for number in range(20)]
    many = str(unknown("layer", "layer20\n", names))
    assert re.fullmatch(
        r"Unknown layer\. Expected one of 20 names, nearest: layer\d+, layer\d+, layer\d+\. "
        r"Received: 'layer20\\n'\.",
        many,
    )
    other = str(unknown("epochs", "?", ["log"]))
    assert other == "Unknown epochs. Expected one of: log. Received: '?'."
    for text in (str(few), many, other):
        assert FORM.fullmatch(text)


def test_a_missing_package_is_reported_with_the_command_that_installs_it():
    error = not_installed("torch", EXTRAS, "backend = 'torch'")
    assert isinstance(error, InputError)
    assert str(error) == (
        "Expected the package 'torch', which backend = 'torch' needs. Received: it is not "
        "installed. Install it: pip install 'repdyn-keras[torch]'"
    )
    assert str(not_installed("scipy", EXTRAS, "a test")).endswith("Install it: pip install scipy")
