"""The `assay` command: one file a verb, imported when its verb is called.

Exit codes: 0 answered; 2 a user's mistake; 3 nothing fits or meets the objective, or nobody has published a
figure that is needed; 130 interrupted; 1 a fault of assay itself. Errors are one sentence on stderr;
`ASSAY_DEBUG=1` shows the traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from assay import __version__
from assay.errors import AssayError

if TYPE_CHECKING:
    from cyclopts import App

#: Verb -> its function and what it does.
VERBS = {
    "plan": ("assay.cli.plan:plan", "Rank platforms and deployments for a model, a workload and an SLO."),
    "estimate": ("assay.cli.estimate:estimate", "Predict one deployment at one load; --explain by operator."),
    "emit": ("assay.cli.emit:emit", "Write the commands and manifests that would run one deployment."),
    "explain": ("assay.cli.explain:explain", "Say why the best deployment wins, and what lost."),
    "model": ("assay.cli.model:model", "Show a model: parameters, formats, memory with every term."),
    "chip": ("assay.cli.chip:chip", "Show a chip: every fact with unit, source, date and conflicts."),
    "system": (
        "assay.cli.system:system",
        "Show a system: its chip, its network, every fact with its source.",
    ),
    "list": ("assay.cli.listing:listing", "List models, chips, systems, prices or workloads."),
    "claims": (
        "assay.cli.claims:claims",
        "Check published claims: where a factor holds, and what it comes from.",
    ),
    "coverage": ("assay.cli.coverage:coverage", "Show which model runs where: measured, predicted, or not."),
    "simulate": ("assay.cli.simulate:simulate", "Replay traffic through a deployment, request by request."),
    "capacity": (
        "assay.cli.capacity:capacity",
        "Compare candidate deployments over a day or a week of traffic.",
    ),
    "trace": ("assay.cli.trace:trace", "Read a trace of requests: rate, lengths, bursts, reuse, bad rows."),
    "validate": ("assay.cli.validate:validate", "Score predictions against measured points of any file."),
    "compare": ("assay.cli.compare:compare", "Set results of two benchmark tools side by side."),
    "calibrate": ("assay.cli.calibrate:calibrate", "Fit the correction and intervals to measured points."),
    "check": ("assay.cli.check:check", "Check the facts, your own included."),
}
_ABOUT = "Which chips, which deployment, how fast, at what cost: open-weight models on any silicon."
_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code.

    Linear algebra gets one thread unless the user asks for more: the matrices are small, and threads that
    wait for each other on a busy machine cost more CPU than they save.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: without the name of the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as interrupt:
        done = f" {interrupt}" if str(interrupt) else ""
        return _say(f"Interrupted.{done}", _INTERRUPTED)
    except AssayError as error:
        return _say(str(error), error.exit_code)
    except OSError as error:
        where = f" {str(error.filename)!r}" if error.filename else ""
        return _say(f"Cannot use{where}: {error.strerror or error}.", 2)
    except Exception as error:
        kind = type(error).__name__
        return _say(f"A fault in assay ({kind}: {error}). ASSAY_DEBUG=1 shows where; please report it.", 1)
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    try:
        code = _app()(
            _complete(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        error.verbose = False
        verb = next((word for word in arguments if word in VERBS), "")
        sentence = " ".join(str(error).split()).replace("Unused Tokens:", "Nothing takes")
        stop = "" if sentence.endswith((".", "?", "!")) else "."
        return _say(f"{sentence}{stop} `assay {verb + ' ' if verb else ''}--help` shows the flags.", 2)


def _app() -> App:
    from cyclopts import App, Parameter

    app = App(
        name="assay",
        help=_ABOUT,
        version=f"assay {__version__}",
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for verb, (target, about) in VERBS.items():
        app.command(target, name=verb, help=about)
    return app


def _complete(arguments: Sequence[str]) -> list[str]:
    """Give flags without their value its meaning: `--csv` standard output, `--confirm` one row."""
    following = [*arguments[1:], "--"]
    return [_bare(word, after) for word, after in zip(arguments, following, strict=False)]


def _bare(word: str, after: str) -> str:
    if word == "--csv" and after.startswith("--"):
        return "--csv=-"
    return "--confirm=1" if word == "--confirm" and not after[:1].isdigit() else word


def _say(sentence: str, code: int) -> int:
    """Print one sentence on stderr, after the traceback where ASSAY_DEBUG asks for it; return `code`."""
    if os.environ.get("ASSAY_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"assay: {sentence}", file=sys.stderr)
    return code
