"""AIConfigurator on the records of `assay validate`: questions, answers (in its own environment), a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Chip of the catalogue -> system of the rival.
SYSTEMS = {
    "a100-80gb-sxm": "a100_sxm",
    "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm",
    "b200-sxm": "b200_sxm",
    "b300-sxm": "b300_sxm",
    "gb200-nvl72-gpu": "gb200",
    "gb300-nvl72-gpu": "gb300",
    "l40s": "l40s",
}
BACKENDS = {"vllm": "vllm", "sglang": "sglang", "trtllm": "trtllm"}
QUANTISATION = {
    "fp8": {"gemm_quant_mode": "fp8_block", "moe_quant_mode": "fp8_block"},
    "nvfp4": {"gemm_quant_mode": "nvfp4", "moe_quant_mode": "nvfp4"},
    "bf16": {"gemm_quant_mode": "bfloat16", "moe_quant_mode": "bfloat16"},
    "int4": {"gemm_quant_mode": "int4_wo", "moe_quant_mode": "int4_wo"},
}


def questions(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what to ask the rival about each point, with the measured values beside it."""
    from assay.catalogue.load import catalogue
    from assay.measure.read import read_all

    records = read_all(files)
    apart = records.apart()
    for place, row in enumerate(records.rows):
        setting = row.setting
        if setting is None or apart[place]:
            continue
        chip = catalogue().system(setting.system).chip.id
        asked = ask(setting, row.conditions, chip, catalogue().model(setting.model).hf_id)
        yield {"row": place, "id": row.id, "ask": asked, "measured": dict(row.values)}


def ask(setting: Any, conditions: Mapping[str, float], chip: str, model: str) -> dict[str, Any] | None:
    """Return the arguments of the rival's `cli_estimate`, or None where it has no word for the point."""
    users = conditions.get("concurrency")
    if (
        chip not in SYSTEMS
        or setting.engine not in BACKENDS
        or setting.pool is None
        or setting.load != "closed"
        or setting.phase != "e2e"
        or not users
    ):
        return None
    out: dict[str, Any] = {
        "model_path": model,
        "system_name": SYSTEMS[chip],
        "backend_name": BACKENDS[setting.engine],
        "isl": round(conditions["isl"]),
        "osl": round(conditions["osl"]),
        "prefix": round(conditions.get("cached", 0.0) * conditions["isl"]),
        **QUANTISATION.get({"fp4": "nvfp4", "mxfp4": "nvfp4"}.get(setting.weights, setting.weights), {}),
    }
    if setting.speculation:
        accepted = conditions.get("acceptance")
        if accepted is None or not setting.draft_tokens:
            return None
        out |= {"nextn": setting.draft_tokens, "nextn_accepted": accepted - 1}
    if setting.prefill is None:
        return out | _degrees(setting.pool, "") | {"batch_size": max(1, round(users / setting.pool.replicas))}
    decode = max(1, round(users / setting.pool.replicas / setting.pool.layout.dp))
    return (
        out
        | {"mode": "disagg", "prefill_batch_size": 1, "decode_batch_size": decode}
        | _degrees(setting.prefill, "prefill_")
        | _degrees(setting.pool, "decode_")
        | {"prefill_num_workers": setting.prefill.replicas, "decode_num_workers": setting.pool.replicas}
    )


def _degrees(pool: Any, prefix: str) -> dict[str, int]:
    layout = pool.layout
    return {
        f"{prefix}tp_size": layout.tp,
        f"{prefix}pp_size": layout.pp,
        f"{prefix}attention_dp_size": layout.dp,
        f"{prefix}moe_tp_size": layout.stage // layout.ep,
        f"{prefix}moe_ep_size": layout.ep,
    }


def answers(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rival's answer to each question; runs in its environment."""
    from aiconfigurator.cli.api import cli_estimate

    for line in Path(path).read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        if item["ask"] is None:
            yield item | {"reason": "no word for it"}
            continue
        try:
            found = cli_estimate(**item["ask"])
        except Exception as error:  # a rival may fail in any way; the reason is part of the result
            yield item | {"reason": f"{type(error).__name__}: {error}"[:200]}
        else:
            yield item | {"tpot": found.tpot / 1e3, "ttft": found.ttft / 1e3}


def table(path: str, files: Sequence[str]) -> str:
    """Return both side by side as Markdown."""
    import numpy as np

    from assay.calibrate.validate import validate
    from assay.cli.measured import predictor
    from assay.measure.read import read_all

    records = read_all(files)
    ours = validate(records, predictor())
    theirs = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    lines = [
        "| metric | points | theirs answered | theirs, median error | ours answered | ours, median error "
        "| both: theirs | both: ours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for metric in ("tpot", "ttft"):
        score = ours.scores[metric]
        value = np.full(len(records), np.nan)
        for item in theirs:
            value[item["row"]] = item.get(metric) or np.nan
        asked = np.isfinite(score.measured) & ~ours.apart
        rival, own = np.abs(value / score.measured - 1), score.ape
        have, mine = asked & np.isfinite(rival), asked & np.isfinite(own)
        both = have & mine
        cells = [
            metric,
            f"{int(asked.sum()):,}",
            f"{have.sum() / max(asked.sum(), 1):.0%}",
            f"{np.median(rival[have]):.1%}" if have.any() else "–",
            f"{mine.sum() / max(asked.sum(), 1):.0%}",
            f"{np.median(own[mine]):.1%}" if mine.any() else "–",
            f"{np.median(rival[both]):.1%}" if both.any() else "–",
            f"{np.median(own[both]):.1%}" if both.any() else "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run one of the three parts; see README.md."""
    match arguments:
        case ["questions", *files] if files:
            for item in questions(files):
                print(json.dumps(item))
        case ["answers", path]:
            for item in answers(path):
                print(json.dumps(item), flush=True)
        case ["table", path, *files] if files:
            print(table(path, files))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
