"""Flags and the scripts they stand in: each with its reason, and none that its tool does not have."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import BadFact
from assay.report.launch.fields import verify

#: Columns between which the reasons of a script begin.
_LEFT, _RIGHT = 30, 64


@dataclass(frozen=True, slots=True)
class Argument:
    """One flag of a command.

    Attributes:
        name: flag without its dashes.
        value: its value, "" for a switch.
        why: reason, in a few words.
        raw: the value holds shell variables and is quoted with double quotes only.
    """

    name: str
    value: str
    why: str
    raw: bool = False

    def words(self) -> str:
        """Return the flag as a shell reads it."""
        dashes = "-" if len(self.name) == 1 else "--"
        if not self.value:
            return f"{dashes}{self.name}"
        return f"{dashes}{self.name} " + (f'"{self.value}"' if self.raw else shlex.quote(self.value))


@lru_cache(maxsize=1)
def tools() -> Mapping[str, Mapping[str, Any]]:
    """Return the table of tools and the flags they are known to have (`data/engines/flags.yaml`)."""
    table: Mapping[str, Mapping[str, Mapping[str, Any]]] = catalogue().table("engines/flags")
    return table["tools"]


def rule(name: str) -> float:
    """Return a setting that no row determines, from the same table."""
    return float(catalogue().table("engines/flags")["rules"][name]["value"])


def known(tool: str) -> Mapping[str, str]:
    """Return flag -> what it does for one tool, with the flags of the engine it passes on."""
    entry = tools()[tool]
    passed = known(str(entry["takes"])) if entry.get("takes") else {}
    return {**passed, **entry["flags"]}


def ports(usual: int) -> str:
    """Return a port that a variable replaces: several servers of a node need one each."""
    return f"${{PORT:-{usual}}}"


def argument(tool: str, name: str, value: object = "", why: str = "", *, raw: bool = False) -> Argument:
    """Return a flag of a tool.

    Args:
        tool: key of the table, `vllm`, `sglang` ...
        name: flag without its dashes.
        value: its value, "" for a switch.
        why: reason; "" takes what the flag does.
        raw: whether the value holds shell variables.

    Raises:
        BadFact: the tool is not known to have this flag.
    """
    flags = known(tool)
    if name not in flags:
        raise BadFact(f"{tool} has no flag --{name} in engines/flags.yaml.", "Add it there with its source.")
    return Argument(name, str(value), why or str(flags[name]), raw)


def json_argument(tool: str, name: str, value: Mapping[str, Any], why: str) -> Argument:
    """Return a flag whose value is a JSON object, every field of it known to its tool.

    Raises:
        BadFact: the tool is not known to have this flag, or the flag this field.
    """
    verify(f"{tool.removeprefix('dynamo.')} {name}", value)
    return argument(tool, name, json.dumps(value), why)


def program(tool: str) -> str:
    """Return the command line words that start a tool."""
    return str(tools()[tool]["command"])


def version(tool: str) -> str:
    """Return the version of a tool whose flags these are."""
    return str(tools()[tool]["version"])


def listed(arguments: Iterable[Argument], indent: str = "  ") -> list[str]:
    """Return one line a flag, the reasons beneath each other."""
    pairs = [(f"{indent}{item.words()}", item.why) for item in arguments]
    width = min(max([_LEFT, *(len(words) for words, _ in pairs)]), _RIGHT)
    return [f"{words:<{width}}  # {why}" if why else words for words, why in pairs]


def comment(lines: Iterable[str]) -> list[str]:
    """Return lines as comments of a shell or a YAML file."""
    return [f"# {line}".rstrip() for line in lines]


def script(
    arguments: Sequence[Argument],
    start: str,
    *,
    head: Sequence[str] = (),
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> str:
    """Return a bash script that runs `start` with the flags.

    Args:
        arguments: flags, in order.
        start: words of the command; the flags are appended.
        head: comment lines on top.
        before: lines ahead of the flags (variables).
        after: lines between the flags and the command (what depends on the node).
    """
    lines = ["#!/usr/bin/env bash", *comment(head), "set -euo pipefail", *before, "", "args=("]
    lines += [*listed(arguments), ")", *after, f'exec {start} "${{args[@]}}"']
    return "\n".join(lines) + "\n"


def body(text: str) -> str:
    """Return a script without its first line and its comments on top, as a container runs it."""
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[first:]) + "\n"
