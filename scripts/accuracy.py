"""Write docs/accuracy.md, the README table and the ratchet from measured points.

    python scripts/accuracy.py FOLDER [--left-out]

FOLDER holds `serving`, `inferencex` and `mlperf` tables (CSV, packed or not). `--left-out` also scores groups
that the calibration has not seen: it refits ten times a question, about half an hour on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from assay.calibrate.holdout import WORDS  # noqa: E402 - the checkout's own package
from assay.calibrate.leave_out import validate_left_out  # noqa: E402
from assay.calibrate.pairs import pairs, summary  # noqa: E402
from assay.calibrate.planned import by_chip, planned, ratios  # noqa: E402
from assay.calibrate.validate import Validation, validate  # noqa: E402
from assay.cli.measured import predictor  # noqa: E402
from assay.errors import AssayError, BadInput  # noqa: E402
from assay.measure.read import read, read_all  # noqa: E402
from assay.measure.records import Records  # noqa: E402
from assay.report import proof, scoreboard  # noqa: E402

SETS = ("serving", "inferencex", "mlperf")
RATCHET = ROOT / "src" / "assay" / "catalogue" / "data" / "calibrations" / "accuracy.yaml"
PAGE = ROOT / "docs" / "accuracy.md"


def files(folder: Path) -> dict[str, Path]:
    """Return the table of each set in a folder.

    Raises:
        BadInput: one is missing.
    """
    found = {}
    for name in SETS:
        path = next((p for p in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if p.exists()), None)
        if path is None:
            raise BadInput(f"{folder} has no {name}.csv or {name}.csv.gz.")
        found[name] = path
    return found


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the validation of each set with the calibration that assay ships."""
    return {
        name: validate(read(path), predictor()).json(("accelerator", "engine", "source", "regime"))
        for name, path in files(folder).items()
    }


def unseen(records: Records) -> dict[str, Validation]:
    """Return the validation of each question, in words, all sets together."""
    return {
        words: validate_left_out(records, predictor(residual=False), question)
        for question, words in WORDS.items()
    }


def proof_sections(records: Records, left_out: Mapping[str, Validation]) -> str:
    """Return what stands beside the plain errors: planned deployments, ratios, pairs of conditions."""
    views = {words: left_out[words] for words in (WORDS["group"], WORDS["accelerator"]) if words in left_out}
    views |= {
        "physics alone": validate(records, predictor(residual=False)),
        "fitted": validate(records, predictor()),
    }
    parts = ["", "## Planned deployments", "", _PLANNED, ""]
    for words, item in views.items():
        chosen = item.where(planned(records))
        parts += [f"### {words}", "", proof.planned_section(by_chip(chosen), ratios(item, "deepseek-r1")), ""]
    parts += ["## Pairs that differ in one condition", "", _PAIRS, ""]
    for words, item in views.items():
        parts += [f"### Pairs: {words}", "", proof.pairs_section(summary(pairs(item))), ""]
    return "\n".join(parts).rstrip() + "\n"


_PLANNED = """\
MLPerf Offline and Server, closed and comparable, of deployments whose layout nobody published: the best one
on those chips is planned (`assay validate FILE --planned`). Accelerators with five points or more."""
_PAIRS = """\
Points of one publisher, date, chip, model and load that differ in one condition, and whether the prediction
moves the right way and as far (`assay validate FILE --pairs`). A change below 5 % has no direction."""


def write(
    found: Mapping[str, Mapping[str, Any]], questions: Mapping[str, Mapping[str, Any]], more: str
) -> None:
    """Write page with `more` at its end, README table and ratchet."""
    PAGE.write_text(scoreboard.accuracy_page(found, questions) + more, encoding="utf-8")
    readme = ROOT / "README.md"
    if questions:
        text = scoreboard.readme(readme.read_text(encoding="utf-8"), scoreboard.question_table(questions))
        readme.write_text(text, encoding="utf-8")
    figures = {
        "sets": {name: scoreboard.ratchet(result) for name, result in found.items()},
        "questions": {
            words: {
                metric: round(item["median_ape"], 5)
                for metric, item in result["metrics"].items()
                if item["n"]
            }
            for words, result in questions.items()
        },
    }
    head = "# Median errors that may not get worse, by source; written by scripts/accuracy.py.\n"
    RATCHET.write_text(head + yaml.safe_dump(figures, sort_keys=False, width=120), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    folders = [word for word in arguments if not word.startswith("--")]
    if len(folders) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        folder = Path(folders[0])
        records = read_all(list(files(folder).values()))
        left_out = unseen(records) if "--left-out" in arguments else {}
        questions = {words: item.json() for words, item in left_out.items()}
        write(results(folder), questions, proof_sections(records, left_out))
    except AssayError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
