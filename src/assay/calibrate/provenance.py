"""A calibration with what it rests on, and the file it is written to."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from assay import __version__
from assay.calibrate.holdout import labels
from assay.calibrate.leave_out import matches, parse
from assay.calibrate.residual import Shape
from assay.calibrate.serving import Predictor, gather, learn
from assay.calibrate.validate import identities, publisher
from assay.catalogue.compiled import DATA
from assay.catalogue.load import catalogue
from assay.engine.residual import Calibration, dump
from assay.errors import BadInput
from assay.measure.records import Records

_HEAD = (
    "# The correction of serving predictions and its intervals: coefficients, written by `assay calibrate`.\n"
    "# No measured value is in here; `about` says what it was fitted to.\n"
)


def fitted(
    records: Records, predictor: Predictor, leave_out: str, seed: int
) -> tuple[Calibration, list[str]]:
    """Return a calibration and what to tell about it.

    Args:
        records: measured points. `predictor`: returns uncorrected predictions.
        leave_out: `KEY=VALUE` of a group to leave out, "" for none.
        seed: of every draw.

    Raises:
        BadInput: no such group, a key without a value, or too few points.
    """
    points, places, _, _ = gather(records, predictor)
    kept = np.ones(len(points), dtype=np.bool_)
    if leave_out:
        question, value = parse(leave_out)
        if not value:
            raise BadInput(
                f"--leave-out {leave_out} names no group.", "Write KEY=VALUE, such as accelerator=B300."
            )
        kept = ~matches(labels(identities(records, places), question), question, value)
    have = np.any([np.isfinite(values) for values in points.targets.values()], axis=0) & kept
    sources = Counter(publisher(records.rows[place].source) for place in places[have])
    counts = {name: int((np.isfinite(values) & kept).sum()) for name, values in points.targets.items()}
    about: dict[str, object] = {
        "version": __version__,
        "catalogue": catalogue().hash,
        "seed": seed,
        "left_out": leave_out,
        "points": int(have.sum()),
        "measured": counts,
        "sources": dict(sources.most_common()),
    }
    calibration = learn(points.take(kept), Shape.usual(seed), about)
    digest = hashlib.sha256(repr(sorted(dump(calibration).items(), key=str)).encode()).hexdigest()[:12]
    lines = [f"{about['points']:,} points from {len(sources)} sources"]
    for name, item in calibration.metrics.items():
        low, high = item.intervals["chip, model and engine"]
        centres = len(item.centres)
        lines.append(
            f"  {name}: {counts[name]:,} points, {centres:,} centres; interval scale {low:.2f} to {high:.2f}"
        )
    return replace(calibration, id=f"serving-{digest}"), lines


def write(calibration: Calibration, out: Path | None) -> Path:
    """Write a calibration and return where: `out`, or the file that assay ships."""
    place = out or DATA / "calibrations" / "serving.yaml"
    text = yaml.dump(
        dump(calibration),
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        sort_keys=False,
        width=1_000_000,
    )
    place.write_text(_HEAD + text, encoding="utf-8")
    return place
