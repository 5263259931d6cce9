"""The arrows of the architecture: who may import whom, and what the package may import from outside."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from source_tree import ROOT, Module, modules

#: Lines from the bottom up. A room imports only from lines below its own, never from a room beside it.
LINES = (
    ("errors",),
    ("units", "estimate"),
    ("catalogue",),
    ("llm", "workload"),
    ("timing", "study"),
    ("engine", "measure"),
    ("simulate",),
    ("plan",),
    ("calibrate", "economics"),
    ("claims",),
    ("report",),
    ("cli", "explorer"),
    ("__main__",),
)
HEIGHT = {room: height for height, line in enumerate(LINES) for room in line}

#: Rooms of tools that run by hand, and the extra whose libraries they may import at module level.
TOOLS = {"calibrate": "calibrate"}

#: Import name -> distribution, where they differ.
DISTRIBUTION = {"yaml": "PyYAML"}


def imports(module: Module, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, module imported) for every import of the package itself, wherever it stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "assay"
            )
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "assay":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in names else node.module


def graph() -> dict[str, set[str]]:
    """Return module -> modules it imports; the package itself is left out, its names are lazy."""
    names = frozenset(module.name for module in modules())
    return {
        module.name: {target for _, target in imports(module, names)} - {"assay"}
        for module in modules()
        if module.name != "assay"
    }


def test_every_room_has_a_line() -> None:
    rooms = {module.room for module in modules()} - {""}
    assert rooms <= set(HEIGHT), (
        f"give {rooms - set(HEIGHT)} a line in LINES and in docs/concepts/how-it-works.md"
    )


def test_imports_point_downwards() -> None:
    names = frozenset(module.name for module in modules())
    wrong = []
    for module in modules():
        for line, target in imports(module, names):
            if module.name == "assay" or target == "assay":
                continue
            room = target.split(".")[1]
            if room != module.room and HEIGHT[room] >= HEIGHT[module.room]:
                wrong.append(f"{module.path.relative_to(ROOT)}:{line} {module.room} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_only_the_version_comes_from_the_package_itself() -> None:
    wrong = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module == "assay":
                wrong += [f"{module.name}: {a.name}" for a in node.names if a.name != "__version__"]
    assert not wrong, wrong


def test_no_circles() -> None:
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_imports_are_absolute() -> None:
    wrong = [
        f"{module.path.relative_to(ROOT)}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, wrong


def test_libraries_are_declared() -> None:
    """At module level only core dependencies; inside functions also those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        name: {_distribution(line) for line in lines}
        for name, lines in project["optional-dependencies"].items()
    }
    core = {_distribution(line) for line in project["dependencies"]}
    wrong = []
    for module in modules():
        eager = core | extras.get(TOOLS.get(module.room, ""), set())
        lazy = eager.union(*extras.values())
        guarded = {id(inner) for node in ast.walk(module.tree) if _guards(node) for inner in ast.walk(node)}
        for node in ast.walk(module.tree):
            allowed = lazy if id(node) in guarded else eager
            names = [DISTRIBUTION.get(name, name).lower() for name in _outside(node)]
            wrong += [f"{module.name}: {name}" for name in names if name not in allowed]
    assert not wrong, wrong


def _distribution(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower()


def _guards(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)


def _outside(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        tops = [alias.name.split(".")[0] for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        tops = [node.module.split(".")[0]]
    else:
        return []
    return [top for top in tops if top != "assay" and top not in sys.stdlib_module_names]
