"""Whole-group splits: what a calibration is asked about when it has not seen a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput

#: Question -> parts of `assay.engine.features.identity` that a left-out group shares.
QUESTIONS = {
    "configuration": ("chip", "model", "engine", "recipe", "layout"),
    "group": ("chip", "model", "engine"),
    "pair": ("chip", "model"),
    "accelerator": ("chip",),
    "model": ("family",),
}

#: Question -> how it is asked in words.
WORDS = {
    "configuration": "unseen configuration",
    "group": "unseen (chip, model, engine)",
    "pair": "unseen (chip, model)",
    "accelerator": "unseen chip",
    "model": "unseen model family",
}


def folds(
    groups: NDArray[np.str_], count: int, seed: int = 0
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield (train, test) masks in which no group is on both sides.

    Groups are shuffled with the seed and dealt to the fold that has the fewest points; with no more groups
    than folds each group is left out alone.

    Args:
        groups: group of each point (n,).
        count: number of folds.
        seed: of the shuffle.

    Raises:
        BadInput: fewer than two groups.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise BadInput(
            f"All points are of one group ({names[0] if len(names) else 'none'}).", "Give more points."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load = np.zeros(min(count, len(names)))
    fold = {}
    for place in order:
        fold[names[place]] = int(load.argmin())
        load[load.argmin()] += sizes[place]
    owner = np.array([fold[name] for name in groups])
    for number in range(len(load)):
        yield owner != number, owner == number


def labels(identities: Sequence[dict[str, str]], question: str) -> NDArray[np.str_]:
    """Return the group of each point under a question.

    Args:
        identities: parts of each point's setting.
        question: key of `QUESTIONS`.

    Raises:
        BadInput: no such question.
    """
    if question not in QUESTIONS:
        raise BadInput(f"Cannot leave out {question!r}.", f"Choose {', '.join(QUESTIONS)}.")
    return np.array(
        ["|".join(item[name] for name in QUESTIONS[question]) for item in identities], dtype=np.str_
    )
