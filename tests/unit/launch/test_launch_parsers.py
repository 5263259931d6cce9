"""Every emitted command, run with stub programs, and its words read by the tools' own argument parsers.

The parsers come from environments with the tools installed (no GPU is needed): name their interpreters in
ASSAY_TOOL_PYTHONS, `vllm=/path/bin/python,sglang=/path/bin/python,load=/path/bin/python`, where `load` has
aiperf, guidellm and the two routers. Without it only the stubs run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from assay.report.launch.arguments import known
from assay.report.launch.emit import TARGETS
from assay.report.launch.files import Files

Every = Callable[..., Iterator[tuple[str, Files]]]
STUBS = ("vllm", "sglang", "trtllm-serve", "srun", "python3", "vllm-router", "aiperf", "guidellm", "mkdir")
#: Variables that the scripts ask for.
VARIABLES = {
    "NODE_RANK": "1",
    "HEAD_ADDRESS": "10.0.0.1",
    **{f"{role}_{k}": f"10.0.{k}.2" for role in ("PREFILL", "DECODE") for k in range(8)},
}
#: Prints its own name and words, for the last program that a script starts.
STUB = '#!/bin/bash\n[ "${0##*/}" = mkdir ] || printf "%s\\0" "${0##*/}" "$@"\n'

#: Tool -> (environment, program that reads lists of words from JSON and prints why each is refused).
VLLM = """
import sys, json, contextlib, io
import vllm.platforms as platforms
from vllm.platforms.interface import Platform, PlatformEnum
class Stub(Platform):
    _enum, device_name, device_type, dispatch_key = PlatformEnum.CUDA, "cuda", "cuda", "CUDA"
platforms._current_platform = Stub()
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.config import ParallelConfig
DEGREES = (
    "tensor_parallel_size pipeline_parallel_size prefill_context_parallel_size data_parallel_size nnodes "
    "node_rank enable_expert_parallel all2all_backend enable_dbo enable_eplb eplb_config"
).split()
serve = make_arg_parser(FlexibleArgumentParser())
def read(words):
    if words[:2] == ["-m", "dynamo.vllm"]:  # takes vLLM's flags, and some of its own
        own = ("--disaggregation-mode", "--dyn-tool-call-parser", "--dyn-reasoning-parser")
        words = [word for k, word in enumerate(words[2:], 2) if not {word, words[k - 1]} & set(own)]
    args = serve.parse_args(words[1:] if words[:1] == ["serve"] else words)
    args.model = getattr(args, "model_tag", None) or args.model
    validate_parsed_serve_args(args)
    engine = AsyncEngineArgs.from_cli_args(args)
    local = engine.data_parallel_size_local or engine.data_parallel_size
    degrees = {name: getattr(engine, name) for name in DEGREES}
    ParallelConfig(**degrees, data_parallel_size_local=local, distributed_executor_backend="mp")
"""
VLLM_BENCH = """
import sys, json, contextlib, io
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.benchmarks.serve import add_cli_args
parser = FlexibleArgumentParser()
add_cli_args(parser)
def read(words):
    parser.parse_args(words[2:])
"""
SGLANG = """
import sys, json, contextlib, io, argparse
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser(allow_abbrev=False)
ServerArgs.add_cli_args(parser)
def read(words):
    parser.parse_args(words[1:] if words[:1] == ["serve"] else words)
"""
SGLANG_ROUTER = """
import sys, json, contextlib, io
from sglang_router.launch_router import parse_router_args as parse
def read(words):
    parse(words[2:])
"""
VLLM_ROUTER = """
import sys, json, contextlib, io
from vllm_router.launch_router import parse_router_args as parse
def read(words):
    parse(words)
"""
AIPERF = """
import sys, json, contextlib, io
from aiperf.cli import app
def read(words):
    command, bound, *rest = app.parse_args(words, exit_on_error=False, print_error=False)
"""
GUIDELLM = """
import sys, json, contextlib, io
from guidellm.cli.run import run
from guidellm.schemas.benchmark import BenchmarkArgs
def read(words):
    run.make_context("run", words[1:])
"""
LOOP = """
found = []
for words in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            read(list(words))
    except BaseException as error:
        found.append([words, f"{type(error).__name__}: {error} {said.getvalue()[-400:]}"])
print("\\n" + json.dumps(found))
"""
#: What is read -> (its environment, its parser, program and first words of its commands).
PARSERS = {
    "vllm": ("vllm", VLLM, ("vllm", "serve")),
    "dynamo.vllm": ("vllm", VLLM, ("python3", "-m", "dynamo.vllm")),
    "vllm bench": ("vllm", VLLM_BENCH, ("vllm", "bench")),
    "sglang": ("sglang", SGLANG, ("sglang", "serve")),
    "sglang router": ("load", SGLANG_ROUTER, ("python3", "-m", "sglang_router.launch_router")),
    "vllm router": ("load", VLLM_ROUTER, ("vllm-router",)),
    "aiperf": ("load", AIPERF, ("aiperf",)),
    "guidellm": ("load", GUIDELLM, ("guidellm",)),
}


def commands(every: Every, folder: Path, questions: Iterable[dict[str, object]]) -> Iterator[list[str]]:
    """Words of every command that every case and target starts, the program first."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for name in STUBS:
        (stubs / name).write_text(STUB, encoding="utf-8")
        (stubs / name).chmod(0o755)
    scripts: dict[str, None] = {}
    for more in questions:
        for target in TARGETS:
            for _, files in every(target, **more):
                scripts |= dict.fromkeys(texts(files))
    path = f"{stubs}:{os.environ['PATH']}"
    whole = "".join(f"(\n{text}\n)\nprintf '\\n'\n" for text in scripts)
    done = subprocess.run(
        ["bash"], input=whole, text=True, capture_output=True, env={**VARIABLES, "PATH": path}, check=False
    )
    assert done.stderr == ""
    for line in done.stdout.split("\0\n"):
        words = line.lstrip("\n").split("\0")
        if words != [""]:
            yield words


def texts(files: Files) -> Iterator[str]:
    """Scripts among the files, those inside manifests too, the load test once for each generator."""
    for file in files.files:
        if file.name == "loadtest.sh":
            yield from (f"set -- {tool}\n{file.text}" for tool in ("vllm", "aiperf", "guidellm"))
        elif file.name.endswith(".sh"):
            yield file.text
        else:
            yield from (word for word in strings(list(yaml.safe_load_all(file.text))) if "\nexec " in word)


def strings(value: object) -> Iterator[str]:
    """All texts inside a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


@pytest.fixture(scope="module")
def pythons() -> dict[str, str]:
    pairs = os.environ.get("ASSAY_TOOL_PYTHONS", "")
    return dict(pair.split("=", 1) for pair in pairs.split(",") if "=" in pair)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_scripts_run_and_start_known_programs(
    every: Every, asked: list[dict[str, object]], tmp_path: Path
) -> None:
    started = list(commands(every, tmp_path, [asked[3]]))
    assert {name for name, *_ in started} == set(STUBS) - {"mkdir"}
    assert len(started) >= 100
    for name, *words in started:
        if name in ("trtllm-serve", "srun"):
            job, _, server = " ".join([name, *words]).rpartition("trtllm-serve ")
            options = set(re.findall(r"--([\w-]+)", server))
            assert options <= set(known("trtllm")) or server.startswith("disaggregated"), words
            assert set(re.findall(r"--([\w-]+)", job)) <= set(known("srun")), words


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("tool", sorted(PARSERS))
def test_parsers_take_every_command(
    every: Every, asked: list[dict[str, object]], tmp_path: Path, pythons: dict[str, str], tool: str
) -> None:
    place, program, first = PARSERS[tool]
    if place not in pythons:
        pytest.skip(f"ASSAY_TOOL_PYTHONS names no interpreter for {place}")
    started = commands(every, tmp_path, asked)
    lines = [words[1:] for words in started if tuple(words[: len(first)]) == first]
    assert lines
    done = subprocess.run(
        [pythons[place], "-c", program + LOOP],
        input=json.dumps(lines), text=True, capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.rstrip().rsplit("\n", 1)[-1]) == []
