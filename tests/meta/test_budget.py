"""Rooms stay small enough to read in one go, and say what they are for."""

from __future__ import annotations

import ast

from source_tree import ROOT, functions, modules

FILE_LINES = 400
HARD_STOP = 600
FUNCTION_LINES = 50

#: Files over `FILE_LINES`, each with the reason why splitting it would make it worse.
LONG: dict[str, str] = {}


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_files_fit_the_budget() -> None:
    sizes = {str(module.path.relative_to(ROOT)): len(module.text.splitlines()) for module in modules()}
    wrong = {name: size for name, size in sizes.items() if size > (HARD_STOP if name in LONG else FILE_LINES)}
    assert not wrong, wrong


def test_long_files_are_still_long() -> None:
    assert all(len((ROOT / name).read_text(encoding="utf-8").splitlines()) > FILE_LINES for name in LONG)


def test_functions_fit_the_budget() -> None:
    wrong = [
        f"{module.path.relative_to(ROOT)}:{node.lineno} {name} has {body_lines(node)} lines"
        for module in modules()
        for name, node in functions(module.tree)
        if body_lines(node) > FUNCTION_LINES
    ]
    assert not wrong, "\n".join(wrong)


def test_public_things_are_described() -> None:
    wrong = [module.name for module in modules() if not module.sentence]
    for module in modules():
        wrong += [
            f"{module.name}.{name}"
            for name, node in functions(module.tree)
            if not any(part.startswith("_") for part in name.split(".")) and not ast.get_docstring(node)
        ]
        wrong += [
            f"{module.name}.{node.name}"
            for node in module.tree.body
            if isinstance(node, ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not wrong, wrong


def test_no_rooms_without_a_name_of_their_own() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}
    wrong = [module.name for module in modules() if vague & set(module.name.split("."))]
    assert not wrong, wrong
