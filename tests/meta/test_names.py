"""One name a quantity: numeric arguments of public functions come from docs/nomenclature.md."""

from __future__ import annotations

import ast
import re

from source_tree import ROOT, functions, modules

#: Where names are somebody else's: the fields of published model configurations.
FOREIGN = ("assay.llm.huggingface",)
ROOMS = ("llm", "timing", "engine", "simulate", "plan")

#: Names in the annotation of an argument that make it a quantity.
NUMBERS = {"float", "int", "ArrayLike", "NDArray", "Array", "Floats", "Number"}
PAGE = ROOT / "docs" / "nomenclature.md"


def tables() -> dict[str, list[str]]:
    """Return heading -> names in the first column of the table below it."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        elif line.startswith("| `"):
            found.setdefault(heading, []).extend(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


def test_the_page_names_each_word_once() -> None:
    words = [word for names in tables().values() for word in names]
    twice = sorted({word for word in words if words.count(word) > 1})
    assert words
    assert not twice, twice


def test_the_quantities_have_units() -> None:
    rows = [
        line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    wrong = [
        cells[1].strip() for cells in rows if len(cells) != 5 or not (cells[2].strip() and cells[3].strip())
    ]
    assert not wrong, wrong


def is_quantity(annotation: ast.expr | None) -> bool:
    """Return whether an argument of this type is a number or an array of them, or a mapping to such."""
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        annotation = annotation.slice.elts[-1]  # the values of a mapping, the result of a callable
    return annotation is None or bool(NUMBERS & set(re.findall(r"\w+", ast.unparse(annotation))))


def test_quantities_of_public_functions_are_in_the_page() -> None:
    known = {word for names in tables().values() for word in names} | {"self", "cls"}
    wrong: dict[str, list[str]] = {}
    for module in modules():
        if module.room not in ROOMS or module.name.startswith(FOREIGN):
            continue
        for name, node in functions(module.tree):
            if any(part.startswith("_") for part in name.split(".")):
                continue
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                if argument.arg not in known and is_quantity(argument.annotation):
                    wrong.setdefault(argument.arg, []).append(f"{module.name}.{name}")
    assert not wrong, "\n".join(f"{word}: {', '.join(places)}" for word, places in sorted(wrong.items()))
