"""Predict measured operating points: the physics of `engine` at the stated conditions.

`predict` is what `assay validate` scores and `assay calibrate` corrects. It never raises for a point: a
point it cannot answer gets NaN and a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.points import Load, Outcome, best_layout, evaluate, figures
from assay.engine.power import both_watts, pool_watts, replica_watts
from assay.engine.replica import Model, Replica, default_kv, replica
from assay.engine.residual import corrected
from assay.engine.speculation import Speculation, draft_counts, speculation
from assay.engine.split import closed_split, crossing
from assay.engine.terms import floors, terms
from assay.errors import AssayError, DoesNotFit, NoEvidence, UnknownName
from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.plan.space import layouts, shape
from assay.study.conditions import TERMS, Conditions, Predictions, Setting

Floats = NDArray[np.float64]

METRICS = ("tpot", "ttft", "throughput", "e2e", "ttft_median", "joules")
#: Engines whose scheduler parameters stand in the catalogue; any other is read as the generic one.
KNOWN = ("vllm", "sglang", "trtllm")


@dataclass(slots=True)
class _Columns:
    """Result being filled: one array a metric and term, NaN until answered."""

    value: dict[str, Floats]
    floor: dict[str, Floats]
    terms: dict[str, Floats]
    reason: list[str]

    @classmethod
    def empty(cls, n: int) -> _Columns:
        def blank(names: tuple[str, ...]) -> dict[str, Floats]:
            return {name: np.full(n, np.nan) for name in names}

        return cls(blank(METRICS), blank(METRICS), blank(TERMS), [""] * n)


def predict(conditions: Conditions, *, residual: bool = True) -> Predictions:
    """Predict every point of `conditions`.

    Args:
        conditions: operating points, grouped by setting.
        residual: apply the calibrated correction and its intervals; False gives bare physics.
    """
    columns = _Columns.empty(len(conditions))
    for setting, index in conditions.groups():
        try:
            _group(setting, conditions.take(index), index, columns)
        except AssayError as error:
            for i in index:
                columns.reason[int(i)] = columns.reason[int(i)] or reason(error)
    raw = predictions(columns.value, columns.floor, columns.terms, columns.reason)
    return corrected(conditions, raw, calibration()) if residual else raw


def bare(prepared: Model, system: System, setting: Setting, points: Conditions) -> Predictions:
    """Return bare physics at points of one setting, for a model and a system as they are.

    Raises:
        AssayError: the setting cannot be answered at all.
    """
    return predictions(*_tuned(prepared, system, setting, points))


def predictions(
    value: dict[str, Floats], floor: dict[str, Floats], parts: dict[str, Floats], reasons: list[str]
) -> Predictions:
    """Assemble predictions whose interval is still the value itself."""
    made = {
        name: Estimate(value[name], value[name], value[name], floor[name], "datasheet") for name in METRICS
    }
    return Predictions(**made, reason=tuple(reasons), basis=("datasheet",) * len(reasons), terms=parts)


def calibration() -> Any:
    """Return the shipped serving calibration, or None where there is none."""
    return _calibration(catalogue().hash)


@lru_cache(maxsize=2)
def _calibration(version: str) -> Any:
    """Read the calibration once for each state of the catalogue."""
    del version
    try:
        return catalogue().table("calibrations/serving")
    except AssayError:
        return None


def reason(error: AssayError) -> str:
    """Return the countable reason of a refusal: no names or numbers that differ from point to point."""
    if isinstance(error, DoesNotFit):
        return "does not fit"
    if isinstance(error, UnknownName):
        return f"{error.message.split()[1]} not in catalogue"
    if isinstance(error, NoEvidence):
        return "a fact of the chip is not published"
    return error.message


def _group(setting: Setting, points: Conditions, index: NDArray[np.intp], columns: _Columns) -> None:
    """Predict the points of one setting into `columns` at `index`."""
    stated = np.isfinite(points.isl) | (setting.phase == "decode")
    stated &= np.isfinite(points.osl) | (setting.phase != "e2e")
    for i in index[~stated]:
        columns.reason[int(i)] = "lengths not stated"
    points, index = points.take(np.flatnonzero(stated)), index[stated]
    if not len(index):
        return
    prepared, _ = model(setting.model)
    system = scaled(catalogue().system(setting.system), setting.share)
    values, least, parts, reasons = _tuned(prepared, system, setting, points)
    for target, source in ((columns.value, values), (columns.floor, least), (columns.terms, parts)):
        for name, array in source.items():
            target[name][index] = array
    for i, text in zip(index, reasons, strict=True):
        columns.reason[int(i)] = text


Found = tuple[dict[str, Floats], dict[str, Floats], dict[str, Floats], list[str]]


def _tuned(prepared: Model, system: System, setting: Setting, points: Conditions) -> Found:
    """Predict a setting; where it drafts an unpublished number of tokens, the best number at each point."""
    split = setting.prefill is not None and setting.phase == "e2e"
    evaluated = _split if split else _aggregated
    method = setting.speculation not in ("", "none", "unknown")
    if setting.draft_tokens or not method or np.any(np.isfinite(points.acceptance)):
        return evaluated(prepared, system, setting, points)
    best: Found | None = None
    for count in draft_counts():
        found = evaluated(prepared, system, replace(setting, draft_tokens=count), points)
        if best is None:
            best = found
            continue
        better = found[0]["tpot"] < best[0]["tpot"]
        for known, other in zip(best[:3], found[:3], strict=True):
            for name in known:
                known[name] = np.where(better, other[name], known[name])
    if best is None:
        raise NoEvidence("No number of drafts is known.")
    return best


def formats(system: System, setting: Setting) -> tuple[str, str]:
    """Return weight and KV formats of a setting; an unpublished KV format follows the weights."""
    weights = setting.weights or "native"
    wide = weights in ("bf16", "fp16")
    kv = setting.kv or ("bf16" if wide else default_kv(system, ""))
    return weights, "fp8" if kv.startswith("fp8") else "bf16"


def _aggregated(prepared: Model, system: System, setting: Setting, points: Conditions) -> Found:
    settings = engine(setting.engine if setting.engine in KNOWN else "")
    weights, kv = formats(system, setting)
    if setting.pool is not None:
        choices: tuple[Layout, ...] = (setting.pool.layout,)
        replicas = setting.pool.replicas
    else:
        choices, replicas = _choices(prepared, system, setting.chips), 0
    copy = roomy(replica(prepared, system, choices, weights, kv, settings), points)
    drafting = speculation(setting.speculation, setting.draft_tokens, points.acceptance, setting.model)
    # an unpublished layout fills the chips with as many replicas as they hold
    counts = np.array([replicas or setting.chips / item.chips for item in choices], dtype=np.float64)
    load = Load.of(setting.load, setting.phase, points, 1, setting.beams)
    load = replace(
        load,
        users=load.users / counts[:, None],
        rate=load.rate / counts[:, None],
        requests=load.requests / counts[:, None],
    )
    outcome = evaluate(copy, load, drafting, skew())
    found = figures(outcome, load, setting.chips, counts[:, None])
    chosen = best_layout(outcome, counts[:, None])
    pick = np.arange(len(points))
    values = {name: array[chosen, pick] for name, array in found.items()}
    fits = outcome.capacity[chosen, pick] >= 1
    least = {
        name: array[chosen, pick] for name, array in floors(outcome, load, setting.chips, counts).items()
    }
    parts = {name: array[chosen, pick] for name, array in terms(outcome).items()}
    board = replica_watts(outcome, system)
    spent = None if board is None else board.apply(lambda number: np.asarray(number)[chosen, pick])
    values["joules"], least["joules"] = _joules(spent, values["throughput"], least["throughput"])
    for array in (*values.values(), *least.values()):
        array[~fits] = np.nan
    return values, least, parts, ["" if ok else "does not fit" for ok in fits]


def roomy(copy: Replica, points: Conditions) -> Replica:
    """Return a replica that may use all of its memory where the usual share of it holds no sequence.

    What was measured did fit: its engine was given a larger share, or a smaller token budget. Weights beyond
    the memory itself stay refused.
    """
    context = np.nan_to_num(points.isl, nan=1.0) + np.nan_to_num(points.osl, nan=1.0) / 2
    if np.any(copy.capacity(context[None, :]).max(axis=0) < 1):
        return replace(copy, usable=copy.system.chip.memory_bytes, working=np.zeros_like(copy.working))
    return copy


def _choices(prepared: Model, system: System, chips: int) -> tuple[Layout, ...]:
    """Return the layouts that divide the chips; where none does, any that is no larger (64 of 72 chips)."""
    legal = [item for item in layouts(shape(prepared.architecture), system, chips) if item.chips <= chips]
    found = [item for item in legal if chips % item.chips == 0] or legal
    if not found:
        raise DoesNotFit(f"No legal layout of {prepared.name} uses {chips} chips.")
    return tuple(found)


def skew() -> float:
    """Return the excess load of the busiest expert rank beyond chance that engines reach, as a share."""
    return float(catalogue().table("engines/experts")["skew"]["value"])


def _split(prepared: Model, system: System, setting: Setting, points: Conditions) -> Found:
    """Predict a disaggregated deployment."""
    if setting.prefill is None or setting.pool is None:
        raise NoEvidence("A disaggregated deployment needs both pools.")
    settings = engine(setting.engine if setting.engine in KNOWN else "")
    weights, kv = formats(system, setting)
    drafting = speculation(setting.speculation, setting.draft_tokens, points.acceptance, setting.model)
    load = Load.of(setting.load, setting.phase, points, 1, setting.beams)
    side = {}
    tables = []
    for name, pool in (("prefill", setting.prefill), ("decode", setting.pool)):
        copy = roomy(replica(prepared, system, (pool.layout,), weights, kv, settings), points)
        one = replace(load, kind="closed", users=np.fmax(load.users / pool.replicas, 1.0), phase="decode")
        quiet = Speculation(0, np.ones_like(drafting.yields), 0) if name == "prefill" else drafting
        side[name] = evaluate(copy, one, quiet, skew())
        tables.append(copy.table)
    many = setting.pool.replicas
    users = np.where(np.isfinite(load.users), load.users, side["decode"].capacity * many)
    inside = np.array(setting.chips <= system.domain)
    latency, busy = crossing(tables[0], tables[1], (system, system), load.isl).over(inside)
    state = closed_split(
        side["prefill"].step,
        side["decode"].step,
        settings,
        users,
        prefill_replicas=setting.prefill.replicas,
        decode_replicas=many,
        transfer=(latency + busy)[0, 0],
        capacity=np.maximum(side["decode"].capacity, 1.0) * many,
        requests=np.where(np.isfinite(load.requests), load.requests, np.inf),
    )
    fits = (side["prefill"].capacity[0] >= 1) & (side["decode"].capacity[0] >= 1)
    outcome = replace(side["decode"], state=state, ttft_median=state.ttft, prompt=side["prefill"].prompt)
    values = {name: array[0].copy() for name, array in figures(outcome, load, setting.chips, 1).items()}
    counts = np.ones(1)
    least = {name: array[0].copy() for name, array in floors(outcome, load, setting.chips, counts).items()}
    # what a step carries is that of one decode replica
    single = replace(outcome, state=replace(state, batch=state.batch / many))
    parts = {name: array[0] for name, array in terms(single).items()}
    spent = _pools_watts(side["prefill"], single, system, setting)
    values["joules"], least["joules"] = _joules(spent, values["throughput"], least["throughput"])
    for array in (*values.values(), *least.values()):
        array[~fits] = np.nan
    return values, least, parts, ["" if ok else "does not fit" for ok in fits]


def _pools_watts(prefill: Outcome, decode: Outcome, system: System, setting: Setting) -> Estimate | None:
    """Return the mean board power over the chips of both pools, W (n,); None if unpublished.

    Args:
        prefill, decode: one replica of each pool; the state of `decode` is that of the whole deployment.
        system: of both.
        setting: its pools.
    """
    if setting.prefill is None:
        return None
    pool, degrees = setting.prefill, prefill.step.table.degrees
    each = (degrees.dp * degrees.pp)[:, None] * pool.replicas / np.maximum(decode.state.throughput, 1e-12)
    first = pool_watts(prefill.prompt, each, prefill.step, system)
    last = pool_watts(decode.decode, decode.state.decode_step, decode.step, system)
    found = both_watts(first, last, pool.chips / setting.chips)
    return None if found is None else found.apply(lambda number: number[0])


def _joules(board: Estimate | None, rate: Floats, fastest: Floats) -> tuple[Floats, Floats]:
    """Return board energy per token and its floor, J: power of a chip over its tokens/s; NaN if unpublished.

    Args:
        board: mean board power of a chip, W (n,).
        rate: tokens/s per chip (n,). `fastest`: the greatest possible.
    """
    if board is None:
        return np.full_like(rate, np.nan), np.full_like(rate, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        each, least = board.value / rate, board.floor / fastest
    return np.where(np.isfinite(each), each, np.nan), np.where(np.isfinite(each), least, np.nan)


def scaled(system: System, share: float) -> System:
    """Return a system whose chips are a share of the real ones (one die of two)."""
    if share == 1.0:
        return system
    chip = system.chip
    part = replace(
        chip,
        peak_flops={name: rate * share for name, rate in chip.peak_flops.items()},
        memory_bytes=chip.memory_bytes * share,
        memory_bandwidth=chip.memory_bandwidth * share,
        tdp_watts=chip.tdp_watts * share if chip.tdp_watts else None,
        nic_bandwidth=chip.nic_bandwidth * share if chip.nic_bandwidth else None,
    )
    return replace(
        system,
        chip=part,
        link_bandwidth=system.link_bandwidth * share,
        peer_bandwidth=system.peer_bandwidth * share,
        domain=int(system.domain / share),
        node=int(system.node / share),
        nic_bandwidth=system.nic_bandwidth * share if system.nic_bandwidth else None,
    )
