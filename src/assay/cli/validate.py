"""`assay validate`: predicted against measured, on any file of points."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from assay.cli.flags import Facts, Name
from assay.errors import BadInput

Key = Literal["accelerator", "model", "engine", "source", "regime"]


def validate(  # noqa: PLR0913 - one argument a flag
    *files: Path,
    by: tuple[Key, ...] = (),
    leave_out: Name | None = None,
    folds: int = 10,
    planned: bool = False,
    pairs: bool = False,
    html: Path | None = None,
    json: bool = False,
    on: Name | None = None,
    chips: Name | None = None,
    model: Name | None = None,
    layout: Name | None = None,
    engine: Name | None = None,
    weights: Name | None = None,
    kv: Name | None = None,
    facts: Facts | None = None,
) -> int:
    """Score predictions against measured points: error, bias, coverage of the interval, what is not answered.

    Args:
        files: tables of points, InferenceX, MLPerf, vLLM, SGLang, aiperf, guidellm or inference-perf results.
        by: also by accelerator, model, engine, source or regime; may be repeated.
        leave_out: calibrate on the files without a group and score it: accelerator, model, group
            (chip, model, engine), pair (chip, model), configuration, or one of them as KEY=VALUE.
        folds: parts that the groups are left out in.
        planned: score only what is answered by planning the best deployment (MLPerf Offline and Server whose
            layout nobody published), by accelerator, and the ratios between accelerators.
        pairs: also compare points that differ in one condition: is the change predicted the right way, and
            as large.
        html: write the result as one HTML file.
        json: write the result as JSON.
        on: system of every point, where the files do not say.
        chips: number of chips, where the files do not say.
        model: model, where the files do not say or name it in their own way.
        layout: parallel degrees, where the files do not say: tp8, tep8, dep16.
        engine: serving engine, where the files do not say.
        weights: weight format, where the files do not say.
        kv: KV cache format, where the files do not say.
        facts: folder of your own chips, systems, models; may be repeated.
    """
    from assay.calibrate import planned as planning
    from assay.calibrate.leave_out import validate_left_out
    from assay.calibrate.pairs import pairs as matched
    from assay.calibrate.pairs import summary
    from assay.calibrate.validate import METRICS
    from assay.calibrate.validate import validate as compare
    from assay.cli.measured import predictor, stated, use
    from assay.measure.read import read_all
    from assay.report import proof
    from assay.report.export import write_json
    from assay.report.scoreboard import html as write_html
    from assay.report.scoreboard import page
    from assay.report.terminal import put

    if not files:
        raise BadInput("No file to validate.", "`assay validate FILE...`")
    use(facts)
    records = read_all(files, stated(on, chips, model, layout, engine, weights, kv))
    if leave_out:
        found = validate_left_out(records, predictor(residual=False), leave_out, count=folds)
    else:
        found = compare(records, predictor())
    ratios = planning.ratios(found) if planned else []
    compared = summary(matched(found)) if pairs else []
    if planned:
        found = found.where(planning.planned(found.records))
    result = found.json(by)
    if html is not None:
        drawn = {metric: found.scores[metric].pairs() for metric in METRICS}
        html.write_text(write_html(result, drawn, "assay validate"), encoding="utf-8")
    if planned:
        result["ratios"] = [asdict(item) for item in ratios]
    if pairs:
        result["pairs"] = compared
    if json:
        write_json(result, sys.stdout)
        return 0
    put(page(result))
    if planned:
        put(proof.planned_page(planning.by_chip(found), ratios))
    if pairs:
        put(proof.pairs_page(compared))
    return 0
