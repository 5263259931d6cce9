"""Layouts as published in tables of points -> pools of replicas.

Sources write degrees in many ways: `4P/8D` for prefill and decode, `1x4P/4x8D workers`, DP as attention
groups or as replicas, TP in cores, EP as the whole stage or per group. What they leave open is marked,
never invented in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from assay.llm.layout import Layout
from assay.study.conditions import Pool

_SPLIT = re.compile(r"^\s*(\d+|-)\s*P\s*/\s*(\d+|-)\s*D", re.IGNORECASE)
_WORKERS = re.compile(r"(\d+)x(\d+)P/(\d+)x(\d+)D", re.IGNORECASE)
_SAMPLE = re.compile(
    r"P: (\d+) workers tp(\d+) dp(\d+) ep(\d+).*?D: (\d+) workers tp(\d+) dp(\d+) ep(\d+)", re.IGNORECASE
)
_SAMPLE_ID = re.compile(r"_tp(\d+)(?:_0)?_ep(\d+|none)")
_EXPERTS = re.compile(r"moe_tp(\d+) moe_ep(\d+)")


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a source says runs where.

    Attributes:
        pool: replicas that decode (and prefill); None = layout not published.
        prefill: separate prefill replicas, or None.
        chips: chips the source divides by; 0 = not stated.
        flags: `workers_assumed` where worker counts are missing.
    """

    pool: Pool | None
    prefill: Pool | None
    chips: int
    flags: tuple[str, ...] = ()


def number(text: str | None) -> float | None:
    """Return a number written as text, or None."""
    try:
        return float(text) if text not in (None, "") else None
    except ValueError:
        return None


def stage(tp: int, dp: int, ep: int, *, attention_dp: bool, world: int = 0) -> Layout:
    """Return the layout of one worker from the degrees that a source gives.

    Args:
        tp: TP degree, of attention or of the whole worker.
        dp: attention-DP degree, 0 or 1 if none.
        ep: EP degree; reduced to a divisor of the worker.
        attention_dp: whether attention runs data-parallel.
        world: chips of the worker, 0 if they follow from tp x dp.
    """
    tp, dp, ep = max(tp, 1), max(dp, 1), max(ep, 1)
    size = world or max(tp * dp if dp > 1 and tp != dp else max(tp, dp), ep)
    if attention_dp:
        groups = dp if 1 < dp <= size and size % dp == 0 else size
        layout_tp, layout_dp = size // groups, groups
    elif dp > 1 and size % dp == 0:
        layout_tp, layout_dp = size // dp, dp
    else:
        layout_tp, layout_dp = size, 1
    while size % ep:
        ep -= 1
    return Layout(tp=layout_tp, dp=layout_dp, ep=ep)


def split(text: str | None) -> tuple[int, int]:
    """Return (prefill, decode) of `4P/8D` or `8`; 0 = not stated."""
    if not text:
        return 0, 0
    found = _SPLIT.match(text)
    if found:
        left, right = (int(part) if part.isdigit() else 0 for part in found.groups())
        return left, right
    value = int(number(text) or 0)
    return value, value


def flags_of(text: str | None) -> tuple[bool, bool]:
    """Return (prefill, decode) of `true P/false D` or `True`."""
    low = (text or "").lower()
    if "/" in low:
        left, right = low.split("/", 1)
        return "true" in left, "true" in right
    return low == "true", low == "true"


def deployed(row: Mapping[str, str], cores: int = 1) -> Deployed:
    """Return what runs where, from the columns of a table of points.

    Args:
        row: columns tp, pp, ep, dp, dp_attention, disaggregated, prefill_gpus, decode_gpus,
            n_accelerators, notes and source.
        cores: ranks a source counts on one chip in its TP degree.
    """
    chips = int(number(row.get("n_accelerators")) or 0)
    sample = _SAMPLE.search(row.get("notes") or "")
    if re.match(r"0x|.*/0x", row.get("dp") or ""):
        return Deployed(None, None, chips, ("workers_assumed",))
    if (row.get("disaggregated") or "").lower() == "true":
        return _sample(sample, chips) if sample else _disaggregated(row, chips)
    return _aggregated(row, chips, cores)


def _sample(found: re.Match[str], chips: int) -> Deployed:
    """Read the worker layout of AIConfigurator's sample."""
    p_workers, p_tp, p_dp, p_ep, workers, tp, dp, ep = (int(part) for part in found.groups())
    prefill = stage(p_tp, p_dp, p_ep, attention_dp=p_dp > 1)
    if p_workers and workers:
        pools = Pool(stage(tp, dp, ep, attention_dp=dp > 1), workers), Pool(prefill, p_workers)
        return Deployed(*pools, max(chips, sum(pool.chips for pool in pools)))
    if max(p_tp * p_dp, tp * dp) == 1:
        return Deployed(None, None, chips, ("workers_assumed",))
    # Without worker counts the sample repeats the prefill EP for decode; more than a node is run as wide EP.
    wide = tp > 8
    decode = stage(tp, dp, tp if ep > 1 or wide else 1, attention_dp=dp > 1 or wide)
    pools = Pool(decode), Pool(prefill)
    return Deployed(*pools, sum(pool.chips for pool in pools), ("workers_assumed",))


def _disaggregated(row: Mapping[str, str], chips: int) -> Deployed:
    """Read `1x4P/4x8D workers`, or pools of which only the sizes are known."""
    tp, ep = split(row.get("tp")), split(row.get("ep"))
    attention = flags_of(row.get("dp_attention"))
    workers = _WORKERS.search(row.get("dp") or "")
    counts = (int(workers[1]), int(workers[3])) if workers else (0, 0)
    listed = tuple(int(number(row.get(name)) or 0) for name in ("prefill_gpus", "decode_gpus"))
    if not workers and not all(listed):
        return Deployed(None, None, chips, ("workers_assumed",))
    pools: list[Pool] = []
    for side in (0, 1):
        count = counts[side] or max(1, listed[side] // max(tp[side], ep[side], 1))
        world = max(tp[side], ep[side], 1)
        each = listed[side] // count if listed[side] else world
        if attention[side] and each > world:
            world = each
        if world == 1 and attention[side]:
            return Deployed(None, None, chips, ("workers_assumed",))
        pools.append(Pool(stage(tp[side], 1, ep[side], attention_dp=attention[side], world=world), count))
    total = pools[0].chips + pools[1].chips
    return Deployed(pools[1], pools[0], max(chips, total))


def _aggregated(row: Mapping[str, str], chips: int, cores: int) -> Deployed:
    """Read one pool; contradictions of known samples are put right by their own fields."""
    tp, ep = split(row.get("tp"))[1], split(row.get("ep"))[1]
    pp, dp = int(number(row.get("pp")) or 1), int(number(row.get("dp")) or 0)
    attention = flags_of(row.get("dp_attention"))[1]
    if row.get("tp") in (None, "") and pp <= 1:
        layout = Layout(tp=chips) if chips == 1 else None
        return Deployed(Pool(layout) if layout else None, None, chips)
    experts = _EXPERTS.search(row.get("notes") or "")
    if experts:
        return _sample_aggregated(row, (tp, dp, ep), (int(experts[1]), int(experts[2])), chips)
    tp = max(tp, 1)
    if cores > 1 and chips and tp > chips:
        tp = max(1, chips // pp)
    if attention:
        layout = stage(tp, dp, ep, attention_dp=True, world=_attention_world(tp, dp, ep, chips))
    else:
        world = tp * max(dp, 1)
        if chips and chips % (tp * pp) == 0 and dp <= 1 and ep <= tp:
            one = _with_pp(stage(tp, 1, ep, attention_dp=False), pp)
            return Deployed(Pool(one, chips // one.chips), None, chips)
        layout = stage(tp, dp, ep, attention_dp=False, world=world if ep <= world else ep)
    layout = _with_pp(layout, pp)
    copies = max(1, chips // layout.chips) if chips else 1
    return Deployed(Pool(layout, copies), None, max(chips, layout.chips))


def _attention_world(tp: int, dp: int, ep: int, chips: int) -> int:
    """Return the chips of one worker with attention DP: TP counts the whole worker, or one of its groups."""
    whole = tp if dp <= 1 or tp == dp else tp * dp
    if chips and whole > chips:
        whole = tp
    return max(whole, ep)


def _sample_aggregated(
    row: Mapping[str, str], degrees: tuple[int, int, int], experts: tuple[int, int], chips: int
) -> Deployed:
    """Read an aggregated row of AIConfigurator's sample.

    Some rows multiply TP by EP (`tp16 moe_tp4 moe_ep4`) or list TP twice as attention DP
    (`tp4 dp4 ep16`): the run behind them used TP4 EP4 on four chips.
    """
    tp, dp, ep = max(degrees[0], 1), max(degrees[1], 1), max(degrees[2], 1)
    moe_tp, moe_ep = experts
    named = _SAMPLE_ID.search(row.get("source") or "")
    raw = int(named[1]) if named else 0
    if moe_tp == moe_ep > 1 and moe_tp * moe_ep == tp * dp:
        layout = stage(moe_tp, moe_tp if tp == 1 else 1, moe_ep, attention_dp=tp == 1, world=moe_tp)
    elif dp == tp > 1 and tp * dp == ep:
        layout = stage(raw or tp, 1, raw or tp, attention_dp=False)
    elif tp > 8 and dp == 1 and ep == 1:
        return Deployed(None, None, chips, ("workers_assumed",))
    else:
        size = max(tp * dp, moe_tp * moe_ep)
        tp = size if dp == 1 else tp
        layout = Layout(tp=tp, dp=size // tp, ep=ep if size % ep == 0 else 1)
    return Deployed(Pool(layout), None, layout.chips)


def _with_pp(layout: Layout, pp: int) -> Layout:
    return Layout(tp=layout.tp, pp=max(pp, 1), ep=layout.ep, dp=layout.dp, cp=layout.cp)
