"""`assay calibrate`: fit the correction and its intervals to measured points."""

from __future__ import annotations

import sys
from pathlib import Path

from assay.cli.flags import Facts, Name
from assay.errors import BadInput


def calibrate(
    *files: Path,
    leave_out: Name | None = None,
    out: Path | None = None,
    seed: int = 0,
    json: bool = False,
    facts: Facts | None = None,
) -> int:
    """Fit the correction of predictions, and its intervals, to measured points.

    The result holds coefficients and where they come from, no measured point. Without --out it replaces
    the calibration that assay ships; one in a folder of ASSAY_FACTS is used instead of ours.

    Args:
        files: measured points, in any format that `assay validate` reads.
        leave_out: KEY=VALUE of a group to leave out, such as accelerator=B300.
        out: file to write.
        seed: of every draw.
        json: say as JSON what was fitted.
        facts: folder of your own chips, systems, models; may be repeated.
    """
    from assay.calibrate.provenance import fitted, write
    from assay.cli.measured import predictor, use
    from assay.measure.read import read_all
    from assay.report.export import write_json

    if not files:
        raise BadInput("No measured points to calibrate on.", "`assay calibrate FILE...`")
    use(facts)
    records = read_all(files)
    calibration, lines = fitted(records, predictor(residual=False), leave_out or "", seed)
    place = write(calibration, out)
    if json:
        intervals = {name: item.intervals for name, item in calibration.metrics.items()}
        about = {**calibration.about, "id": calibration.id, "intervals": intervals}
        write_json({**about, "written_to": str(place)}, sys.stdout)
        return 0
    print("\n".join(lines))
    print(f"written to {place}")
    return 0
