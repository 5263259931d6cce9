"""AIConfigurator on the records of `assay validate`: questions, answers (in its own environment), a table."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
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
#: Weight format -> the rival's words for it, tried in turn; None = what it reads in the checkpoint.
WORDS: Mapping[str, tuple[str | None, ...]] = {
    "": (None,),
    "bf16": ("bfloat16",),
    "fp16": ("bfloat16",),
    "fp8": ("fp8_block", "fp8"),
    "fp4": ("nvfp4",),
    "nvfp4": ("nvfp4",),
    "mxfp4": (None,),
    "int4": ("int4_wo", None),
}
#: Checkpoints whose own format the sources name in several ways.
NATIVE = ("openai/gpt-oss", "moonshotai/Kimi-K2.5", "moonshotai/Kimi-K2.6")
#: Checkpoint -> one of the same shape whose configuration the rival brings along (it would download others).
TWINS = {
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B-Instruct": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.3-70B-Instruct": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.1-405B-Instruct": "meta-llama/Meta-Llama-3.1-405B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistralai/Mixtral-8x7B-v0.1",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "Qwen/Qwen3-235B-A22B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-ai/DeepSeek-V3",
    "moonshotai/Kimi-K2.6": "moonshotai/Kimi-K2.5",
}
METRICS = ("tpot", "ttft", "throughput")
SEED = 0


def questions(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what to ask the rival about each point, in an order drawn by `SEED`: any start is a sample."""
    from assay.catalogue.load import catalogue
    from assay.measure.read import read_all

    records = read_all(files)
    apart = records.apart()
    places = [place for place, row in enumerate(records.rows) if not apart[place]]
    random.Random(SEED).shuffle(places)  # noqa: S311 - a sample, not a secret
    for place in places:
        row = records.rows[place]
        asked, why = [], row.problem
        if row.setting is not None:
            chip = catalogue().system(row.setting.system).chip.id
            asked, why = ask(row.setting, row.conditions, chip, catalogue().model(row.setting.model).hf_id)
        yield {"row": place, "ask": asked, "reason": why}


def ask(
    setting: Any, conditions: Mapping[str, float], chip: str, model: str
) -> tuple[list[dict[str, Any]], str]:
    """Return the arguments of the rival's `cli_estimate`, to be tried in turn, or why it has no word."""
    users, mode = conditions.get("concurrency"), {"closed": "agg", "static": "static"}.get(setting.load)
    accepted = conditions.get("acceptance")
    refused = {
        "chip": chip not in SYSTEMS,
        "engine": setting.engine not in BACKENDS,
        "layout not published": setting.pool is None,
        "load": mode is None or not users,
        "one phase only": setting.phase != "e2e",
        "lengths not stated": not {"isl", "osl"} <= set(conditions),
        "acceptance of drafts not published": setting.speculation and not (accepted and setting.draft_tokens),
        "weight format": setting.weights not in WORDS,
    }
    if why := next((name for name, wrong in refused.items() if wrong), ""):
        return [], why
    out: dict[str, Any] = {
        "model_path": TWINS.get(model, model),
        "system_name": SYSTEMS[chip],
        "backend_name": BACKENDS[setting.engine],
        "isl": round(conditions["isl"]),
        "osl": round(conditions["osl"]),
        "prefix": round(conditions.get("cached", 0.0) * conditions["isl"]),
    }
    if setting.kv:
        out["kvcache_quant_mode"] = "fp8" if setting.kv.startswith("fp8") else "bfloat16"
    if setting.speculation and accepted:
        out |= {"nextn": setting.draft_tokens, "nextn_accepted": accepted - 1}
    # its batch is that of one attention rank
    batch = max(1, round(float(users or 1) / setting.pool.replicas / setting.pool.layout.dp))
    if setting.prefill is None:
        out |= _degrees(setting.pool, "") | {"mode": mode, "batch_size": batch}
    else:
        out |= (
            {"mode": "disagg", "prefill_batch_size": 1, "decode_batch_size": batch}
            | _degrees(setting.prefill, "prefill_")
            | _degrees(setting.pool, "decode_")
            | {"prefill_num_workers": setting.prefill.replicas, "decode_num_workers": setting.pool.replicas}
        )
    words = (None,) if model.startswith(NATIVE) else WORDS[setting.weights]
    return [out | ({"gemm_quant_mode": word, "moe_quant_mode": word} if word else {}) for word in words], ""


def _degrees(pool: Any, prefix: str) -> dict[str, int]:
    layout = pool.layout
    return {
        f"{prefix}tp_size": layout.tp,
        f"{prefix}pp_size": layout.pp,
        f"{prefix}attention_dp_size": layout.dp,
        f"{prefix}moe_tp_size": layout.stage // layout.ep,
        f"{prefix}moe_ep_size": layout.ep,
    }


def answers(path: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the rival's answer to each question until the time is up; runs in its environment."""
    known: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + seconds
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if time.monotonic() > end:
            return
        item = json.loads(line)
        key = json.dumps(item["ask"])
        if item["ask"] and key not in known:
            known[key] = _answer(item["ask"])
        yield {"row": item["row"], "reason": item["reason"]} | known.get(key, {})


def _answer(asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first answer the rival has, or the reason of its last refusal."""
    from aiconfigurator.cli.api import cli_estimate

    reason = ""
    for arguments in asked:
        try:
            found = cli_estimate(**arguments)
        except Exception as error:  # it may fail in any way; the reason is part of the result
            reason = f"{type(error).__name__}: {error}"[:200]
            continue
        rate = float(found.raw["tokens/s/gpu"])
        return {"reason": "", "tpot": found.tpot / 1e3, "ttft": found.ttft / 1e3, "throughput": rate}
    return {"reason": reason}


def table(path: str, files: Sequence[str]) -> str:
    """Return both side by side as Markdown, on the points that were put to the rival."""
    import numpy as np

    from assay.calibrate.leave_out import validate_left_out
    from assay.calibrate.validate import validate
    from assay.cli.measured import predictor
    from assay.measure.read import read_all

    records = read_all(files)
    ours = validate(records, predictor())
    unseen = validate_left_out(records, predictor(residual=False), "group")
    theirs = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    drawn = np.zeros(len(records), dtype=np.bool_)
    drawn[[item["row"] for item in theirs]] = True
    lines = [
        "| metric | points | it answers | assay answers | both | its error: median (mean) "
        "| assay, unseen (chip, model, engine) | assay, fitted |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for metric in METRICS:
        value = np.full(len(records), np.nan)
        for item in theirs:
            value[item["row"]] = item.get(metric) or np.nan
        score, blind = ours.scores[metric], unseen.scores[metric]
        asked = drawn & np.isfinite(score.measured) & ~ours.apart
        rival, own, left = np.abs(value / score.measured - 1), score.ape, blind.ape
        have, mine = asked & np.isfinite(rival), asked & np.isfinite(own)
        both = have & mine & np.isfinite(left)
        errors = [f"{np.median(ape[both]):.1%} ({ape[both].mean():.1%})" for ape in (rival, left, own)]
        counts = [f"{int(asked.sum()):,}"]
        counts += [f"{part.sum() / max(asked.sum(), 1):.0%}" for part in (have, mine)]
        lines.append("| " + " | ".join([metric, *counts, f"{int(both.sum()):,}", *errors]) + " |")
    reasons = Counter(item["reason"].split(":")[0] for item in theirs if item["reason"])
    listed = "; ".join(f"{name} {count:,}" for name, count in reasons.most_common())
    return "\n".join([*lines, "", f"{len(theirs):,} points drawn. Not answered by it: {listed}."])


def main(arguments: Sequence[str]) -> int:
    """Run one of the three parts; see README.md."""
    match arguments:
        case ["questions", *files] if files:
            for item in questions(files):
                print(json.dumps(item))
        case ["answers", path, *seconds]:
            for item in answers(path, float(seconds[0]) if seconds else float("inf")):
                print(json.dumps(item), flush=True)
        case ["table", path, *files] if files:
            print(table(path, files))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
