"""Flag names of the tools' own argument parsers, read from wheels by syntax tree; nothing is imported.

Put wheels (`pip download --no-deps vllm==0.33.0` ...) into a folder and name it in ASSAY_WHEELS; without it a
tool is looked for among the installed packages, and skipped if it is not there.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

from assay.report.launch.arguments import known, tools, version

#: Tool -> (distribution, modules in which its parser is built).
WHERE = {
    "vllm": ("vllm", ("vllm/engine/arg_utils.py", "vllm/entrypoints/common/cli_args.py")),
    "vllm bench serve": ("vllm", ("vllm/benchmarks/serve.py", "vllm/benchmarks/datasets/*")),
    "vllm-router": ("vllm_router", ("vllm_router/*",)),
    "sglang": ("sglang", ("sglang/srt/arg_groups/fields/*", "sglang/srt/server_args.py")),
    "sglang-router": ("sglang_router", ("sglang_router/*",)),
    "dynamo.vllm": (
        "ai_dynamo",
        ("dynamo/vllm/*", "dynamo/common/configuration/*"),
    ),
    "dynamo.sglang": ("ai_dynamo", ("dynamo/sglang/*", "dynamo/common/configuration/*")),
    "dynamo.trtllm": ("ai_dynamo", ("dynamo/trtllm/*", "dynamo/common/configuration/*")),
    "dynamo.frontend": ("ai_dynamo", ("dynamo/frontend/*", "dynamo/common/configuration/*")),
    "aiperf": ("aiperf", ("aiperf/*",)),
    "guidellm": ("guidellm", ("guidellm/schemas/benchmark/*", "guidellm/cli/*")),
}
#: Tools whose names were compared with a published list or manual instead (`source` in the table).
LISTED = {"trtllm", "trtllm-yaml", "trtllm-disaggregated", "srun"}
#: Flags that a tool takes over from the parser of the engine it wraps.
PASSED_ON = {"dynamo.vllm": {"model"}}


def sources(distribution: str, wanted: str, patterns: tuple[str, ...]) -> tuple[str, list[str]]:
    """Version and texts of the modules, from a wheel or an installed package."""
    folder = os.environ.get("ASSAY_WHEELS")
    if folder:
        wheels = sorted(Path(folder).glob(f"{distribution}-{wanted}-*.whl"))
        if not wheels:
            pytest.skip(f"{distribution} {wanted} is not among the wheels in ASSAY_WHEELS")
        with ZipFile(wheels[0]) as wheel:
            names = [name for name in wheel.namelist() if chosen(name, patterns)]
            return wanted, [wheel.read(name).decode() for name in names]
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed, and ASSAY_WHEELS names no folder of wheels")
    files = [file for file in found.files or () if chosen(str(file), patterns)]
    return found.version, [file.read_text() for file in files]


def chosen(name: str, patterns: tuple[str, ...]) -> bool:
    return name.endswith(".py") and any(fnmatch(name, pattern) for pattern in patterns)


def names(text: str) -> Iterator[str]:
    """Flags that a module can define: texts with dashes, fields of classes, aliases of fields."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"--?[A-Za-z][\w-]*", node.value):
                yield node.value.lstrip("-")
        elif isinstance(node, ast.JoinedStr):  # f"--{prefix}policy"
            first, last = node.values[0], node.values[-1]
            if isinstance(first, ast.Constant) and isinstance(last, ast.Constant) and first.value == "--":
                yield str(last.value)
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield item.target.id.replace("_", "-")
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "argument_alias":
                    yield str(getattr(value, "value", ""))


@pytest.mark.parametrize("tool", sorted(WHERE))
def test_flags_are_the_parsers(tool: str) -> None:
    distribution, patterns = WHERE[tool]
    there, texts = sources(distribution, version(tool), patterns)
    if there != version(tool):
        pytest.skip(f"{distribution} {there} is installed; the table is for {version(tool)}")
    assert texts
    found = {name for text in texts for name in names(text)}
    own = set(tools()[tool]["flags"])
    assert own - found - PASSED_ON.get(tool, set()) == set()
    assert own <= set(known(tool))


def test_every_tool_was_compared_with_something() -> None:
    for tool, entry in tools().items():
        assert (tool in WHERE) is not (tool in LISTED), tool
        assert entry["checked"], tool
