"""The pace of a deployment: how its steps compare with bare physics, by the measurements.

`assay plan` corrects its figures by what was measured (`assay.engine.residual`), where the simulator times
bare steps. Both mean the same where every step of a pool that decodes takes

    pace = TPOT corrected / TPOT of bare physics

at the mean conditions of the run: lengths, and the requests in flight of the steady state. A corrected TPOT
is never below its floor, so no pace is faster than the hardware allows. A prefill pool, which has no TPOT,
keeps bare steps: the correction of TTFT holds what passes before and after the steps as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.engine.features import Known
from assay.engine.residual import corrected
from assay.plan.points import SOFTWARE_DATE
from assay.plan.predict import KNOWN, bare, calibration
from assay.plan.published import length_spread, published
from assay.simulate.cluster import Cluster, Pool
from assay.study import conditions as study
from assay.study.conditions import Conditions, Predictions, Setting
from assay.workload.arrivals import Requests

#: Numbers of requests in flight at which the steady state is asked what it carries.
GRID = 64


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean conditions of a run.

    Attributes:
        isl, osl: tokens of a request.
        cached: share of the input found in a prefix cache.
        rate: requests/s offered, 0 = a closed loop.
        users: of a closed loop.
    """

    isl: float
    osl: float
    cached: float = 0.0
    rate: float = 0.0
    users: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Factor on the step times of the pool that decodes.

    Attributes:
        value: the factor; `low`, `high`: its 80 % interval.
        basis: rung of the evidence ladder.
        concurrency: requests in flight at which it was read: of one replica, or of both pools.
    """

    value: float
    low: float
    high: float
    basis: str
    concurrency: float

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def mean(requests: Requests, *, cached: float = 0.0, users: int = 0) -> Mean:
    """Return the mean conditions of requests.

    Args:
        requests: with their arrivals.
        cached: share of the input found in a prefix cache.
        users: of a closed loop, 0 = requests arrive when they say.
    """
    if not users and not requests.span:  # all at once
        users = len(requests)
    rate = 0.0 if users else len(requests) / requests.span
    return Mean(float(requests.isl.mean()), float(requests.osl.mean()), cached, rate, users)


def paced(cluster: Cluster, load: Mean) -> tuple[Cluster, Pace | None]:
    """Return the cluster with calibrated step times and its pace; as it is and None without a calibration.

    Args:
        cluster: of bare physics.
        load: mean conditions of the run.
    """
    if not calibration():
        return cluster, None
    found = _pace(cluster, load)
    *front, last = cluster.pools
    return replace(cluster, pools=(*front, replace(last, pace=found.value))), found


def _pace(cluster: Cluster, load: Mean) -> Pace:
    pool, setting = cluster.pools[-1], _setting(cluster.pools)
    model, system = pool.copy.model, pool.copy.system
    users = _in_flight(cluster, setting, load)
    points, raw = _bare(pool, setting, load, np.array([users]))
    known = Known({system.id: system}, {model.name: model.architecture.to_dict()})
    told = tuple(published(item, model.architecture, system) for item in points.settings)
    better = corrected(replace(points, settings=told), raw, calibration(), known)
    base = float(np.asarray(raw.tpot.value)[0])
    if not np.isfinite(base):
        return Pace(1.0, 1.0, 1.0, "datasheet", users)
    low, value, high = (
        float(np.asarray(part)[0]) / base for part in (better.tpot.low, better.tpot.value, better.tpot.high)
    )
    return Pace(value, low, high, better.basis[0], users)


def _setting(pools: tuple[Pool, ...]) -> Setting:
    """Return what serves as the calibration knows it: one replica, or both pools."""
    last = pools[-1]
    copy, layout = last.copy, last.copy.table.layouts[0]
    apart = len(pools) > 1
    front = study.Pool(pools[0].copy.table.layouts[0], pools[0].replicas) if apart else None
    return Setting(
        model=copy.model.name,
        system=copy.system.id,
        chips=sum(pool.chips for pool in pools) if apart else layout.chips,
        pool=study.Pool(layout, last.replicas if apart else 1),
        prefill=front,
        weights=copy.weights,
        kv=copy.kv,
        engine=copy.engine.name if copy.engine.name in KNOWN else "",
        speculation="mtp" if last.drafts else "",
        draft_tokens=last.drafts,
    )


def _in_flight(cluster: Cluster, setting: Setting, load: Mean) -> float:
    """Return the requests in flight of the steady state, at most what the scheduler runs at once.

    By Little's law n of them carry n / (time of a request) a second; the fewest that carry the offered rate
    are in flight. Autoscaling keeps its target.
    """
    pool = cluster.pools[-1]
    shares = 1 if setting.prefill else pool.replicas
    most = float(pool.policy.sequences * pool.units * pool.copy.table.degrees.dp[0]) / shares
    if cluster.scaling is not None:
        return min(cluster.scaling.target, most)
    if not load.rate:
        return max(min(load.users / shares, most), 1.0)
    users = np.geomspace(1.0, most, GRID)
    spent = np.asarray(_bare(pool, setting, load, users)[1].e2e.value)
    carries = np.maximum.accumulate(np.nan_to_num(users / spent))
    if load.rate / shares >= carries[-1]:
        return most
    return float(np.interp(load.rate / shares, carries, users))


def _bare(
    pool: Pool, setting: Setting, load: Mean, users: NDArray[np.float64]
) -> tuple[Conditions, Predictions]:
    """Return the points with so many requests in flight (n,), and bare physics at them."""
    n = len(users)
    columns = {
        "isl": np.full(n, load.isl),
        "osl": np.full(n, load.osl),
        "cached": np.full(n, load.cached),
        "spread": np.full(n, length_spread()),
        "concurrency": users,
        "acceptance": np.full(n, pool.yields if pool.drafts else np.nan),
        "date": np.full(n, SOFTWARE_DATE),
    }
    points = Conditions.of([setting] * n, columns)
    return points, bare(pool.copy.model, pool.copy.system, setting, points)
