"""The kernel of the calibrated correction: how alike two operating points are.

Points are alike when their physical features are close, and more so when they share an engine, a chip, a
model. With z the standardised features and R_l = exp(-|z - z'|^2 / 2 l^2),

    k = c z.z' + sum over terms  v [same group] (a + (1 - a) R_l)

Far from every measured point and group, k and with it the correction is nearly nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Codes = NDArray[np.int32]

#: Standardised features beyond this count as this much.
EDGE = 4.0


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the kernel.

    Attributes:
        level: parts of `assay.engine.features.identity` that two points must share; () = none.
        variance: v, log^2. `constant`: a, the part that does not fade within the group.
        length: l, in standard deviations over all features together.
    """

    level: tuple[str, ...]
    variance: float
    constant: float
    length: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel with its standardisation.

    Attributes:
        center, scale: of the features, (columns,); a scale of inf silences a feature.
        terms: see `Term`. `linear`: c, log^2.
    """

    center: Floats
    scale: Floats
    terms: tuple[Term, ...]
    linear: float

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Return the levels that the terms ask about, without repetition."""
        return tuple(dict.fromkeys(term.level for term in self.terms if term.level))

    def standard(self, features: Floats) -> Single:
        """Return standardised features; unknown ones count as average."""
        z = np.clip(np.nan_to_num((features - self.center) / self.scale), -EDGE, EDGE)
        return z.astype(np.float32)

    def between(self, first: tuple[Single, Codes, NDArray[np.intp]], second: tuple[Single, Codes]) -> Single:
        """Return the kernel between points, (n, m); see `compare`."""
        return self.compare(first, second)[0]

    def compare(
        self,
        first: tuple[Single, Codes, NDArray[np.intp]],
        second: tuple[Single, Codes],
        squares: Single | None = None,
    ) -> tuple[Single, Floats]:
        """Return the kernel between points, (n, m), and the squared distance to the closest, (n,).

        Args:
            first: standardised features (n, columns), group of each setting at each level (s, levels), and
                the setting of each point (n,).
            second: standardised features (m, columns) and group of each point at each level (m, levels);
                -1 = a group that nothing shares.
            squares: `squared` of the second features, where it is known already.
        """
        z, settings, index = first
        other, groups = second
        same = [settings[:, [place]] == groups[None, :, place] for place in range(len(self.levels))]
        place_of = {level: place for place, level in enumerate(self.levels)}
        shape = (len(settings), len(other))
        flat = np.zeros(shape, dtype=np.float32)
        fading: dict[float, Single] = {}
        for term in self.terms:
            shared = same[place_of[term.level]] if term.level else np.ones(shape, dtype=np.bool_)
            flat += np.float32(term.variance * term.constant) * shared
            part = fading.setdefault(term.length, np.zeros(shape, dtype=np.float32))
            part += np.float32(term.variance * (1.0 - term.constant)) * shared
        squares = squared(other) if squares is None else squares
        # what fades within groups that nobody shares is nothing
        fading = {length: part for length, part in fading.items() if part.any()}
        out = np.empty((len(z), len(other)), dtype=np.float32)
        least = np.full(len(z), np.inf)
        for start in range(0, len(z), 1024):
            rows = slice(start, start + 1024)
            # the row of a single setting is broadcast
            setting = index[rows] if len(settings) > 1 else slice(None)
            dot = z[rows] @ other.T
            gap = np.maximum(squared(z[rows])[:, None] + squares - 2 * dot, 0.0)
            piece = flat[setting] + np.float32(self.linear) * dot
            for length, part in fading.items():
                piece += part[setting] * np.exp(gap * np.float32(-0.5 / length**2))
            out[rows] = piece
            least[rows] = gap.min(axis=1, initial=np.inf)
        return out, least

    def itself(self, z: Single) -> Single:
        """Return the kernel of each point with itself, (n,)."""
        total = sum(term.variance for term in self.terms)
        out: Single = np.float32(total) + np.float32(self.linear) * squared(z)
        return out


def squared(z: Single) -> Single:
    """Return the squared length of each point's features, (n,)."""
    return np.asarray((z**2).sum(axis=1))


def closest(z: Single, other: Single, length: float) -> Floats:
    """Return the similarity R_l of each point to the most similar of others, (n,), 0 to 1."""
    out = np.zeros(len(z))
    squares = squared(other)
    for start in range(0, len(z), 1024):
        rows = slice(start, start + 1024)
        gap = squared(z[rows])[:, None] + squares - 2 * z[rows] @ other.T
        out[rows] = np.exp(-0.5 * np.maximum(gap.min(axis=1), 0.0) / length**2) if len(other) else 0.0
    return out


def encode(names: Sequence[Sequence[str]], vocabulary: Sequence[Mapping[str, int]]) -> Codes:
    """Return names of groups as numbers, (n, levels); a name that is not in the vocabulary is -1."""
    rows = [[words.get(name, -1) for name, words in zip(row, vocabulary, strict=True)] for row in names]
    return np.array(rows, dtype=np.int32).reshape(len(names), len(vocabulary))


def plain(kernel: Kernel) -> dict[str, Any]:
    """Return the terms of a kernel as plain data."""
    return {
        "linear": kernel.linear,
        "terms": [
            {
                "level": list(term.level),
                "variance": term.variance,
                "constant": term.constant,
                "length": term.length,
            }
            for term in kernel.terms
        ],
    }


def terms_of(data: Mapping[str, Any]) -> tuple[tuple[Term, ...], float]:
    """Return the terms that `plain` wrote, and the weight of the linear one."""
    terms = tuple(
        Term(tuple(item["level"]), float(item["variance"]), float(item["constant"]), float(item["length"]))
        for item in data["terms"]
    )
    return terms, float(data["linear"])
