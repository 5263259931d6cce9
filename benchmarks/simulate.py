"""What a simulated request costs: CPU seconds on one core, with numba and without.

    python benchmarks/simulate.py            print the tables
    python benchmarks/simulate.py --quick    without the ten million requests
    python benchmarks/simulate.py --one 100  CPU seconds a request and peak MB at so many replicas

Also makes the compiled kernel, which the first run with numba otherwise waits for.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.simulate.cluster import Cluster
from assay.simulate.compiled import available
from assay.simulate.deploy import deploy
from assay.simulate.run import Run, execute
from assay.workload.arrivals import Requests, requests

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
TRACE = SHARED / "traces" / "mooncake_conversation.jsonl.gz"
#: Requests/s of one replica of the standard workload: two thirds of what it carries.
RATE = 15.0


def cluster(replicas: int) -> Cluster:
    """Return Llama 3.1 8B on A100-80GB, TP1, 2,048 tokens a step, 256 sequences."""
    prepared, _ = model("llama-3.1-8b")
    pool = deploy(
        prepared,
        catalogue().system("a100"),
        Layout.parse("tp1"),
        engine("vllm"),
        weights="native",
        kv="bf16",
        replicas=replicas,
        budget=2048,
        sequences=256,
    )
    return Cluster((pool,), "round-robin")


def poisson(count: int, rate: float, seed: int = 0, start: float = 0.0) -> Requests:
    """Return Poisson arrivals, 512 input and 128 output tokens."""
    return requests(start + np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count)), 512, 128)


def stream(count: int, rate: float, size: int = 100_000) -> Iterator[Requests]:
    """Yield the same in chunks."""
    start = 0.0
    for number in range(count // size):
        part = poisson(size, rate, number, start)
        start = float(part.arrival[-1])
        yield part


def cpu() -> float:
    """Return the CPU seconds this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak() -> float:
    """Return the greatest resident memory of this process, MB."""
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _megabytes(resident: float) -> float:
    return resident / 1e6 if sys.platform == "darwin" else resident * 1.024e-3


def timed(replicas: int, traffic: Any, *, compiled: bool, repeats: int = 3) -> tuple[float, Run]:
    """Return the least CPU seconds of a few runs, tables included, and the last run."""
    best = float("inf")
    for _ in range(repeats):
        start = cpu()
        run = execute(cluster(replicas), traffic, compiled=compiled)
        best = min(best, cpu() - start)
    return best, run


def standard() -> None:
    """Print W10k and W8x."""
    print("\n| workload | kernel | CPU | requests per CPU-second | events |\n|---|---|---:|---:|---:|")
    for name, replicas, count in (("W10k", 1, 10_000), ("W8x", 8, 80_000)):
        for compiled in (False, True) if available() else (False,):
            traffic = poisson(count, RATE * replicas)
            spent, run = timed(replicas, traffic, compiled=compiled)
            form = "numba" if compiled else "Python"
            events = int(run.state.totals["events"][0])
            print(f"| {name} | {form} | {spent:.3f} s | {count / spent:,.0f} | {events:,} |")


def flat(most: int) -> None:
    """Print the cost of a request over their number and over replicas."""
    compiled = available()
    print("\n| requests | replicas | CPU | us a request | peak memory |\n|---:|---:|---:|---:|---:|")
    for count in (10_000, 100_000, 1_000_000, 10_000_000):
        if count <= most:
            spent, _ = (
                timed(1, poisson(count, RATE), compiled=compiled, repeats=3)
                if count < 10**5
                else (_streamed(count, 1, compiled))
            )
            print(f"| {count:,} | 1 | {spent:.3f} s | {spent / count * 1e6:.2f} | {peak():.0f} MB |")
    for replicas in (10, 100, 1000):
        spent, _ = _streamed(1_000_000 if compiled else 100_000, replicas, compiled)
        count = 1_000_000 if compiled else 100_000
        print(f"| {count:,} | {replicas:,} | {spent:.3f} s | {spent / count * 1e6:.2f} | {peak():.0f} MB |")


def _streamed(count: int, replicas: int, compiled: bool) -> tuple[float, Run]:
    start = cpu()
    run = execute(cluster(replicas), stream(count, RATE * replicas), compiled=compiled)
    return cpu() - start, run


def one(replicas: int, *, compiled: bool) -> None:
    """Print CPU seconds a request and peak memory in MB of one run at so many replicas."""
    count = 1_000_000 if compiled else 100_000
    spent, _ = _streamed(count, replicas, compiled)
    print(spent / count, peak())


def child(*arguments: str) -> None:
    """Print CPU and memory of one cold command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    words = " ".join(word if len(word) < 40 else Path(word).name for word in arguments[1:])
    print(
        f"| `{words}` | {used.ru_utime + used.ru_stime:.2f} s | {time.perf_counter() - start:.2f} s | "
        f"{_megabytes(used.ru_maxrss):.0f} MB | {process.returncode} |"
    )


def commands() -> None:
    """Print cold commands, with the compiled kernel in the cache where it is worth loading."""
    if available():
        make = "import simulate as s; s.execute(s.cluster(1), s.poisson(9, 1.0), compiled=True)"
        subprocess.run([sys.executable, "-c", make], cwd=Path(__file__).parent, check=True)
    print("\n| command | CPU | wall | peak memory | exit |\n|---|---:|---:|---:|---:|")
    one = "-m assay simulate llama-3.1-8b --on a100 --layout tp1 --engine vllm --budget 2048 --sequences 256"
    load = "--rate 15 --isl 512 --osl 128 --requests"
    for count in ("10000", "100000"):
        child(*f"{one} {load} {count}".split())
    eight = load.replace("15", "120")
    child(*f"{one} --replicas 8 {eight} 80000".split())
    if TRACE.exists():
        moon = "-m assay simulate llama-3.1-70b --on h200 --layout tp4 --replicas 8 --engine vllm --trace"
        child(*moon.split(), str(TRACE))
        child(*moon.split(), str(TRACE), "--router", "prefix")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what a simulated request costs.")
    parser.add_argument("--quick", action="store_true", help="stop at a million requests")
    parser.add_argument("--one", type=int, metavar="REPLICAS", help="measure only so many replicas")
    parser.add_argument("--kernel", choices=("compiled", "plain"), default="compiled", help="for --one")
    options = parser.parse_args()
    if options.one:
        one(options.one, compiled=options.kernel == "compiled")
        return
    commands()  # first: a child starts with the memory of its parent
    flat(10**6 if options.quick else 10**7)  # before the lists of plain Python, which would be its peak
    standard()


if __name__ == "__main__":
    main()
