"""Sizes of files and functions: what is longer than a reader can take in is split.

``python -m tests.test_sizes`` prints the counts.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.test_layout import LIBRARY, TREES

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 80, 12
# The one call that takes every setting of a fit.
MANY_PARAMETERS = {"ppvae.fitting.loop.fit"}
# How often the code says Any: a real type nearly always says more.
ANY = 120
CORE = ("programs", "objectives", "nets", "distributions", "gp", "fitting", "runs", "data")


def _functions(name: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Qualified name to definition; what is nested belongs to the function around it."""
    found = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{prefix}.{child.name}"] = child
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}.{child.name}")

    visit(TREES[name], name)
    return found


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        if isinstance(first.value.value, str) and first.end_lineno is not None:
            lines -= first.end_lineno - first.lineno + 1
    return lines


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([argument for argument in every if argument.arg not in ("self", "cls")])


def _is_entry(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the signature is a model's options on the command line."""
    return any(ast.unparse(d).startswith("register(") for d in node.decorator_list)


@pytest.mark.parametrize("name", LIBRARY)
def test_no_file_is_too_long(name):
    lines = len(LIBRARY[name].read_text("utf-8").splitlines())
    assert lines <= FILE_LINES, f"{name}: {lines} lines; split it by idea"


@pytest.mark.parametrize("name", LIBRARY)
def test_no_function_is_too_long_or_takes_too_much(name):
    for title, node in _functions(name).items():
        assert _lines(node) <= FUNCTION_LINES, f"{title}: {_lines(node)} lines"
        if title not in MANY_PARAMETERS and not _is_entry(node):
            assert _parameters(node) <= PARAMETERS, f"{title}: {_parameters(node)} parameters"


def _any_count() -> int:
    return sum(len(re.findall(r"\bAny\b", file.read_text("utf-8"))) for file in LIBRARY.values())


def test_few_values_are_of_any_type():
    assert _any_count() <= ANY, f"Any stands {_any_count()} times; name the types"


def _report() -> list[str]:
    lines = {name: len(file.read_text("utf-8").splitlines()) for name, file in LIBRARY.items()}
    core = [name for name in LIBRARY if name.split(".")[1:2] and name.split(".")[1] in CORE]
    longest = max(
        ((_lines(node), title) for name in LIBRARY for title, node in _functions(name).items()),
    )
    return [
        f"files {len(lines)}, lines {sum(lines.values())}",
        f"core: files {len(core)}, lines {sum(lines[name] for name in core)}",
        f"longest file {max((count, name) for name, count in lines.items())}",
        f"longest function {longest}",
        f"Any {_any_count()}",
    ]


if __name__ == "__main__":
    print("\n".join(_report()))  # noqa: T201
