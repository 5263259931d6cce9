"""Validation of a calibration on groups it has not seen: refitted without each fold, scored on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.holdout import QUESTIONS, folds, labels
from assay.calibrate.residual import Shape
from assay.calibrate.serving import Predictor, gather, learn
from assay.calibrate.validate import Validation, identities, score
from assay.engine.features import family
from assay.engine.residual import apply
from assay.errors import BadInput
from assay.estimate import Estimate
from assay.measure import naming
from assay.measure.records import Records
from assay.study.conditions import Conditions, Predictions

_ESTIMATES = ("tpot", "ttft", "throughput", "e2e", "ttft_median", "joules")


def parse(text: str) -> tuple[str, str]:
    """Return (question, value) of `accelerator` or `accelerator=B300`.

    Raises:
        BadInput: no such question, or a value where none is meant.
    """
    question, _, value = text.partition("=")
    if question not in QUESTIONS:
        raise BadInput(f"Cannot leave out {question!r}.", f"Choose {', '.join(QUESTIONS)}, or KEY=VALUE.")
    return question, value


def matches(names: NDArray[np.str_], question: str, value: str) -> NDArray[np.bool_]:
    """Return which groups a value names: a chip, a family or model, or parts joined by "|".

    Raises:
        BadInput: it names none of them.
    """
    from assay.catalogue.load import catalogue

    known = {value, value.lower()}
    if question == "accelerator" and (device := naming.accelerator(value)).system:
        known.add(catalogue().system(device.system).chip.id)
    if question == "model":
        found = naming.model(value)[0]
        known |= {found, family(found)} if found else {family(value)}
    hit = np.isin(names, list(known))
    if not hit.any():
        raise BadInput(
            f"No point has {question} {value!r}.", f"There are {', '.join(sorted(set(names))[:12])} ..."
        )
    return np.asarray(hit)


def splits(
    names: NDArray[np.str_], question: str, value: str, count: int, seed: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield (train, test) masks: one for a value, else folds of whole groups."""
    if value:
        test = matches(names, question, value)
        yield ~test, test
    else:
        yield from folds(names, count, seed)


def validate_left_out(
    records: Records,
    predictor: Predictor,
    text: str,
    *,
    count: int = 10,
    seed: int = 0,
    shape: Shape | None = None,
) -> Validation:
    """Score predictions of points whose group the calibration has not seen.

    With a value (`accelerator=B300`) only the points of that group are scored.

    Args:
        records: measured points; they are the evidence, too.
        predictor: returns uncorrected predictions.
        text: `KEY` or `KEY=VALUE`, keys of `QUESTIONS`.
        count: folds of whole groups. `seed`: of the folds. `shape`: of the fits.

    Raises:
        BadInput: no such key or group, or too few points.
    """
    question, value = parse(text)
    points, places, conditions, raw = gather(records, predictor)
    names = labels(identities(records, places), question)
    parts: list[tuple[NDArray[np.intp], Predictions]] = []
    for train, test in splits(names, question, value, count, seed):
        calibration = learn(points.take(train), shape)
        rows = np.flatnonzero(test)
        parts.append((rows, apply(conditions.take(rows), taken(raw, rows), calibration)))
    if value:
        rows, found = parts[0]
        kept = records.take(places[rows])
        return score(kept, np.arange(len(rows)), found)
    return score(records, places, merged(raw, conditions, parts))


def taken(raw: Predictions, rows: NDArray[np.intp]) -> Predictions:
    """Return the predictions of some points."""

    def pick(estimate: Estimate) -> Estimate:
        parts = (
            np.asarray(getattr(estimate, part), dtype=np.float64)
            for part in ("value", "low", "high", "floor")
        )
        value, low, high, floor = (part if part.ndim == 0 else part[rows] for part in parts)
        return Estimate(value, low, high, floor, estimate.basis)

    return Predictions(
        **{name: pick(getattr(raw, name)) for name in _ESTIMATES},
        reason=tuple(raw.reason[row] for row in rows),
        basis=tuple(raw.basis[row] for row in rows),
        terms={name: values[rows] for name, values in raw.terms.items()},
    )


def merged(
    raw: Predictions, conditions: Conditions, parts: list[tuple[NDArray[np.intp], Predictions]]
) -> Predictions:
    """Return the predictions of all folds in the order of the points."""
    n = len(conditions)
    changed: dict[str, Estimate] = {}
    for name in _ESTIMATES:
        columns = {part: np.full(n, np.nan) for part in ("value", "low", "high", "floor")}
        for rows, found in parts:
            for part, column in columns.items():
                column[rows] = np.asarray(getattr(getattr(found, name), part), dtype=np.float64)
        changed[name] = Estimate(**columns, basis="calibrated chip")
    basis = list(raw.basis)
    for rows, found in parts:
        for row, rung in zip(rows, found.basis, strict=True):
            basis[row] = rung
    return replace(raw, tpot=changed["tpot"], ttft=changed["ttft"], throughput=changed["throughput"],
                   e2e=changed["e2e"], ttft_median=changed["ttft_median"], joules=changed["joules"],
                   basis=tuple(basis))  # fmt: skip
