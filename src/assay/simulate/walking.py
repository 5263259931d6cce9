"""Step times inside the kernel: interpolation, and whole runs of decode steps in closed form.

While nothing enters and nothing finishes, each decode step sees contexts one token longer than the last, so
step times rise along a line between two nodes of the table: k steps take `k f + slope k (k - 1) / 2`.
"""

from __future__ import annotations

import math

from assay.simulate.rows import PoolRow
from assay.simulate.state import Floats


def place(x: float) -> int:
    """Return the node at or below x >= 0: whole numbers up to 16, then eight an octave."""
    if x < 8.0:
        return int(x)
    mantissa, exponent = math.frexp(x)
    return 8 * (exponent - 3) + int(16.0 * mantissa) - 8


def curve(node: Floats, table: Floats, start: int, x: float) -> float:
    """Return the value of a curve at x; `start` is its place in the table."""
    j = place(x)
    low = table[start + j]
    return low + (table[start + j + 1] - low) * (x - node[j]) / (node[j + 1] - node[j])


def surface(node: Floats, table: Floats, start: int, x: float, y: float, columns: int) -> float:
    """Return the value of a surface at (x, y), bilinear between nodes; rows are nodes of x."""
    i, j = place(x), place(y)
    at = start + i * columns + j
    right = (y - node[j]) / (node[j + 1] - node[j])
    low = table[at] + (table[at + 1] - table[at]) * right
    if x == node[i]:
        return low
    at += columns
    high = table[at] + (table[at + 1] - table[at]) * right
    return low + (high - low) * (x - node[i]) / (node[i + 1] - node[i])


def line(node: Floats, table: Floats, pool: PoolRow, count: int, mean: float) -> tuple[float, float, float]:
    """Return (s of a decode step without the host, s more a token of mean context, where the line ends)."""
    j = place(mean)
    at = pool.base + (count + pool.ranks - 1) // pool.ranks * pool.contexts + j
    left, right = node[j], node[j + 1]
    low = table[at]
    slope = (table[at + 1] - low) / (right - left)
    first = low + slope * (mean - left)
    if pool.experts >= 0:
        first += curve(node, table, pool.experts, float(count * pool.width))
    return first, slope, right


def walk(
    node: Floats, table: Floats, pool: PoolRow, count: int, mean: float, most: int, limit: float
) -> tuple[int, float]:
    """Return (decode steps, seconds): up to `most` steps, or to the first step end at or after `limit` s.

    `count` sequences of `mean` context decode; a step is never shorter than the host's own work.
    """
    host = pool.host + pool.host_sequence * ((count + pool.ranks - 1) // pool.ranks)
    yields = pool.yields
    done, spent = 0, 0.0
    while done < most and spent < limit:
        first, slope, right = line(node, table, pool, count, mean)
        rise = slope * yields
        m = int((right - mean) / yields) + 1
        m = min(m, most - done)
        if first < host:
            if first + rise * m > host:
                m = min(m, int((host - first) / rise) + 1)
            first, rise = host, 0.0
        total = m * first + rise * (0.5 * m * (m - 1))
        if spent + total >= limit:
            m = fewest(first, rise, limit - spent, m)
            total = m * first + rise * (0.5 * m * (m - 1))
        done += m
        spent += total
        mean += m * yields
    return done, spent


def fewest(first: float, rise: float, limit: float, most: int) -> int:
    """Return the fewest steps, 1 to `most`, that take at least `limit` s; step i takes first + i rise."""
    if rise * most > 1e-9 * first:
        b = first - 0.5 * rise
        m = int((math.sqrt(b * b + 2.0 * rise * limit) - b) / rise)
    else:
        m = int(limit / first)
    m = max(1, min(m, most))
    while m < most and m * first + rise * (0.5 * m * (m - 1)) < limit:
        m += 1
    while m > 1 and (m - 1) * first + rise * (0.5 * (m - 1) * (m - 2)) >= limit:
        m -= 1
    return m


def mixed(
    node: Floats, table: Floats, pool: PoolRow, count: int, mean: float, prompt: tuple[int, int, float]
) -> float:
    """Return the time of a step with prompt tokens, s.

    Args:
        node, table, pool: positions, tables and the pool.
        count: sequences that decode in it.
        mean: their mean context, tokens.
        prompt: prompt tokens of the busiest rank, of all ranks, and s of their attention.
    """
    busiest, tokens, attention = prompt
    local = (count + pool.ranks - 1) // pool.ranks
    spent = line(node, table, pool, count, mean)[0] + attention
    spent += surface(node, table, pool.joint, float(local), float(busiest), pool.prompts)
    if pool.experts >= 0:
        rows = count * pool.width
        spent += curve(node, table, pool.experts, float(rows + tokens))
        spent -= curve(node, table, pool.experts, float(rows))
    return max(spent, pool.host + pool.host_sequence * local)
