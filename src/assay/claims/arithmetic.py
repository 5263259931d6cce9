"""Expressions over named facts: `chip(lpu-v1).memory_bandwidth / chip(b200-sxm).memory_bandwidth`.

Only numbers, facts, + - * / **, comparisons with text and a few functions are read; nothing is executed. A
fact brings the range of its published values along; a fact that nobody has published refuses the expression.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.catalogue.evidence import weigh
from assay.catalogue.fields import CHIP_DIMENSIONS, CHIP_WORDS, SYSTEM_DIMENSIONS, SYSTEM_WORDS
from assay.catalogue.query import Catalogue
from assay.claims.quantity import Quantity
from assay.engine.models import model as load_model
from assay.errors import AssayError, BadInput, NoEvidence, UnknownName
from assay.llm.formats import weight_formats
from assay.llm.memory import kv_bytes_per_token, weight_bytes
from assay.llm.parameters import counts
from assay.units import SI_UNIT, show, significant

#: What a name before a bracket may be.
NAMES = ("chip", "system", "market", "model", "price")
_CALL = re.compile(rf"\b({'|'.join(NAMES)})\(\s*([^()\"']+?)\s*\)")
_LONGEST = 500
THOUSAND, MILLION, BILLION = 1e3, 1e6, 1e9
_OPERATORS: Mapping[type[ast.operator], Callable[[Quantity, Quantity], Quantity]] = {
    ast.Add: Quantity.__add__,
    ast.Sub: Quantity.__sub__,
    ast.Mult: Quantity.__mul__,
    ast.Div: Quantity.__truediv__,
    ast.Pow: Quantity.__pow__,
}
_FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "sqrt": math.sqrt,
    "log": math.log,
}
#: Attributes of a chip that are words.
_WORDS = ("status", "kind", "generation", "vendor", "memory_kind")
#: Formats of the attribute `weight_bytes_FORMAT` of a model.
_FORMATS = ("native", "bf16", "fp8", "fp4", "int4", "int8")


@dataclass(frozen=True, slots=True)
class Used:
    """One fact that an expression used.

    Attributes:
        name: as written: `chip(lpu-v1).memory_bandwidth`.
        shown: value with its unit.
        source: key of `sources.yaml`, or words.
        basis: how it is known.
        note: what a reader must know.
    """

    name: str
    shown: str
    source: str
    basis: str
    note: str = ""


@dataclass(slots=True)
class Evaluator:
    """Evaluates expressions over one catalogue; `used` collects the facts in order.

    Attributes:
        facts: the catalogue, the user's own facts included.
        used: facts of all expressions so far.
    """

    facts: Catalogue
    used: list[Used] = field(default_factory=list)

    def __call__(self, expression: str) -> Quantity:
        """Return the value of an expression.

        Raises:
            BadInput: what cannot be read in it.
            NoEvidence: a fact in it that nobody has published.
            UnknownName: a chip, system, model or market fact that is not there.
        """
        try:
            found = self._value(parse(expression).body, expression)
        except (ArithmeticError, ValueError):
            raise BadInput(f"The expression {expression!r} has no finite value.") from None
        if isinstance(found, str):
            raise BadInput(f"The expression {expression!r} is no number.")
        if not all(math.isfinite(part) for part in (found.value, found.low, found.high)):
            raise BadInput(f"The expression {expression!r} has no finite value.")
        return found

    def _value(self, node: ast.expr, text: str) -> Quantity | str:
        if isinstance(node, ast.Constant) and not isinstance(node.value, bool):
            value = node.value
            if isinstance(value, str):
                return value
            if isinstance(value, int | float):
                return Quantity.exact(float(value))
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._number(node.left, text), self._number(node.right, text))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand, text)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._comparison(node, text)
        else:
            return self._reference(node, text)
        raise _unreadable(node, text)

    def _reference(self, node: ast.expr, text: str) -> Quantity | str:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            kind, name = _named(node.value, text)
            return self._fact(kind, name, node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node, node.func.id, text)
        raise _unreadable(node, text)

    def _number(self, node: ast.expr, text: str) -> Quantity:
        found = self._value(node, text)
        if isinstance(found, str):
            raise BadInput(f"{found!r} in the expression {text!r} is no number.")
        return found

    def _comparison(self, node: ast.Compare, text: str) -> Quantity:
        left, right = self._value(node.left, text), self._value(node.comparators[0], text)
        equal = isinstance(node.ops[0], ast.Eq)
        if not (
            isinstance(left, str) and isinstance(right, str) and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        ):
            raise BadInput(
                f"{ast.unparse(node)!r} compares no words.", 'Write chip(NAME).status == "shipping".'
            )
        return Quantity.exact(float((left == right) is equal))

    def _call(self, node: ast.Call, name: str, text: str) -> Quantity | str:
        if name in NAMES:
            kind, target = _named(node, text)
            return self._fact(kind, target, "")
        arguments = [self._number(item, text) for item in node.args]
        if name in _FUNCTIONS and len(arguments) == 1:
            return arguments[0].through(lambda value: float(_FUNCTIONS[name](value)))
        if name in ("min", "max") and len(arguments) > 1:
            pick = min if name == "min" else max
            return Quantity(
                *(pick(getattr(item, end) for item in arguments) for end in ("value", "low", "high"))
            )
        raise BadInput(
            f"No function {name!r} in {text!r}.", f"Known: {', '.join((*_FUNCTIONS, 'min', 'max'))}."
        )

    # facts ------------------------------------------------------------------------------------------

    def _fact(self, kind: str, name: str, attribute: str) -> Quantity | str:
        if kind == "market":
            return self._market(name)
        if kind == "price":
            return self._price(name, attribute)
        if kind == "model":
            return self._model(name, attribute)
        return self._silicon(kind, name, attribute)

    def _silicon(self, kind: str, name: str, attribute: str) -> Quantity | str:
        entry = self.facts.entry(kind, name)
        if kind == "chip" and attribute in _WORDS:
            self._note(f"chip({name}).{attribute}", str(entry.get(attribute)), "", "")
            return str(entry.get(attribute) or "")
        words, dimensions = (
            (CHIP_WORDS, CHIP_DIMENSIONS) if kind == "chip" else (SYSTEM_WORDS, SYSTEM_DIMENSIONS)
        )
        known = attribute if attribute in dimensions else words.get(attribute, attribute)
        if known not in dimensions:
            raise BadInput(
                f"A {kind} has no figure {attribute!r}.", f"Known: {', '.join(sorted(dimensions))}."
            )
        fact = (entry.get("facts") or {}).get(known)
        return self._weighed(
            f"{kind}({name}).{known}", fact, dimensions[known], f"{entry.get('name') or name}: {known}"
        )

    def _weighed(self, name: str, fact: Any, dimension: str, words: str) -> Quantity:
        found = weigh(fact, dimension, name) if isinstance(fact, Mapping) else None
        if found is None or not isinstance(fact, Mapping):
            note = str(fact.get("note") or "") if isinstance(fact, Mapping) else ""
            raise NoEvidence(
                f"{words.replace('_', ' ')} is not published.{f' {note}' if note else ''}",
                "Give it in a facts file.",
            )
        value = Quantity(found.value, found.low, found.high)
        text = shown(value, "" if dimension in ("count", "tokens") else dimension)
        self._note(name, text, str(fact.get("source") or "user"), found.basis, str(fact.get("note") or ""))
        return value

    def _market(self, name: str) -> Quantity:
        known = market(self.facts)
        if name not in known:
            raise UnknownName("market fact", name, known)
        fact = known[name]
        return self._weighed(
            f"market({name})", fact, str(fact.get("dimension") or "count"), str(fact.get("what") or name)
        )

    def _price(self, name: str, kind: str) -> Quantity:
        found = self.facts.price(name, kind or "list")
        value = Quantity(found.usd_per_hour, found.low, found.high)
        self._note(
            f"price({name}).{kind or 'list'}", shown(value, "price"), found.source, "estimate", found.note
        )
        return value

    def _model(self, name: str, attribute: str) -> Quantity:
        prepared, _ = load_model(name, self.facts.extra)
        shape = prepared.architecture
        if attribute in ("params_total", "params_active"):
            value = float(getattr(counts(shape), attribute.removeprefix("params_")))
        elif attribute == "kv_bytes_per_token":
            value = float(kv_bytes_per_token(shape))
        elif attribute.startswith("weight_bytes") and attribute.removeprefix("weight_bytes_") in (
            "weight_bytes",
            *_FORMATS,
        ):
            wanted = attribute.removeprefix("weight_bytes").removeprefix("_") or "native"
            value = float(weight_bytes(shape, weight_formats(shape, wanted)))
        else:
            raise BadInput(
                f"A model has no figure {attribute!r}.",
                "Known: params_total, params_active, kv_bytes_per_token, weight_bytes, weight_bytes_bf16.",
            )
        self._note(f"model({name}).{attribute}", show(value), "counted from its architecture", "derived")
        return Quantity.exact(value)

    def _note(self, name: str, shown: str, source: str, basis: str, note: str = "") -> None:
        item = Used(name, shown, source, basis, note)
        if item not in self.used:
            self.used.append(item)


def shown(quantity: Quantity, dimension: str) -> str:
    """Return a quantity with its range, in the unit of its dimension; plain numbers without prefix."""

    def one(value: float) -> str:
        if dimension == "fraction":
            return f"{significant(value * 100)} %"
        if dimension == "money" and abs(value) >= MILLION:
            size, word = (BILLION, "billion") if abs(value) >= BILLION else (MILLION, "million")
            return f"{value / size:,.4g} {word} USD"
        if dimension:
            return show(value, SI_UNIT[dimension])
        return f"{value:,.0f}" if abs(value) >= THOUSAND else significant(value)

    ends = {one(item) for item in (quantity.low, quantity.high)}
    centre = one(quantity.value)
    return centre if ends <= {centre} else f"{centre} ({one(quantity.low)} to {one(quantity.high)})"


def _unreadable(node: ast.expr, text: str) -> BadInput:
    return BadInput(
        f"Cannot read {ast.unparse(node)!r} in the expression {text!r}.",
        f"Write numbers, + - * / **, {', '.join(f'{name}(NAME)' for name in NAMES)} and their fields.",
    )


def parse(expression: str) -> ast.Expression:
    """Return the tree of an expression whose names may hold dashes.

    Raises:
        BadInput: it is no expression.
    """
    if len(expression) > _LONGEST:
        raise BadInput(
            f"An expression is longer than {_LONGEST} characters.", "Split it into several checks."
        )
    quoted = _CALL.sub(lambda match: f'{match[1]}("{match[2]}")', expression)
    try:
        return ast.parse(quoted.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadInput(f"{expression!r} is no expression.", "Write for example chip(b200).fp8 / 2.") from None


def _named(node: ast.Call, text: str) -> tuple[str, str]:
    """Return kind and name of `chip(NAME)`."""
    if (
        isinstance(node.func, ast.Name)
        and node.func.id in NAMES
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ):
        return node.func.id, node.args[0].value
    raise BadInput(f"Cannot read {ast.unparse(node)!r} in {text!r}.", "Write for example chip(b200).fp8.")


def market(facts: Catalogue) -> dict[str, Mapping[str, Any]]:
    """Return the market facts by name, the user's laid over ours."""
    found: dict[str, Mapping[str, Any]] = {}
    for content in facts.tables("market").values():
        found |= content.get("facts") or {}
    return found


def sources(facts: Catalogue) -> dict[str, str]:
    """Return source -> where it is, for sources that market facts, claims and measurements bring along."""
    found: dict[str, str] = {}
    for folder in ("market", "claims", "measurements"):
        for content in facts.tables(folder).values():
            entries = content.get("sources") or {}
            if isinstance(entries, Mapping):
                found |= {key: str(entry.get("where") or "") for key, entry in entries.items()}
    return found


def where(facts: Catalogue, source: str) -> str:
    """Return where a source is; words that are no key stand for themselves."""
    try:
        return facts.source(source)
    except AssayError:
        return sources(facts).get(source, source)
