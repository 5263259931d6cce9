"""Energy by phase: joules of a token that comes in and of one that goes out, and of the whole facility.

The boards' energy of a request is split by what its chips do while they work on prompts and while they
decode: time of each phase times mean board power in it. Hosts, switches and fans are not boards; a stated PUE
(energy of the facility over that of its machines, ISO/IEC 30134-2) adds the facility's part and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from assay.engine.power import phase_watts, pool_watts
from assay.estimate import Estimate
from assay.plan.points import Points, scale
from assay.study.question import Question

_WHOLE = "joules_per_output_token"


def energy_of(points: Points, index: int, question: Question) -> Mapping[str, Any]:
    """Return joules by phase of a point; empty where its power is unpublished.

    Returns:
        `prompt_share` of the energy; figures `joules_per_input_token` (cached tokens count as input),
        `joules_per_new_input_token` where some are cached, `joules_per_generated_token` (decode alone), and
        with a PUE `facility`: `pue`, and `joules_per_output_token` of it all.
    """
    if _WHOLE not in points.figures:
        return {}
    whole, part = points.one(_WHOLE, index), prompt_share(points, index)
    incoming = scale(whole, part * question.osl / question.isl)
    found: dict[str, Any] = {
        "prompt_share": part,
        "joules_per_input_token": incoming.json(),
        "joules_per_generated_token": scale(whole, 1.0 - part).json(),
    }
    if cached := points.cached(index):
        found["joules_per_new_input_token"] = scale(incoming, 1.0 / (1.0 - cached)).json()
    if question.pue is not None:
        found["facility"] = {"pue": question.pue, _WHOLE: scale(whole, question.pue).json()}
    return found


def prompt_share(points: Points, index: int) -> float:
    """Return the part of the boards' energy that goes into prompts, 0 to 1."""
    made, side, system = points.outcome, points.side, points.system
    if side is None:
        part = phase_watts(made, system)
        if part is None:
            return 0.0
        prompt, decode, share = (float(np.asarray(item)[index, 0]) for item in part)
        spent = share * prompt, (1.0 - share) * decode
        return spent[0] / sum(spent)
    decoding = np.maximum(made.state.decode_step, 1e-12)
    prompting = np.maximum(made.prompt.seconds, 1e-12) / np.minimum(side.load, 1.0)[:, None]
    both = (
        pool_watts(made.prompt, prompting, made.step, side.copy.system),
        pool_watts(made.decode, decoding, made.step, system),
    )
    first, last = (_value(item, index) for item in both)
    share = float(side.share[index])
    return share * first / (share * first + (1.0 - share) * last)


def _value(watts: Estimate | None, index: int) -> float:
    return 0.0 if watts is None else float(np.asarray(watts.value)[index, 0])
