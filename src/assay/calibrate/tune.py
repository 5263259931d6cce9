"""Searches the shape of the correction (`calibrations/serving_shape`), one number at a time.

    python -m assay.calibrate.tune FILE... --metric ttft --state tune.json [--seconds 3600]

A shape is scored on whole groups left out: the mean over questions of the median error of one metric. One fit
answers for every group of every question (`Fit.left_out`), with centres placed on all points. Each number in
turn, in an order drawn by the seed, is tried a step up and a step down, and kept where the score falls. Every
trial is written to the state, so that a search that was stopped goes on where it was. The result is printed
as a shape; nothing that assay ships is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from assay.calibrate.holdout import QUESTIONS
from assay.calibrate.residual import Shape, basis, fit
from assay.calibrate.serving import Predictor, gather
from assay.engine.residual import METRICS
from assay.errors import AssayError, BadInput
from assay.measure.read import read_all
from assay.measure.records import Records

#: A number is tried times and over this.
STEP = 1.3
#: Least fall of the score that counts, relative: less is chance.
LEAST = 1e-3

Scorer = Callable[[Shape], float]


def scorer(records: Records, predictor: Predictor, metric: str, questions: Sequence[str]) -> Scorer:
    """Return the function that scores a shape; the physics is computed once.

    Args:
        records: measured points.
        predictor: returns uncorrected predictions.
        metric: one of `METRICS`.
        questions: keys of `assay.calibrate.holdout.QUESTIONS`.

    Raises:
        BadInput: no point with that metric can be predicted.
    """
    points = gather(records, predictor)[0]
    points = points.take(np.isfinite(points.targets[metric]))
    if not len(points):
        raise BadInput(f"No point of these files has {metric}.")
    groups = [points.codes(QUESTIONS[question]) for question in questions]

    def error(shape: Shape) -> float:
        found = fit(points, metric, shape, basis(points, shape))
        errors = [np.abs(np.expm1(-found.left_out(codes))) for codes in groups]
        return float(np.mean([np.median(item) for item in errors]))

    return error


def numbers(shape: Shape) -> list[str]:
    """Return the names of the numbers of a shape that may be changed; zeros stay zero."""
    named = ["linear", "noise", "clip", "deployment"]
    for place, term in enumerate(shape.terms):
        fields = (name for name in ("variance", "constant", "length") if getattr(term, name))
        named += [f"terms/{place}/{name}" for name in fields]
    return named + [f"emphasis/{feature}" for feature in shape.emphasis]


def changed(shape: Shape, factors: Mapping[str, float]) -> Shape:
    """Return a shape with some of its numbers multiplied.

    Args:
        shape: the shape.
        factors: name of `numbers` -> factor.

    Raises:
        BadInput: a name that is no number of the shape.
    """
    known = set(numbers(shape))
    for name, factor in factors.items():
        if name not in known:
            raise BadInput(f"The shape has no number {name!r}.", "The state is of another shape; start anew.")
        kind, _, rest = name.partition("/")
        if kind == "terms":
            place, field = int(rest.split("/")[0]), rest.split("/")[1]
            term = replace(shape.terms[place], **{field: getattr(shape.terms[place], field) * factor})
            shape = replace(shape, terms=(*shape.terms[:place], term, *shape.terms[place + 1 :]))
        elif kind == "emphasis":
            shape = replace(shape, emphasis={**shape.emphasis, rest: shape.emphasis[rest] * factor})
        else:
            shape = replace(shape, **{kind: getattr(shape, kind) * factor})
    return shape


def plain(shape: Shape) -> dict[str, Any]:
    """Return a shape as the data file holds it, under `own` and the name of its metric."""
    return {
        "terms": [
            {"level": list(term.level), "variance": term.variance, "constant": term.constant,
             "length": term.length}
            for term in shape.terms
        ],
        "linear": shape.linear,
        "noise": shape.noise,
        "clip": shape.clip,
        "centres": shape.centres,
        "rounds": shape.rounds,
        "deployment": shape.deployment,
        "coverage": shape.coverage,
        "emphasis": dict(shape.emphasis),
    }  # fmt: skip


def search(start: Shape, error: Scorer, state: dict[str, Any], seed: int = 0) -> Iterator[str]:
    """Improve a shape number by number, and yield a line for each trial; `state` is kept up to date.

    Args:
        start: the shape to begin with.
        error: scores a shape, less is better.
        state: `factors` (name -> factor), `before`, `now` (scores), `tried` (names of this round), `round`;
            empty at first. It can be written and read between two lines.
        seed: of the order of the numbers.
    """
    if "before" not in state:
        found = error(start)
        state |= {"before": found, "now": found, "factors": {}, "tried": [], "round": 0}
        yield f"before: {found:.5f}"
    order = np.random.default_rng([seed, state["round"]]).permutation(numbers(start)).tolist()
    for name in order:
        if name in state["tried"]:
            continue
        was = state["factors"].get(name, 1.0)
        for factor in (was * STEP, was / STEP):
            found = error(changed(start, {**state["factors"], name: factor}))
            better = found < state["now"] * (1 - LEAST)
            if better:
                state["factors"][name], state["now"] = factor, found
            if better or factor < was:
                state["tried"].append(name)
            yield f"{name} x{factor:.3g}: {found:.5f}{' kept' if better else ''}"
            if better:
                break
    state |= {"tried": [], "round": state["round"] + 1}
    yield f"round {state['round']} done: {state['before']:.5f} -> {state['now']:.5f}"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m assay.calibrate.tune", description=__doc__)
    parser.add_argument("files", nargs="+", help="measured points")
    parser.add_argument("--metric", choices=METRICS, required=True)
    parser.add_argument("--state", type=Path, required=True, help="file the search is kept in")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after the trial that ends later")
    parser.add_argument("--questions", default=",".join(QUESTIONS), help="what is left out, by commas")
    parser.add_argument("--centres", type=int, help="fewer than the shape's: quicker, and rougher")
    parser.add_argument("--seed", type=int, default=0, help="of the centres and of the order")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    from assay.plan.predict import predict

    given = _arguments().parse_args(arguments)
    try:
        questions = tuple(given.questions.split(","))
        if unknown := set(questions) - set(QUESTIONS):
            raise BadInput(
                f"Cannot leave out {', '.join(sorted(unknown))}.", f"Choose {', '.join(QUESTIONS)}."
            )
        usual = Shape.usual(given.seed).of(given.metric)
        start = replace(usual, centres=given.centres or usual.centres)
        known = {
            "metric": given.metric, "centres": start.centres, "seed": given.seed, "questions": questions
        }  # fmt: skip
        state = _state(given.state, known)
        records = read_all(given.files)
        error = scorer(records, lambda points: predict(points, residual=False), given.metric, questions)
        end = time.monotonic() + given.seconds
        for line in search(start, error, state, given.seed):
            print(line, flush=True)
            given.state.write_text(json.dumps(state, indent=1), encoding="utf-8")
            if time.monotonic() > end:
                break
        shape = replace(changed(start, state["factors"]), centres=usual.centres)
    except AssayError as failure:
        print(f"assay: {failure}", file=sys.stderr)
        return failure.exit_code
    print(f"before {state['before']:.5f}, now {state['now']:.5f}")
    print(yaml.safe_dump(plain(shape), sort_keys=False, width=120))
    return 0


def _state(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a search, new where there is none.

    Raises:
        BadInput: the state is of a search with another metric, questions, centres or seed.
    """
    known = json.loads(json.dumps(known))
    if not path.exists():
        return {"of": known}
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is no state of a search: {error}.", "Name another file.") from None
    if state.get("of") != known:
        raise BadInput(
            f"{path} is of a search with {state.get('of')}.", "Repeat its flags, or name another file."
        )
    return state


if __name__ == "__main__":
    sys.exit(main())
