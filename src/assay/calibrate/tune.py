"""Searches the shape of the correction (`calibrations/serving_shape`), one number at a time.

    python -m assay.calibrate.tune FILE... --state tune.json [--seconds 3600]

A shape is scored on whole groups left out: the mean over questions and metrics of the median error. Each
number in turn, in an order drawn by the seed, is tried a step up and a step down, and kept where the score
falls. Every trial is written to the state, so that a search that was stopped goes on where it was. The
result is printed as a shape; nothing that assay ships is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from assay.calibrate.holdout import QUESTIONS, labels
from assay.calibrate.leave_out import merged, splits, taken
from assay.calibrate.residual import Shape
from assay.calibrate.serving import Predictor, gather, learn
from assay.calibrate.validate import identities, score
from assay.engine.residual import apply
from assay.errors import AssayError, BadInput
from assay.measure.read import read_all
from assay.measure.records import Records

#: Metrics whose median errors make up the score.
METRICS = ("tpot", "throughput", "ttft")
#: A number is tried times and over this.
STEP = 1.3
#: Least fall of the score that counts, relative: less is noise of the folds.
LEAST = 1e-3

Scorer = Callable[[Shape], float]


@dataclass(frozen=True, slots=True)
class Problem:
    """What shapes are scored on.

    Attributes:
        records: measured points.
        predictor: returns uncorrected predictions.
        questions: keys of `assay.calibrate.holdout.QUESTIONS`.
        folds: parts that the groups of a question are left out in. `seed`: of the folds.
    """

    records: Records
    predictor: Predictor
    questions: tuple[str, ...] = tuple(QUESTIONS)
    folds: int = 5
    seed: int = 0

    def scorer(self) -> Scorer:
        """Return the function that scores a shape; the physics is computed once.

        Raises:
            BadInput: no point can be predicted.
        """
        points, places, conditions, raw = gather(self.records, self.predictor)
        known = identities(self.records, places)
        named = {question: labels(known, question) for question in self.questions}

        def error(shape: Shape) -> float:
            found = []
            for question, names in named.items():
                parts = []
                for train, test in splits(names, question, "", self.folds, self.seed):
                    rows = np.flatnonzero(test)
                    fitted = learn(points.take(train), shape)
                    parts.append((rows, apply(conditions.take(rows), taken(raw, rows), fitted)))
                figures = score(self.records, places, merged(raw, conditions, parts)).figures()
                found += [value for name in METRICS if (value := figures[name]["median_ape"]) is not None]
            if not found:
                raise BadInput("No point of these files has a TPOT, a TTFT or a throughput.")
            return float(np.mean(found))

        return error


def numbers(shape: Shape) -> list[str]:
    """Return the names of the numbers of a shape that may be changed; zeros stay zero."""
    named = ["linear", "noise", "clip", "deployment"]
    for place, term in enumerate(shape.terms):
        fields = (name for name in ("variance", "constant", "length") if getattr(term, name))
        named += [f"terms/{place}/{name}" for name in fields]
    named += [f"own/{metric}/{name}" for metric in shape.own for name in ("noise", "clip")]
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
        elif kind == "own":
            metric, field = rest.split("/")
            noise, clip = shape.own[metric]
            pair = (noise * factor, clip) if field == "noise" else (noise, clip * factor)
            shape = replace(shape, own={**shape.own, metric: pair})
        elif kind == "emphasis":
            shape = replace(shape, emphasis={**shape.emphasis, rest: shape.emphasis[rest] * factor})
        else:
            shape = replace(shape, **{kind: getattr(shape, kind) * factor})
    return shape


def plain(shape: Shape) -> dict[str, Any]:
    """Return a shape as the data file holds it."""
    return {
        "terms": [
            {"level": list(term.level), "variance": term.variance, "constant": term.constant,
             "length": term.length}
            for term in shape.terms
        ],
        "linear": shape.linear,
        "noise": shape.noise,
        "clip": shape.clip,
        "own": {name: {"noise": noise, "clip": clip} for name, (noise, clip) in shape.own.items()},
        "centres": shape.centres,
        "rounds": shape.rounds,
        "deployment": shape.deployment,
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
    parser.add_argument("--state", type=Path, required=True, help="file the search is kept in")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after the trial that ends later")
    parser.add_argument("--questions", default=",".join(QUESTIONS), help="what is left out, by commas")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--centres", type=int, help="fewer than the shape's: quicker, and rougher")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the order")
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
        start = Shape.usual(given.seed)
        start = replace(start, centres=given.centres or start.centres)
        known = {"centres": start.centres, "folds": given.folds, "seed": given.seed, "questions": questions}
        state = _state(given.state, known)
        records = read_all(given.files)
        problem = Problem(
            records, lambda points: predict(points, residual=False), questions, given.folds, given.seed
        )
        end = time.monotonic() + given.seconds
        for line in search(start, problem.scorer(), state, given.seed):
            print(line, flush=True)
            given.state.write_text(json.dumps(state, indent=1), encoding="utf-8")
            if time.monotonic() > end:
                break
        shape = replace(changed(start, state["factors"]), centres=Shape.usual().centres)
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        return error.exit_code
    print(f"before {state['before']:.5f}, now {state['now']:.5f}")
    print(yaml.safe_dump(plain(shape), sort_keys=False, width=120))
    return 0


def _state(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a search, new where there is none.

    Raises:
        BadInput: the state is of a search with other folds, questions, centres or seed.
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
