"""What assay costs to run: CPU seconds and peak memory of cold commands, points per second of a sweep.

    python benchmarks/speed.py            print the table
    python benchmarks/speed.py --write    put it into docs/reference/speed.md as well
    python benchmarks/speed.py --simulation --write    only its part on simulations

CPU seconds are user and system time of the child process, from `wait4`; the median of the runs counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Heading of the page's part on simulations.
SIMULATION = "## Simulation, from one replica to a thousand"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "speed.md"

#: Commands measured cold: label, arguments of Python, budget in CPU seconds.
COMMANDS = (
    ("`python -c pass` (for comparison)", ("-c", "pass"), None),
    ("`import assay`", ("-c", "import assay"), 0.03),
    ("`assay --help`", ("-m", "assay", "--help"), 0.2),
    ("`assay model kimi-k2`", ("-m", "assay", "model", "kimi-k2"), None),
    ("`assay plan kimi-k2 --on h200`", ("-m", "assay", "plan", "kimi-k2", "--on", "h200"), 1.0),
    ("`assay plan kimi-k2` (every platform)", ("-m", "assay", "plan", "kimi-k2"), 2.0),
    (
        "`assay estimate kimi-k2 --on h200 --layout dep16 ...`",
        (
            *("-m", "assay", "estimate", "kimi-k2", "--on", "h200", "--layout", "dep16"),
            *("--isl", "2048", "--osl", "512", "--concurrency", "64"),
        ),
        0.6,
    ),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command cost.

    Attributes:
        cpu: user and system time, s.
        wall: elapsed time, s.
        peak: greatest resident memory, bytes.
        code: exit code.
    """

    cpu: float
    wall: float
    peak: float
    code: int


def cold(arguments: tuple[str, ...]) -> Cost:
    """Run Python once with these arguments, output thrown away, and return its cost."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(
        cpu=used.ru_utime + used.ru_stime,
        wall=time.perf_counter() - start,
        peak=float(used.ru_maxrss * unit),
        code=process.returncode,
    )


def command_rows(runs: int) -> list[str]:
    """Return a table row for every command: medians of `runs` runs after one that warms the disk cache."""
    rows = []
    for label, arguments, budget in COMMANDS:
        first = cold(arguments)
        if first.code not in (0, 3):
            rows.append(f"| {label} | fails (exit {first.code}) | | | {_seconds(budget)} |")
            continue
        costs = [cold(arguments) for _ in range(runs)]
        cpu = statistics.median(cost.cpu for cost in costs)
        wall = statistics.median(cost.wall for cost in costs)
        peak = max(cost.peak for cost in costs)
        rows.append(
            f"| {label} | {_seconds(cpu)} | {_seconds(wall)} | {peak / 1e6:.0f} MB | {_seconds(budget)} |"
        )
    return rows


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def points_per_second(sweep: Callable[[], int], least: float = 2.0) -> float:
    """Repeat a sweep for at least `least` CPU seconds; return points per CPU second of this process."""
    sweep()  # imports and caches
    points, start = 0, _own_cpu()
    while (spent := _own_cpu() - start) < least:
        points += sweep()
    return points / spent


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def kimi_sweep(batches: int = 240) -> Callable[[], int]:
    """Return a sweep of Kimi K2 over the legal layouts of an HGX H200, `batches` points a layout.

    One point is the steady state of one layout at one batch: decode and mixed steps, and queueing.
    The sweep shards the model and compiles the steps each time; it returns its number of points.
    """
    from assay.catalogue.load import catalogue
    from assay.engine.models import model
    from assay.engine.overheads import engine
    from assay.plan.predict import skew
    from assay.plan.space import layouts, shape
    from assay.plan.sweep import Lengths, sweep

    kimi, _ = model("kimi-k2")
    system = catalogue().system("h200")
    legal = tuple(layouts(shape(kimi.architecture), system))
    lengths = Lengths(2048, 512, 0.0)

    def once() -> int:
        found = sweep(kimi, system, legal, "native", "fp8", engine(), lengths, skew(), batches=batches)
        return int(found.state.tpot.size)

    return once


def pair_sweep(batches: int = 96) -> Callable[[], int]:
    """Return a search of disaggregated deployments of DeepSeek-R1 over the layouts of a GB200 NVL72.

    One point is a prefill layout, a decode layout, whole counts of both and a batch, with its queue. Steps
    of all layouts are timed each time, and no layout is dropped beforehand.
    """
    from assay.catalogue.load import catalogue
    from assay.engine.models import model
    from assay.engine.overheads import engine
    from assay.plan.disaggregate import pairs, sides
    from assay.plan.predict import skew
    from assay.plan.space import layouts, shape
    from assay.plan.sweep import Lengths, sweep

    deepseek, _ = model("deepseek-r1")
    system = catalogue().system("gb200-nvl72")
    legal = tuple(layouts(shape(deepseek.architecture), system))
    lengths = Lengths(2048, 512, 0.0)
    found = sweep(deepseek, system, legal, "native", "fp8", engine(), lengths, skew(), concurrency=1)

    def once() -> int:
        both = sides(found, found, engine(), system.max_chips, batches=batches, thin=False)
        return 0 if both is None else int(pairs(both, system.max_chips).valid.size)

    return once


def page(runs: int) -> str:
    """Measure everything and return the page."""
    lines = [
        "# Speed",
        "",
        f"Written by `python benchmarks/speed.py --write` on {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. Cold commands, median of {runs} runs, Python start included.",
        "",
        "| command | CPU | wall | peak memory | budget (CPU) |",
        "|---|---:|---:|---:|---:|",
        *command_rows(runs),
        "",
    ]
    sweep = kimi_sweep()
    rate, points = points_per_second(sweep), sweep()
    lines.append(
        f"Sweep of Kimi K2 over the layouts of an HGX H200, {points:,} steady states a call: "
        f"**{rate:,.0f} operating points per CPU second**, sharding included, on one core (budget 1,000,000)."
    )
    search = pair_sweep()
    rate, points = points_per_second(search), search()
    lines += [
        "",
        f"Disaggregated deployments of DeepSeek-R1 on a GB200 NVL72, {points:,} pairs of layouts, counts and "
        f"batches a call: **{rate:,.0f} pairs per CPU second** on one core (budget 300,000).",
    ]
    return "\n".join(lines) + "\n"


def simulation(replicas: tuple[int, ...] = (1, 10, 100, 1000)) -> str:
    """Measure what a simulated request costs from one replica to many, and return that part of the page."""
    forms = ("compiled", "plain") if importlib.util.find_spec("numba") else ("plain",)
    lines = [
        SIMULATION,
        "",
        "Requests of 512 input and 128 output tokens on replicas of Llama 3.1 8B on one A100 each, at 15 /s "
        "a replica: a million with the compiled kernel, 100,000 in plain Python, on "
        f"{platform.machine()}, Python {platform.python_version()}. Tables and start of the run included; "
        "peak memory of the whole process (budget: 150 MB). Requests dealt out over several replicas take "
        "more steps, since fewer arrive together: 2.5 events a request on one replica, 3.3 on a thousand. "
        "100,000 requests on a thousand replicas are mostly the start of a run.",
        "",
        "| replicas | kernel | CPU a request | requests per CPU second | peak memory |",
        "|---:|---|---:|---:|---:|",
    ]
    script = str(Path(__file__).with_name("simulate.py"))
    for form in forms:
        for count in replicas:
            asked = [sys.executable, script, "--one", str(count), "--kernel", form]
            said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
            each, peak = float(said[0]), float(said[1])
            lines.append(f"| {count:,} | {form} | {each * 1e6:.2f} us | {1 / each:,.0f} | {peak:.0f} MB |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the page if asked."""
    # numpy's threads would hide how much one core does
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"}
    parser = argparse.ArgumentParser(description="Measure what assay costs to run.")
    parser.add_argument("--write", action="store_true", help="write docs/reference/speed.md")
    parser.add_argument("--simulation", action="store_true", help="measure only the part on simulations")
    parser.add_argument("--runs", type=int, default=5, help="runs a command")
    options = parser.parse_args()
    kept = PAGE.read_text(encoding="utf-8").partition(SIMULATION)[0].rstrip() + "\n"
    simulated = simulation()  # first: the peak of memory is that of the whole process
    text = (kept if options.simulation else page(options.runs)) + "\n" + simulated
    print(text, end="")
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
